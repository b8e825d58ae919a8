"""Bytes element by element: to and from float, functions by table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, number
from tvm_pulp.passes.operators.requantize import Rounding
from tvm_pulp.target.tvm_names import PrimFunc, call_pure_extern, const, tirx


def quantize(
    layer: str,
    work: str,
    shape: Shape,
    axes: Sequence[int],
    scale: float,
    zero_point: int,
    rounding: Rounding = Rounding.HALF_UP,
    divides: bool = False,
) -> PrimFunc:
    """Make the kernel of ``clip(round(x * (1 / scale)) + zero_point, 0, 255)``.

    The product by the float32 nearest to ``1 / scale`` is exact and is rounded once, halves up, as UINT-Q
    rounds; all else is in float32.

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
    rounding
        `HALF_UP`: ``floor(x + 0.5)``; `HALF_EVEN` or `HALF_AWAY`.
    divides
        ``x / scale`` in place of the product, which is slower.

    Returns
    -------
    PrimFunc
        Operator class ``"quantize"``: data float32, result uint8. Where it is the product that is rounded
        half up, ``"pulp.quantize"`` has axes, zero point and the bits of the reciprocal scale.
    """
    data = argument("data", shape)
    rounds_once = rounding is Rounding.HALF_UP and not divides
    factor = float(np.float32(1.0 / scale))

    def compute(*indices: Scalar) -> Scalar:
        value = data(*(indices[axes.index(axis)] for axis in range(len(shape))))
        if rounds_once and not _keeps_pixels(axes):  # loops on the cluster, which has no float64
            bounds = const(-zero_point, "int32"), const(255 - zero_point, "int32")
            return (
                call_pure_extern("int32", "pulp_quantize", value, number(factor), *bounds) + zero_point
            ).astype("uint8")
        if rounds_once:
            nearest = tirx.floor(value.astype("float64") * const(factor, "float64") + 0.5) + float(zero_point)
            bounded = tirx.min(tirx.max(nearest, const(0.0, "float64")), const(255.0, "float64"))
            return bounded.astype("int32").astype("uint8")
        # a call, as TVM makes a product of a quotient by a constant
        quotient = call_pure_extern("float32", "pulp_divide", value, number(scale))
        scaled = quotient if divides else value * number(factor)
        bounded = tirx.min(tirx.max(scaled, number(-256.0)), number(512.0))  # so that int32 holds it
        rounded = tirx.Cast("int32", _ROUND[rounding](bounded)) + const(zero_point, "int32")
        return _byte(rounded, 0, 255)

    result = te.compute(tuple(shape[axis] for axis in axes), compute, name="result")
    details = {}
    if rounds_once:
        bits = int(np.float32(factor).view(np.uint32))
        details["pulp.quantize"] = {"axes": list(axes), "reciprocal_bits": bits, "zero_point": zero_point}
    return make_kernel([data], [result], operator="quantize", layer=layer, work=work, details=details)


def moved_bytes(
    layer: str, work: str, shape: Shape, axes: Sequence[int], dtype: str, result_dtype: str
) -> PrimFunc:
    """Make the kernel that adds 128 to signed bytes, or takes it off unsigned ones; see `quantize`.

    Returns
    -------
    PrimFunc
        Operator class ``"moved_bytes"``: data int8 or uint8, result of the other type.
    """
    data = argument("data", shape, dtype)
    offset = const(128 if result_dtype == "uint8" else -128, "int32")

    def compute(*indices: Scalar) -> Scalar:
        q = tirx.Cast("int32", data(*(indices[axes.index(axis)] for axis in range(len(shape)))))
        return tirx.Cast(result_dtype, q + offset)

    result = te.compute(tuple(shape[axis] for axis in axes), compute, name="result")
    return make_kernel([data], [result], operator="moved_bytes", layer=layer, work=work)


def dequantize(
    layer: str, work: str, shape: Shape, axes: Sequence[int], scale: float, zero_point: int
) -> PrimFunc:
    """Make the kernel of ``(q - zero_point) * scale``; see `quantize`.

    Returns
    -------
    PrimFunc
        Operator class ``"dequantize"``: data uint8, result float32. ``"pulp.dequantize"`` has axes, zero
        point and the bits of the scale.
    """
    data = argument("data", shape, "uint8")
    bits = int(np.float32(scale).view(np.uint32))
    details = {"pulp.dequantize": {"axes": list(axes), "scale_bits": bits, "zero_point": zero_point}}

    def compute(*indices: Scalar) -> Scalar:
        q = tirx.Cast("int32", data(*(indices[axes.index(axis)] for axis in range(len(shape)))))
        return tirx.Cast("float32", q - const(zero_point, "int32")) * number(scale)

    result = te.compute(tuple(shape[axis] for axis in axes), compute, name="result")
    return make_kernel([data], [result], operator="dequantize", layer=layer, work=work, details=details)


def dequantize_sums(layer: str, work: str, shape: Shape, axes: Sequence[int]) -> PrimFunc:
    """Make the kernel of ``float32(sum + bias[channel]) * scale[channel]``; see `quantize`.

    Parameters
    ----------
    shape
        Of the sums, their channels innermost.

    Returns
    -------
    PrimFunc
        Operator class ``"dequantize_sums"``: sums int32, bias int32 [channels], scale float32 [channels],
        result float32.
    """
    sums, last = argument("sums", shape, "int32"), len(shape) - 1
    bias, scale = argument("bias", shape[-1:], "int32"), argument("scale", shape[-1:])

    def compute(*indices: Scalar) -> Scalar:
        channel = indices[axes.index(last)]
        total = sums(*(indices[axes.index(axis)] for axis in range(len(shape)))) + bias(channel)
        return tirx.Cast("float32", total) * scale(channel)

    result = te.compute(tuple(shape[axis] for axis in axes), compute, name="result")
    return make_kernel([sums, bias, scale], [result], operator="dequantize_sums", layer=layer, work=work)


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


def _keeps_pixels(axes: Sequence[int]) -> bool:
    """Tell whether axes stay as they are, or the second one becomes the innermost: these have a template."""
    return list(axes) in (sorted(axes), [0, *range(2, len(axes)), 1])


_ROUND: dict[Rounding, Callable[[Scalar], Scalar]] = {
    Rounding.HALF_UP: lambda x: tirx.floor(x + number(0.5)),
    Rounding.HALF_EVEN: tirx.nearbyint,
    Rounding.HALF_AWAY: tirx.round,
}


def _byte(value: Scalar, low: int, high: int) -> Scalar:
    return tirx.Cast("uint8", tirx.min(tirx.max(value, const(low, "int32")), const(high, "int32")))
