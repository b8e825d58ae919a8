"""Sums of bytes as TFLite computes them: operands are scaled, rounded and added, and the sum scaled again."""

from __future__ import annotations

import numpy as np

from tvm_pulp.passes.operators.kernel import Scalar, Shape
from tvm_pulp.passes.operators.linear_sum import BYTES, find_linear_sum, linear_sum_kernel, pair_kernel
from tvm_pulp.passes.operators.requantize import Requantization, Rounding, round_twice
from tvm_pulp.target.tvm_names import PrimFunc, call_pure_extern, const

Multiplier = tuple[int, int]
_SHIFT = 20


def rescaled_add(
    layer: str,
    work: str,
    shapes: tuple[Shape, Shape],
    zero_points: tuple[int, int, int],
    multipliers: tuple[Multiplier, Multiplier, Multiplier],
    bounds: tuple[int, int],
    subtracts: bool,
) -> PrimFunc:
    """Make the kernel of a sum, or difference, with TFLite's rounding (`kernels/internal/reference/add.h`).

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shapes
        Of left and right operand, of one rank; they broadcast.
    zero_points
        Of left operand, right operand and result.
    multipliers
        Multiplier and shift of the operands, times 2^20, and of the result, see `round_twice`.
    bounds
        Least and greatest result.
    subtracts
        Whether the right operand is subtracted.

    Returns
    -------
    PrimFunc
        Operator class ``"rescaled_add"``: left, right, result, all uint8; with ``"pulp.linear_sum"`` where
        one rounding gives the same results for all bytes: seldom not, where many sums lie halfway between
        integers below 0.
    """
    centred = (BYTES[:, None] - zero_points[0], BYTES - zero_points[1])
    table = rescaled_sums(*centred, multipliers, zero_points[2], bounds, subtracts)
    scales = [multiplier / 2.0 ** (31 + shift) for multiplier, shift in multipliers]
    ratios = (2**_SHIFT * scales[0] * scales[2], 2**_SHIFT * scales[1] * scales[2])
    form = find_linear_sum(table, (ratios[0], -ratios[1] if subtracts else ratios[1]), bounds)
    if form is not None:
        return linear_sum_kernel("rescaled_add", layer, work, shapes, form)
    result = Requantization(1, zero_points[2], *bounds, rounding=Rounding.TWICE, own_shifts=True)

    def scaled(index: int, value: Scalar) -> Scalar:
        multiplier, shift = (const(number, "int32") for number in multipliers[index])
        widened = (value - const(zero_points[index], "int32")) * const(1 << _SHIFT, "int32")
        return call_pure_extern("int32", "pulp_requantize_twice", widened, multiplier, shift)

    def compute(left: Scalar, right: Scalar) -> Scalar:
        first, second = scaled(0, left), scaled(1, right)
        total = first - second if subtracts else first + second
        return result.apply_to(total, *(const(number, "int32") for number in multipliers[2]))

    return pair_kernel("rescaled_add", layer, work, shapes, compute)


def rescaled_sums(
    left: np.ndarray,
    right: np.ndarray,
    multipliers: tuple[Multiplier, Multiplier, Multiplier],
    zero_point: int,
    bounds: tuple[int, int],
    subtracts: bool,
) -> np.ndarray:
    """Compute the sums in NumPy.

    Parameters
    ----------
    left, right
        Operands less their zero points, int64; they broadcast.
    multipliers, zero_point, bounds, subtracts
        See `rescaled_add`.

    Returns
    -------
    ndarray of uint8
    """
    first, second = (
        round_twice(operand << _SHIFT, *multiplier)
        for operand, multiplier in zip((left, right), multipliers[:2], strict=True)
    )
    total = first - second if subtracts else first + second
    return np.clip(round_twice(total, *multipliers[2]) + zero_point, *bounds).astype(np.uint8)
