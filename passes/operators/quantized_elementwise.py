"""Bytes element by element: to and from float, sums of two tensors, functions by table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, number
from tvm_pulp.target.tvm_names import PrimFunc, const, tirx


def quantize(
    layer: str, work: str, shape: Shape, axes: Sequence[int], scale: float, zero_point: int
) -> PrimFunc:
    """Make the kernel of ``clip(floor(x * (1 / scale) + 0.5) + zero_point, 0, 255)``, in float32.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the data.
    axes
        Axis i of the result is axis ``axes[i]`` of the data.
    scale, zero_point
        Of the result.

    Returns
    -------
    PrimFunc
        Operator class ``"quantize"``: data float32, result uint8. Its attribute ``"pulp.quantize"`` has axes,
        zero point and the bits of the reciprocal scale.
    """
    data = argument("data", shape)

    def compute(*indices: Scalar) -> Scalar:
        scaled = data(*(indices[axes.index(axis)] for axis in range(len(shape)))) * number(1.0 / scale)
        bounded = tirx.min(tirx.max(scaled, number(-256.0)), number(512.0))  # so that int32 holds it
        rounded = tirx.Cast("int32", tirx.floor(bounded + number(0.5))) + const(zero_point, "int32")
        return _byte(rounded, 0, 255)

    result = te.compute(tuple(shape[axis] for axis in axes), compute, name="result")
    bits = int(np.float32(1.0 / scale).view(np.uint32))
    details = {"axes": list(axes), "reciprocal_bits": bits, "zero_point": zero_point}
    return make_kernel(
        [data], [result], operator="quantize", layer=layer, work=work, details={"pulp.quantize": details}
    )


def dequantize(
    layer: str, work: str, shape: Shape, axes: Sequence[int], scale: float, zero_point: int
) -> PrimFunc:
    """Make the kernel of ``(q - zero_point) * scale``; see `quantize`.

    Returns
    -------
    PrimFunc
        Operator class ``"dequantize"``: data uint8, result float32.
    """
    data = argument("data", shape, "uint8")

    def compute(*indices: Scalar) -> Scalar:
        q = tirx.Cast("int32", data(*(indices[axes.index(axis)] for axis in range(len(shape)))))
        return tirx.Cast("float32", q - const(zero_point, "int32")) * number(scale)

    result = te.compute(tuple(shape[axis] for axis in axes), compute, name="result")
    return make_kernel([data], [result], operator="dequantize", layer=layer, work=work)


def quantized_add(
    layer: str,
    work: str,
    shape: Shape,
    zero_points: tuple[int, int, int],
    multipliers: tuple[int, int],
    shift: int,
    bounds: tuple[int, int],
) -> PrimFunc:
    """Make the kernel of ``clip((ml * (l - zl) + mr * (r - zr) + 2^(shift - 1) >> shift) + z, bounds)``.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of all tensors.
    zero_points
        Of left operand, right operand and result.
    multipliers, shift
        Integers; the sum must fit 32 bits.
    bounds
        Least and greatest result.

    Returns
    -------
    PrimFunc
        Operator class ``"quantized_add"``: left, right, result, all uint8.
    """
    left, right = argument("left", shape, "uint8"), argument("right", shape, "uint8")
    constant = (1 << (shift - 1)) - multipliers[0] * zero_points[0] - multipliers[1] * zero_points[1]

    def compute(*indices: Scalar) -> Scalar:
        terms = [
            tirx.Cast("int32", tensor(*indices)) * const(multiplier, "int32")
            for tensor, multiplier in zip((left, right), multipliers, strict=True)
        ]
        total = terms[0] + terms[1] + const(constant, "int32")
        return _byte((total >> const(shift, "int32")) + const(zero_points[2], "int32"), *bounds)

    result = te.compute(shape, compute, name="result")
    return make_kernel([left, right], [result], operator="quantized_add", layer=layer, work=work)


def lookup(layer: str, work: str, shape: Shape) -> PrimFunc:
    """Make the kernel of ``table[q]``.

    Returns
    -------
    PrimFunc
        Operator class ``"lookup"``: data uint8, table uint8 [256], result uint8.
    """
    data, table = argument("data", shape, "uint8"), argument("table", (256,), "uint8")

    def compute(*indices: Scalar) -> Scalar:
        q = tirx.Cast("int32", data(*indices))
        return table(tirx.min(tirx.max(q, const(0, "int32")), const(255, "int32")))

    result = te.compute(shape, compute, name="result")
    return make_kernel([data, table], [result], operator="lookup", layer=layer, work=work)


def _byte(value: Scalar, low: int, high: int) -> Scalar:
    return tirx.Cast("uint8", tirx.min(tirx.max(value, const(low, "int32")), const(high, "int32")))
