"""Sums of two tensors of bytes, each with its scale, rounded once."""

from __future__ import annotations

import numpy as np

from tvm_pulp.passes.operators.kernel import Scalar, Shape
from tvm_pulp.passes.operators.linear_sum import (
    BYTES,
    LinearSum,
    find_linear_sum,
    linear_sum_kernel,
    pair_kernel,
)
from tvm_pulp.passes.operators.requantize import Rounding, shift_half_even
from tvm_pulp.target.tvm_names import PrimFunc, const, tirx


def quantized_add(
    layer: str,
    work: str,
    shapes: tuple[Shape, Shape],
    zero_points: tuple[int, int, int],
    multipliers: tuple[int, int],
    shift: int,
    bounds: tuple[int, int],
    rounding: Rounding = Rounding.HALF_UP,
) -> PrimFunc:
    """Make the kernel of ``clip((ml * (l - zl) + mr * (r - zr) + 2^(shift - 1) >> shift) + z, bounds)``.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shapes
        Of left and right operand, of one rank; they broadcast.
    zero_points
        Of left operand, right operand and result.
    multipliers, shift
        Integers; the sum must fit 32 bits.
    bounds
        Least and greatest result.
    rounding
        `HALF_UP`, as in the formula, or `HALF_EVEN`.

    Returns
    -------
    PrimFunc
        Operator class ``"quantized_add"``: left, right, result, all uint8; with ``"pulp.linear_sum"`` where
        fewer bits give the same results, and always where halves go up.
    """
    centred = (BYTES[:, None] - zero_points[0], BYTES - zero_points[1])
    table = rounded_sums(*centred, multipliers, shift, zero_points[2], bounds, rounding)
    form = find_linear_sum(table, (multipliers[0] / 2**shift, multipliers[1] / 2**shift), bounds)
    offset = -multipliers[0] * zero_points[0] - multipliers[1] * zero_points[1]
    half = 1 << (shift - 1)
    if form is None and rounding is Rounding.HALF_UP:
        form = LinearSum(*multipliers, offset + half + (zero_points[2] << shift), shift, *bounds)
    if form is not None:
        return linear_sum_kernel("quantized_add", layer, work, shapes, form)

    def compute(left: Scalar, right: Scalar) -> Scalar:
        total = left * const(multipliers[0], "int32") + right * const(multipliers[1], "int32")
        total = total + const(offset, "int32")
        odd = (total >> const(shift, "int32")) & const(1, "int32")
        total = total + odd + const(half - 1, "int32")
        value = (total >> const(shift, "int32")) + const(zero_points[2], "int32")
        return tirx.min(tirx.max(value, const(bounds[0], "int32")), const(bounds[1], "int32"))

    return pair_kernel("quantized_add", layer, work, shapes, compute)


def rounded_sums(
    left: np.ndarray,
    right: np.ndarray,
    multipliers: tuple[int, int],
    shift: int,
    zero_point: int,
    bounds: tuple[int, int],
    rounding: Rounding,
) -> np.ndarray:
    """Compute the sums in NumPy.

    Parameters
    ----------
    left, right
        Operands less their zero points, int64; they broadcast.
    multipliers, shift, zero_point, bounds, rounding
        See `quantized_add`.

    Returns
    -------
    ndarray of uint8
    """
    total = multipliers[0] * left + multipliers[1] * right
    if rounding is Rounding.HALF_EVEN:
        rounded = shift_half_even(total, shift)
    else:
        rounded = (total + (1 << (shift - 1))) >> shift
    return np.clip(rounded + zero_point, *bounds).astype(np.uint8)
