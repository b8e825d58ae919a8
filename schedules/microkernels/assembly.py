"""Assembly as text in C: top-level ``__asm__`` with the macros of ``pulp_assembly.h``."""

from __future__ import annotations

import re
import struct

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


def float_bits(value: float) -> int:
    """Return the bits of a float32 as an unsigned integer."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return int(bits)


def bits_float(bits: int) -> float:
    """Return the float32 of an unsigned integer's bits."""
    (value,) = struct.unpack("<f", struct.pack("<I", bits))
    return float(value)
