"""What the definitions of instructions have in common: operands, lanes and rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from golden_float import AWAY, DOWN, NEAREST, UP, ZERO

M32 = 0xFFFFFFFF
MODES = (NEAREST, ZERO, DOWN, UP, AWAY)


@dataclass(frozen=True)
class Operands:
    a: int
    b: int
    c: int
    d: int
    n: int = 0  # first immediate (6 bits are drawn; each format takes its own)
    m: int = 0  # second immediate
    mode: int = NEAREST


Rule = tuple[str, Callable[[Operands], int]]


def signed(value: int, bits: int = 32) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def lanes(value: int, bits: int, is_signed: bool) -> list[int]:
    parts = [value >> shift & ((1 << bits) - 1) for shift in range(0, 32, bits)]
    return [signed(part, bits) for part in parts] if is_signed else parts


def joined(values: list[int], bits: int) -> int:
    return sum((value & ((1 << bits) - 1)) << (bits * n) for n, value in enumerate(values))
