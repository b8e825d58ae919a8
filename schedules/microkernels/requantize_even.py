"""Requantisation with halves to even, as ONNX and PyTorch round, in registers."""

from __future__ import annotations

HALF_EVEN = 1
"""Value of a kernel's attribute ``rounding``: see `Rounding` of ``passes/operators/requantize.py``."""
CYCLES_A_RESULT = 6.0
"""With the bounds of a byte."""


def even_constant(shift: int, zero_point: int) -> int:
    """Return what `round_half_even` adds."""
    return (zero_point << shift) + (1 << (shift - 1)) - 1


def round_half_even(total: str, constant: str, scratch: str, shift: int) -> list[str]:
    """Return instructions that divide a product by 2^shift in place, halves to even, and add a zero point.

    Parameters
    ----------
    total, constant, scratch
        Registers; `constant` holds `even_constant`.
    shift
        1 to 22; products are less than 2^30 in magnitude.

    Notes
    -----
    A little less than a half is added, and the last bit of the quotient rounded down: only an odd quotient
    gets over the next integer by a half.
    """
    return [
        f"P_EXTRACTU({scratch}, {total}, 1, {shift})",
        f"add {total}, {total}, {scratch}",
        f"P_ADDN({total}, {total}, {constant}, {shift})",
    ]
