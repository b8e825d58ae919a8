"""Requantisation that rounds twice, as TFLite's convolutions do, in a panel's registers."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_pulp.schedules.microkernels.assembly import add_constant

TWICE = 2
"""Value of a kernel's attribute ``rounding`` for it."""
CYCLES_A_RESULT = 16.0


def requantize_twice(columns: Sequence[Sequence[str]], distance: int, zero_point: int) -> list[str]:
    """Return instructions that scale sums in place.

    A sum s becomes ``(h + 2^(shift-1) - (h < 0) >> shift) + zero_point`` with ``h = s * multiplier + 2^30 >>
    31``; shifts are 1 to 31. The 64-bit product's halves give h: twice the high one and the low one's two
    upper bits, rounded.

    Parameters
    ----------
    columns
        Registers of the sums of each column, which share multiplier and shift.
    distance
        Bytes from the first column's bias, which a0 points at, to its multiplier, and thence to its shift.
    zero_point
        Of the result.

    Notes
    -----
    Uses a0, a1, a2, t3, t4 and t5.
    """
    lines = [*add_constant("a0", distance, "t3"), "mv a1, a0", *add_constant("a1", distance, "t3")]
    for c, sums in enumerate(columns):
        lines += [f"lw t4, {4 * c}(a1)", f"lw t3, {4 * c}(a0)", "li a2, 1"]
        lines += ["addi t5, t4, -1", "sll t5, a2, t5"]
        for s in sums:
            lines += [f"mul a2, {s}, t3", f"mulh {s}, {s}, t3", "srli a2, a2, 30", "P_ADDRN(a2, a2, zero, 1)"]
            lines += [f"slli {s}, {s}, 1", f"add {s}, {s}, a2", f"srai a2, {s}, 31", f"add {s}, {s}, a2"]
            lines += [f"add {s}, {s}, t5", f"sra {s}, {s}, t4"]
    return lines + [f"addi {s}, {s}, {zero_point}" for sums in columns for s in sums if zero_point]
