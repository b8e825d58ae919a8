"""Requantisation by multipliers and shifts of each channel, as TFLite's layers have them, in registers."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_pulp.schedules.microkernels.assembly import add_constant

HALF_UP, TWICE = 0, 2
"""Values of a kernel's attribute ``rounding``: see `Rounding` of ``passes/operators/requantize.py``."""
CYCLES_A_RESULT = {HALF_UP: 7.0, TWICE: 11.0}
"""Of each rounding, with the bounds of a byte; a high product takes 5 cycles."""
LEAST_SHIFT = {HALF_UP: 33, TWICE: 1}
"""Shifts that the instructions take, of each rounding; the largest ones are those of `Requantization`."""


def prepare_channel(multiplier: str, shift: str, rounding: int) -> list[str]:
    """Return instructions that turn a channel's multiplier and shift into what `scale_sum` takes."""
    if rounding == TWICE:
        return [f"slli {multiplier}, {multiplier}, 1"]
    return [f"addi {shift}, {shift}, -32"]


def scale_sum(
    total: str, multiplier: str, shift: str, scratch: str, rounding: int, *, negative: bool
) -> list[str]:
    """Return instructions that scale a sum s in place, without its zero point.

    Parameters
    ----------
    total, scratch
        Registers.
    multiplier, shift
        Registers, after `prepare_channel`.
    rounding
        `HALF_UP`: s becomes ``s * multiplier + 2^(shift-1) >> shift``, with the upper half of the product
        only. `TWICE`: it becomes ``h + 2^(shift-1) - (h < 0) >> shift`` with ``h = s * multiplier + 2^30 >>
        31``, which is the upper half of s times the double multiplier, unsigned, rounded by its lower half.
    negative
        Whether results below 0 differ from one another, so that their halves matter: not after a ReLU.
    """
    if rounding == TWICE:
        away_from_zero = [f"add {total}, {total}, {scratch}", f"srai {scratch}, {total}, 31"]
        return [
            f"mul {scratch}, {total}, {multiplier}",
            f"mulhsu {total}, {total}, {multiplier}",
            f"srli {scratch}, {scratch}, 31",
            *(away_from_zero if negative else []),
            f"P_ADDRNR({total}, {scratch}, {shift})",
        ]
    return [f"mulh {total}, {total}, {multiplier}", f"P_ADDRNR({total}, zero, {shift})"]


def requantize_own_shifts(
    columns: Sequence[Sequence[str]], distance: int, zero_point: int, rounding: int, *, negative: bool
) -> list[str]:
    """Return instructions that scale a panel's sums in place.

    Parameters
    ----------
    columns
        Registers of the sums of each column, which share multiplier and shift.
    distance
        Bytes from the first column's bias, which a0 points at, to its multiplier, and thence to its shift.
    zero_point
        Of the result.
    rounding, negative
        See `scale_sum`.

    Notes
    -----
    Uses a0, a1, a2, t3 and t4.
    """
    lines = [*add_constant("a0", distance, "t3"), "mv a1, a0", *add_constant("a1", distance, "t3")]
    for c, sums in enumerate(columns):
        lines += [f"lw t4, {4 * c}(a1)", f"lw t3, {4 * c}(a0)", *prepare_channel("t3", "t4", rounding)]
        for s in sums:
            lines += scale_sum(s, "t3", "t4", "a2", rounding, negative=negative)
    return lines + [f"addi {s}, {s}, {zero_point}" for sums in columns for s in sums if zero_point]
