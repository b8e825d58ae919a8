"""Requantisation by multipliers and shifts of each channel, as TFLite's layers have them, in registers."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_pulp.schedules.microkernels.assembly import add_constant

HALF_UP, TWICE = 0, 2
"""Values of a kernel's attribute ``rounding``: see `Rounding` of ``passes/operators/requantize.py``."""
CYCLES_A_RESULT = {HALF_UP: 7.0, TWICE: 11.0}
"""Of each rounding, with the bounds of a byte; a high product takes 5 cycles. See `cycles_a_result`."""
LEAST_SHIFT = {HALF_UP: 33, TWICE: 1}
"""Shifts that the instructions take, of each rounding; the largest ones are those of `Requantization`."""


def cycles_a_result(rounding: int, *, negative: bool, spare_bit: bool) -> float:
    """Return the cycles of a sum in `scale_sums`, and of the bounds of a byte."""
    less = (1 if negative else 2) * spare_bit + 2 * (not negative)
    return CYCLES_A_RESULT[rounding] - less * (rounding == TWICE)


def prepare_channel(multiplier: str, shift: str, rounding: int, *, spare_bit: bool) -> list[str]:
    """Return instructions that turn a channel's multiplier and shift into what `scale_sums` takes."""
    if rounding == TWICE:
        return [f"slli {multiplier}, {multiplier}, 1", *([f"addi {shift}, {shift}, 1"] if spare_bit else [])]
    return [f"addi {shift}, {shift}, -32"]


def scale_sums(
    sums: Sequence[str], multiplier: str, shift: str, scratch: str, rounding: int, *, negative: bool,
    spare_bit: bool,
) -> list[str]:  # fmt: skip
    """Return instructions that scale sums s of a channel in place, without their zero point.

    Parameters
    ----------
    sums, scratch
        Registers.
    multiplier, shift
        Registers, after `prepare_channel`.
    rounding
        `HALF_UP`: s becomes ``s * multiplier + 2^(shift-1) >> shift``, with the upper half of the product
        only. `TWICE`: it becomes ``h + 2^(shift-1) - (h < 0) >> shift`` with ``h = s * multiplier + 2^30 >>
        31``, which is the upper half of s times the double multiplier, unsigned, rounded by its lower half.
    negative
        Whether results below 0 differ from one another, so that their halves matter: not after a ReLU.
    spare_bit
        Whether sums can be doubled, see `Requantization`. Then ``x = (2 s * 2 multiplier >> 32) + 1`` is 2 h
        or 2 h + 1, and the result ``x + 2^shift - 2 (x < 0) >> shift + 1``, without the lower half.

    Notes
    -----
    A product is not used by the instruction behind it, which would wait.
    """
    if rounding == TWICE and not spare_bit:
        return [line for s in sums for line in _round_twice(s, multiplier, shift, scratch, negative)]
    if rounding != TWICE:
        lines = [f"mulh {s}, {s}, {multiplier}" for s in sums]
        return lines + [f"P_ADDRNR({s}, zero, {shift})" for s in sums]
    lines = [f"slli {s}, {s}, 1" for s in sums] + [f"mulhsu {s}, {s}, {multiplier}" for s in sums]
    if not negative:
        return [*lines, f"li {scratch}, 1", *(f"P_ADDRNR({s}, {scratch}, {shift})" for s in sums)]
    lines += [f"addi {s}, {s}, 1" for s in sums]
    for s in sums:
        lines += [f"srai {scratch}, {s}, 31", f"slli {scratch}, {scratch}, 1"]
        lines.append(f"P_ADDRNR({s}, {scratch}, {shift})")
    return lines


def _round_twice(total: str, multiplier: str, shift: str, scratch: str, negative: bool) -> list[str]:
    away_from_zero = [f"add {total}, {total}, {scratch}", f"srai {scratch}, {total}, 31"]
    return [
        f"mul {scratch}, {total}, {multiplier}",
        f"mulhsu {total}, {total}, {multiplier}",
        f"srli {scratch}, {scratch}, 31",
        *(away_from_zero if negative else []),
        f"P_ADDRNR({total}, {scratch}, {shift})",
    ]


def requantize_own_shifts(
    columns: Sequence[Sequence[str]],
    distance: int,
    zero_point: int,
    rounding: int,
    *,
    negative: bool,
    spare_bit: bool,
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
    rounding, negative, spare_bit
        See `scale_sums`.

    Notes
    -----
    Uses a0, a1, a2, t3 and t4.
    """
    lines = [*add_constant("a0", distance, "t3"), "mv a1, a0", *add_constant("a1", distance, "t3")]
    for c, sums in enumerate(columns):
        lines += [f"lw t4, {4 * c}(a1)", f"lw t3, {4 * c}(a0)"]
        lines += prepare_channel("t3", "t4", rounding, spare_bit=spare_bit)
        lines += scale_sums(sums, "t3", "t4", "a2", rounding, negative=negative, spare_bit=spare_bit)
    return lines + [f"addi {s}, {s}, {zero_point}" for sums in columns for s in sums if zero_point]
