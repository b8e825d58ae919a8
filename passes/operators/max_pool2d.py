"""Maximum pooling and its gradient, which goes to the first maximum of a window, as in PyTorch."""

from __future__ import annotations

from dataclasses import asdict

from tvm import te

from tvm_pulp.passes.compose_kernels import compose_kernels
from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, value_if
from tvm_pulp.passes.operators.pooling import Pool2d
from tvm_pulp.target.tvm_names import PrimFunc, const, tirx


def max_pool2d(layer: str, work: str, attributes: Pool2d, shape: Shape) -> PrimFunc:
    """Make the forward kernel.

    Returns
    -------
    PrimFunc
        Operator class ``"max_pool2d"``: data, output.
    """
    data = argument("data", shape)
    taps = attributes.taps()
    lowest = tirx.min_value("float32")

    def compute(n: Scalar, c: Scalar, h: Scalar, w: Scalar) -> Scalar:
        element, conditions = attributes.element(data, (n, c), (h, w), taps)
        return te.max(value_if(conditions, element, lowest), axis=taps)

    output = te.compute(attributes.output_shape(shape), compute, name="output")
    return make_kernel(
        [data], [output], operator="max_pool2d", layer=layer, work=work, details=_details(attributes)
    )


def max_pool2d_indices(layer: str, work: str, attributes: Pool2d, shape: Shape) -> PrimFunc:
    """Make the kernel that finds each window's maximum again, for the gradient.

    Returns
    -------
    PrimFunc
        Operator class ``"max_pool2d_indices"``: data, the forward output; the number of the first tap of each
        window whose element is the maximum, int32, ``row * window width + column``.
    """
    data, output = argument("data", shape), argument("output", attributes.output_shape(shape))
    taps = attributes.taps()
    height, width = attributes.window
    none = const(height * width, "int32")

    def compute(n: Scalar, c: Scalar, h: Scalar, w: Scalar) -> Scalar:
        element, conditions = attributes.element(data, (n, c), (h, w), taps)
        tap = taps[0] * width + taps[1]
        found = tirx.Select(element == output[n, c, h, w], tap, none)
        return te.min(value_if(conditions, found, none), axis=taps)

    indices = te.compute(attributes.output_shape(shape), compute, name="indices")
    return make_kernel(
        [data, output],
        [indices],
        operator="max_pool2d_indices",
        layer=layer,
        work=work,
        details=_details(attributes),
    )


def max_pool2d_gradient(layer: str, work: str, attributes: Pool2d, shape: Shape) -> PrimFunc:
    """Make the kernel of the data gradient.

    Returns
    -------
    PrimFunc
        Operator class ``"max_pool2d_gradient"``: output gradient, indices (see `max_pool2d_indices`); data
        gradient.
    """
    pooled = attributes.output_shape(shape)
    gradient, indices = argument("output_gradient", pooled), argument("indices", pooled, "int32")
    rows, columns = attributes.axes(shape)
    row = te.reduce_axis((0, rows.candidates), name="kh")
    column = te.reduce_axis((0, columns.candidates), name="kw")

    def compute(n: Scalar, c: Scalar, h: Scalar, w: Scalar) -> Scalar:
        oh, kh, row_conditions = rows.cover(h, row)
        ow, kw, column_conditions = columns.cover(w, column)
        hit = indices[n, c, oh, ow] == kh * attributes.window[1] + kw
        value = tirx.Select(hit, gradient[n, c, oh, ow], const(0.0, "float32"))
        return te.sum(value_if(row_conditions + column_conditions, value), axis=[row, column])

    result = te.compute(shape, compute, name="data_gradient")
    return make_kernel(
        [gradient, indices],
        [result],
        operator="max_pool2d_gradient",
        layer=layer,
        work=work,
        details=_details(attributes),
    )


def max_pool2d_data_gradient(layer: str, work: str, attributes: Pool2d, shape: Shape) -> PrimFunc:
    """Make one kernel of all that the gradient takes, from the data on, for images that fit L1.

    Returns
    -------
    PrimFunc
        Operator class ``"max_pool2d_data_gradient"``: data, output gradient; data gradient.
    """
    forward = max_pool2d(layer, work, attributes, shape)
    indices = max_pool2d_indices(layer, work, attributes, shape)
    gradient = max_pool2d_gradient(layer, work, attributes, shape)
    return compose_kernels(
        [
            (forward, ["data", "output"]),
            (indices, ["data", "output", "indices"]),
            (gradient, ["output_gradient", "indices", "data_gradient"]),
        ],
        ["data", "output_gradient", "data_gradient"],
        {"pulp.operator": "max_pool2d_data_gradient"},
    )


def _details(attributes: Pool2d) -> dict[str, object]:
    return {"pulp.pool2d": asdict(attributes)}
