"""Which register file each operand of an instruction is in, on a chip with floating-point registers apart.

By the names of the instructions: the letter of a format stands for a floating-point register, `w`, `wu` and
`x` for an integer one.
"""

from __future__ import annotations

from dataclasses import dataclass

_HALVES = ("h", "ah")
_COMPARISONS = ("eq", "ne", "lt", "ge", "le", "gt")


@dataclass(frozen=True)
class Files:
    """True where an operand is in the floating-point registers."""

    rd: bool
    rs1: bool
    rs2: bool
    rs3: bool


def files(name: str) -> Files:
    """The register files of an instruction's operands."""
    if not name.startswith(("f", "vf")):
        return Files(False, False, False, False)
    operation, *formats = name.removeprefix("v").removeprefix("f").split(".")
    target, source = (formats[0], formats[-1]) if operation in ("cvt", "mv") else ("", "")
    to_integer = operation in (*_COMPARISONS, "class") or target in ("w", "wu", "x")
    return Files(not to_integer, source not in ("w", "wu", "x"), True, True)


def gives_one_half(name: str) -> bool:
    """Whether the result is one 16-bit number in a floating-point register."""
    if not name.startswith("f") or not files(name).rd:
        return False
    return name.split(".")[1] in _HALVES
