"""Pooling of bytes, channels innermost (NHWC): averages and maxima over windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d
from tvm_pulp.passes.operators.requantize import Requantization
from tvm_pulp.passes.operators.scaled_sum import find_scaled_sum
from tvm_pulp.target.tvm_names import PrimFunc, const, tirx


def quantized_avg_pool2d(
    layer: str,
    work: str,
    geometry: QuantizedConv2d,
    data_shape: Shape,
    multipliers: np.ndarray,
    requantization: Requantization,
) -> PrimFunc:
    """Make the kernel of an average pooling.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    geometry
        Windows; the padding has the data's zero point, and so counts nothing.
    data_shape
        [images, rows, columns, channels].
    multipliers
        Integers of shape [rows, columns] of the result, or [1, 1] for all, which divide by the elements that
        count; with a shift each, [2, ...], where the requantisation has own shifts.
    requantization
        From sums of ``q - zero_point`` to bytes.

    Returns
    -------
    PrimFunc
        Operator class ``"quantized_avg_pool2d"``: data uint8, multiplier int32 if there are several, result
        uint8; ``"pulp.quantized_pool2d"`` has the windows, ``"pulp.scaled_sum"``, if 32 bits give the same
        results, the arithmetic.
    """
    single = multipliers.shape[-2:] == (1, 1)
    taps = geometry.kernel[0] * geometry.kernel[1]
    offset = geometry.zero_point * taps
    arguments = [] if single else [argument("multiplier", multipliers.shape, "int32")]

    def finish(total: Scalar, y: Scalar, x: Scalar) -> Scalar:
        centred = total - const(offset, "int32") if offset else total
        if not single:
            return requantization.apply(centred, arguments[0], y, x)
        shift = int(multipliers.flat[1]) if requantization.own_shifts else requantization.shift
        factor = const(int(multipliers.flat[0]), "int32")
        return requantization.apply_to(centred, factor, const(shift, "int32"))

    form = find_scaled_sum(requantization, multipliers, offset, taps) if single else None
    details = {} if form is None else {"pulp.scaled_sum": form.attributes()}
    return _pool(
        "quantized_avg_pool2d", layer, work, geometry, data_shape, te.sum, finish, arguments, details
    )


def quantized_max_pool2d(layer: str, work: str, geometry: QuantizedConv2d, data_shape: Shape) -> PrimFunc:
    """Make the kernel of a maximum pooling; the geometry's zero point is 0, less than which is no byte.

    Returns
    -------
    PrimFunc
        Operator class ``"quantized_max_pool2d"``: data uint8, result uint8; ``"pulp.quantized_pool2d"`` has
        the windows.
    """

    def finish(largest: Scalar, y: Scalar, x: Scalar) -> Scalar:
        return tirx.Cast("uint8", largest)

    return _pool("quantized_max_pool2d", layer, work, geometry, data_shape, te.max, finish, [], {})


def _pool(
    operator: str,
    layer: str,
    work: str,
    geometry: QuantizedConv2d,
    data_shape: Shape,
    reduce: Callable[..., Scalar],
    finish: Callable[[Scalar, Scalar, Scalar], Scalar],
    further: list[te.Tensor],
    details: dict[str, dict[str, int]],
) -> PrimFunc:
    """Reduce each window to an int32 value and make a byte of it."""
    images, height, width, channels = data_shape
    shape = (images, *geometry.output_size(height, width), channels)
    data = argument("data", data_shape, "uint8")
    ky = te.reduce_axis((0, geometry.kernel[0]), name="ky")
    kx = te.reduce_axis((0, geometry.kernel[1]), name="kx")
    total = te.compute(
        shape,
        lambda b, y, x, c: reduce(geometry.element(data, b, y, x, ky, kx, c), axis=[ky, kx]),
        name="total",
    )
    result = te.compute(shape, lambda b, y, x, c: finish(total(b, y, x, c), y, x), name="result")
    attributes = {**details, "pulp.quantized_pool2d": asdict(geometry)}
    return make_kernel(
        [data, *further], [result], operator=operator, layer=layer, work=work, details=attributes
    )
