"""Sums of bytes in integers: ``clip((ml * l + mr * r + offset) >> shift, low, high)``.

Frameworks write such a sum in several roundings, or with more bits than its bytes show. There are 65536 pairs
of bytes only: a form with fewer bits is as good if it gives the same result for every one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, broadcast_element, make_kernel
from tvm_pulp.schedules.microkernels.linear_sum import LinearSumSettings
from tvm_pulp.target.tvm_names import PrimFunc, const, tirx

BYTES = np.arange(256, dtype=np.int64)
"""All bytes."""

_REACH = {8: 1, 16: 3, 22: 3}
"""Bits of multipliers, from the fastest kernel to the slowest, and how far from the nearest integers they are
looked for."""
_MOST = 2**31 - 1


@dataclass(frozen=True)
class LinearSum(LinearSumSettings):
    """The form, and what it gives."""

    def attributes(self) -> dict[str, int]:
        """Return the fields as a kernel's attributes."""
        return {name: int(value) for name, value in asdict(self).items()}

    def totals(self) -> np.ndarray:
        """Return the sums of all pairs of bytes before the shift, int64 [256, 256]."""
        return self.left * BYTES[:, None] + self.right * BYTES + self.offset

    def table(self) -> np.ndarray:
        """Return the results of all pairs of bytes, uint8 [256, 256]."""
        return np.clip(self.totals() >> self.shift, self.low, self.high).astype(np.uint8)


def find_linear_sum(
    table: np.ndarray, ratios: tuple[float, float], bounds: tuple[int, int]
) -> LinearSum | None:
    """Find the form with the fewest bits that gives a table.

    Parameters
    ----------
    table
        Results of all pairs of bytes, uint8 [256, 256], the left operand's first.
    ratios
        About what results grow by for one more of the left and of the right operand.
    bounds
        Least and greatest result that there may be.

    Returns
    -------
    LinearSum or None
        None where no form with multipliers next to the ratios gives the same results.
    """
    largest = max(abs(ratio) for ratio in ratios)
    if largest == 0:
        return None
    for bits, reach in _REACH.items():
        sign = int(min(ratios) < 0)
        shift = min(30, math.floor(math.log2(((1 << (bits - sign)) - 1) / largest)))
        nearest = [round(ratio * 2**shift) for ratio in ratios]
        for left, right in sorted(_around(reach), key=lambda step: step[0] ** 2 + step[1] ** 2):
            found = _with_offset(table, nearest[0] + left, nearest[1] + right, shift, bounds)
            if (
                found is not None
                and (found.bits <= bits or bits > 16)
                and np.abs(found.totals()).max() <= _MOST
            ):
                return found
    return None


def _around(reach: int) -> list[tuple[int, int]]:
    steps = range(-reach, reach + 1)
    return [(left, right) for left in steps for right in steps]


def _with_offset(
    table: np.ndarray, left: int, right: int, shift: int, bounds: tuple[int, int]
) -> LinearSum | None:
    """Return the form with some multipliers, and an offset that makes all results right."""
    offset = fitting_offset(table, left * BYTES[:, None] + right * BYTES, shift, bounds)
    return None if offset is None else LinearSum(left, right, offset, shift, *bounds)


def fitting_offset(
    table: np.ndarray, products: np.ndarray, shift: int, bounds: tuple[int, int]
) -> int | None:
    """Return an offset with which ``clip((products + offset) >> shift, *bounds)`` is a table, if there is.

    Parameters
    ----------
    table, products
        uint8 and int64, of one shape.
    """
    if shift < 0:
        return None
    low, high = bounds
    # of each result the least offset that gives it: the greatest one is 2^shift - 1 more
    least = (table.astype(np.int64) << shift) - products
    first = least[table > low].max(initial=-_MOST)
    last = least[table < high].min(initial=_MOST) + (1 << shift) - 1
    return int(first + last) // 2 if first <= last else None


def linear_sum_kernel(
    operator: str, layer: str, work: str, shapes: tuple[Shape, Shape], form: LinearSum
) -> PrimFunc:
    """Make the kernel of a form, see `pair_kernel`; ``"pulp.linear_sum"`` has its numbers."""

    def compute(left: Scalar, right: Scalar) -> Scalar:
        total = left * const(form.left, "int32") + right * const(form.right, "int32")
        value = (total + const(form.offset, "int32")) >> const(form.shift, "int32")
        return tirx.min(tirx.max(value, const(form.low, "int32")), const(form.high, "int32"))

    return pair_kernel(operator, layer, work, shapes, compute, {"pulp.linear_sum": form.attributes()})


def pair_kernel(
    operator: str,
    layer: str,
    work: str,
    shapes: tuple[Shape, Shape],
    compute: Callable[[Scalar, Scalar], Scalar],
    details: dict[str, dict[str, int]] | None = None,
) -> PrimFunc:
    """Make the kernel of a function of two bytes.

    Parameters
    ----------
    operator, layer, work, details
        See `make_kernel`.
    shapes
        Of left and right operand, of one rank; they broadcast.
    compute
        From two int32 to one from 0 to 255.

    Returns
    -------
    PrimFunc
        left, right, result, all uint8.
    """
    tensors = [argument(name, shape, "uint8") for name, shape in zip(("left", "right"), shapes, strict=True)]

    def element(*indices: Scalar) -> Scalar:
        operands = (tirx.Cast("int32", broadcast_element(tensor, indices)) for tensor in tensors)
        return tirx.Cast("uint8", compute(*operands))

    result = te.compute(np.broadcast_shapes(*shapes), element, name="result")
    return make_kernel(tensors, [result], operator=operator, layer=layer, work=work, details=details)
