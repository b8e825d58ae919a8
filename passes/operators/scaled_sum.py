"""A requantised sum of bytes in 32 bits: ``clip((multiplier * sum + offset) >> shift, low, high)``.

Whatever rounding a requantisation has, there are so few sums of some bytes that all can be tried.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from tvm_pulp.passes.operators.linear_sum import fitting_offset
from tvm_pulp.passes.operators.requantize import Requantization, Rounding
from tvm_pulp.schedules.microkernels.quantized_pool_assembly import PoolArithmetic

_BITS = 16
"""Of multipliers: and of sums, so that a product of half words will do."""
_REACH = 8
"""How far from the nearest integer a multiplier is looked for."""
_MOST = 2**31 - 1


@dataclass(frozen=True)
class ScaledSum(PoolArithmetic):
    """The form, and what it gives."""

    def attributes(self) -> dict[str, int]:
        """Return the fields as a kernel's attributes."""
        return {name: int(value) for name, value in asdict(self).items()}

    def results(self, sums: np.ndarray) -> np.ndarray:
        """Return the results of sums by NumPy, uint8."""
        totals = self.multiplier * sums.astype(np.int64) + self.offset
        return np.clip(totals >> self.shift, self.low, self.high).astype(np.uint8)


def find_scaled_sum(
    requantization: Requantization, multiplier: np.ndarray, centre: int, count: int
) -> ScaledSum | None:
    """Find a form that is equal to a requantisation for all sums of some bytes.

    Parameters
    ----------
    requantization
        From sums less `centre` to bytes.
    multiplier
        The one for all results; with its shift, ``[2, ...]``, where the requantisation has own shifts.
    centre
        What is taken off a sum: the zero points of its bytes.
    count
        Bytes of a sum.

    Returns
    -------
    ScaledSum or None
        None where no form with a multiplier next to the ratio gives the same results, or sums are too large.
    """
    r, sums = requantization, np.arange(255 * count + 1, dtype=np.int64)
    if len(sums) > 1 << _BITS:
        return None
    factor, shift = int(multiplier.flat[0]), int(multiplier.flat[1]) if r.own_shifts else r.shift
    ratio = factor / 2.0 ** (shift + 31 * (r.rounding is Rounding.TWICE) + r.first_shift)
    if ratio <= 0:
        return None
    bounds = r.low, r.high
    if r.rounding is Rounding.HALF_UP and not r.first_shift and shift <= 30:
        offset = (1 << shift >> 1) - factor * centre + (r.zero_point << shift)
        if _fits(factor, offset, int(sums[-1])):
            return ScaledSum(factor, offset, shift, *bounds)
    table = r.reference(sums - centre, multiplier.reshape(-1, 1)[:, 0])
    shift = min(30, math.floor(math.log2(((1 << _BITS) - 1) / ratio)))
    for step in sorted(range(-_REACH, _REACH + 1), key=abs):
        chosen = round(ratio * 2**shift) + step
        fitting = fitting_offset(table, chosen * sums, shift, bounds)
        if fitting is not None and _fits(chosen, fitting, int(sums[-1])):
            return ScaledSum(chosen, fitting, shift, *bounds)
    return None


def _fits(multiplier: int, offset: int, largest: int) -> bool:
    """Whether products with sums up to the largest one, and the offset, fit the kernel's registers."""
    totals = (offset, multiplier * largest, multiplier * largest + offset)
    return 0 <= multiplier < 1 << _BITS and max(map(abs, totals)) <= _MOST
