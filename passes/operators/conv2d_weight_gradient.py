"""Gradient of a convolution by its weights, read directly from the data: no padded copy, no slice."""

from __future__ import annotations

import math

from tvm import te

from tvm_pulp.passes.operators.conv2d import Conv2d
from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, rounded, widened
from tvm_pulp.target.tvm_names import PrimFunc

LONGEST_SUM = 4096
"""Terms of one chain of FP32 additions, above which partial sums are worth a kernel that adds them up."""
LARGEST_PARTIAL = 16384
"""Elements of all partial sums together, above which they are not worth their memory (64 KiB)."""


def weight_gradient_sections(output_shape: Shape, weight_shape: Shape) -> tuple[int, int]:
    """Sections of the output that partial weight gradients are summed over.

    Returns
    -------
    images, rows
        Of a section; a section of less than all rows has one image. All of them (one section) if the sum is
        short, or if the partial sums would take more memory than they are worth: then it is up to the
        schedule to keep sums of tiles apart.
    """
    batch, _, height, width = output_shape
    images, rows = batch, height
    if height * width > LONGEST_SUM:
        images, rows = 1, _largest_divisor(height, max(LONGEST_SUM // width, 1))
    elif batch * height * width > LONGEST_SUM:
        images = _largest_divisor(batch, LONGEST_SUM // (height * width))
    sections = batch // images * (height // rows)
    if sections * math.prod(weight_shape) > LARGEST_PARTIAL:
        return batch, height
    return images, rows


def _largest_divisor(number: int, limit: int) -> int:
    return next(divisor for divisor in range(min(limit, number), 0, -1) if number % divisor == 0)


def conv2d_weight_gradient(
    layer: str,
    work: str,
    attributes: Conv2d,
    data_shape: Shape,
    weight_shape: Shape,
    dtype: str = "float32",
) -> PrimFunc:
    """Make the kernel of the weight gradient, or of its partial sums.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    attributes
        Of the forward convolution.
    data_shape, weight_shape
        Of the forward convolution.
    dtype
        See `conv2d.conv2d`.

    Returns
    -------
    PrimFunc
        Operator class ``"conv2d_weight_gradient"``: output gradient, data, weight gradient. With more than
        one section (see `weight_gradient_sections`) the result is ``[sections, *weight_shape]``, to be summed
        over axis 0.
    """
    output_shape = attributes.output_shape(data_shape, weight_shape)
    gradient = argument("output_gradient", output_shape, dtype)
    data = argument("data", data_shape, dtype)
    batch, _, height, width = output_shape
    images, rows = weight_gradient_sections(output_shape, weight_shape)
    sections = batch // images * (height // rows)
    image = te.reduce_axis((0, images), name="image")
    row, column = te.reduce_axis((0, rows), name="oh"), te.reduce_axis((0, width), name="ow")
    taps = weight_shape[2:]

    def term(section: Scalar, o: Scalar, i: Scalar, kh: Scalar, kw: Scalar) -> Scalar:
        n, oh = image, row
        if sections > 1 and rows == height:
            n = section * images + image
        elif sections > 1:
            per_image = height // rows
            n = section // per_image if batch > 1 else 0
            oh = (section % per_image if batch > 1 else section) * rows + row
        channel = attributes.input_channel(o, i, weight_shape)
        element = attributes.padded(data, (n, channel), (oh, column), (kh, kw), (output_shape[2:], taps))
        return te.sum(widened(gradient(n, o, oh, column)) * element, axis=[image, row, column])

    if sections == 1:
        result = te.compute(weight_shape, lambda *i: term(0, *i), name="weight_gradient")
    else:
        result = te.compute((sections, *weight_shape), term, name="weight_gradient_partial")
    return make_kernel(
        [gradient, data],
        [rounded(result, dtype)],
        operator="conv2d_weight_gradient",
        layer=layer,
        work=work,
        macs=attributes.macs(data_shape, weight_shape),
        details=attributes.details(),
    )
