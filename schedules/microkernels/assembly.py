"""Assembly as text in C: top-level ``__asm__`` with the macros of ``pulp_assembly.h``."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

LARGEST_IMMEDIATE = 2047
"""Largest offset of a load, or constant of an addition, that an instruction can hold."""

_MACRO = re.compile(r"[A-Z][A-Z0-9_]*\(")


class AssemblyText:
    """Assembly lines as C string literals; the macros of pulp_assembly.h stay outside the quotes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, *lines: str) -> None:
        """Append lines: instructions, labels, directives or macros."""
        self.lines += lines

    def __str__(self) -> str:
        shown = []
        for line in self.lines:
            escaped = line.replace('"', '\\"')
            shown.append(f"    {line}" if _MACRO.match(line) else f'    "{escaped}\\n"')
        return "\n".join(shown)


def code_words(lines: Sequence[str]) -> float:
    """Return the size of some instructions in words of four bytes; compressed ones take half a word."""
    instructions = [line for line in lines if not line.endswith(":") and not line.startswith(".")]
    return sum(0.5 if line.startswith("c.") else 1.0 for line in instructions)


def copies(moves: Sequence[tuple[str, str]]) -> list[str]:
    """Return instructions that copy registers, (to, from), in half the usual space.

    An odd last one takes a whole word, so that what follows is aligned.
    """
    half, rest = moves[: len(moves) // 2 * 2], moves[len(moves) // 2 * 2 :]
    short = [".option rvc", *(f"c.mv {to}, {source}" for to, source in half), ".option norvc"] if half else []
    return short + [f"mv {to}, {source}" for to, source in rest]


def float_bits(value: float) -> int:
    """Return the bits of a float32 as an unsigned integer."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return int(bits)


def add_constant(register: str, value: int, scratch: str) -> list[str]:
    """Return instructions that add a constant; one that needs ``scratch`` takes three, whatever it is."""
    if -LARGEST_IMMEDIATE - 1 <= value <= LARGEST_IMMEDIATE:
        return [f"addi {register}, {register}, {value}"] if value else []
    high = (value + 0x800) >> 12
    low = value - (high << 12)
    return [
        f"lui {scratch}, {high & 0xFFFFF}",
        f"addi {scratch}, {scratch}, {low}",
        f"add {register}, {register}, {scratch}",
    ]


def bits_float(bits: int) -> float:
    """Return the float32 of an unsigned integer's bits."""
    (value,) = struct.unpack("<f", struct.pack("<I", bits))
    return float(value)
