"""Sums of bytes as TFLite computes them: operands are scaled, rounded and added, and the sum scaled again."""

from __future__ import annotations

import numpy as np
from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, broadcast_element, make_kernel
from tvm_pulp.passes.operators.requantize import Requantization, Rounding
from tvm_pulp.target.tvm_names import PrimFunc, call_pure_extern, const, tirx

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
        Operator class ``"rescaled_add"``: left, right, result, all uint8.
    """
    left, right = argument("left", shapes[0], "uint8"), argument("right", shapes[1], "uint8")
    result = Requantization(1, zero_points[2], *bounds, rounding=Rounding.TWICE, own_shifts=True)

    def scaled(index: int, value: Scalar) -> Scalar:
        centred = tirx.Cast("int32", value) - const(zero_points[index], "int32")
        multiplier, shift = (const(number, "int32") for number in multipliers[index])
        widened = centred * const(1 << _SHIFT, "int32")
        return call_pure_extern("int32", "pulp_requantize_twice", widened, multiplier, shift)

    def compute(*indices: Scalar) -> Scalar:
        first, second = (
            scaled(index, broadcast_element(tensor, indices)) for index, tensor in enumerate((left, right))
        )
        total = first - second if subtracts else first + second
        return result.apply_to(total, *(const(number, "int32") for number in multipliers[2]))

    output = te.compute(np.broadcast_shapes(*shapes), compute, name="result")
    return make_kernel([left, right], [output], operator="rescaled_add", layer=layer, work=work)
