"""Assembly of pooling: four channels from a word, a maximum by lanes, a sum by dot products with ones.

For a sum, two taps' words become two of half words, ``(x0, x1, y0, y1)`` and ``(x2, x3, y2, y3)``: a dot
product with two ones adds both to a channel's sum.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import AssemblyText

_ROWS = ("a3", "a4", "a5", "a6")
_TAPS = ("t0", "t1", "t2", "a0")
_SUMS = ("t3", "t4", "t5", "t6")
_WORDS = "a7"
_EVEN, _ODD, _HIGH, _MULTIPLIER, _OFFSET, _LOW, _TOP = (f"s{i}" for i in range(7))
_STEP, _SKIP, _TURNS, _HEIGHT, _AT = "s7", "s8", "s9", "s10", "a3"
_SAVED = tuple(f"s{i}" for i in range(11))
_BYTE_BITS = 9
"""What P_CLIPU calls 0 to 255."""


@dataclass(frozen=True)
class PoolArithmetic:
    """How a sum becomes a byte: ``clip((multiplier * sum + offset) >> shift, low, high)``.

    Multiplier and sums have 16 bits without signs, products and offset together 32 with signs.

    Attributes
    ----------
    multiplier, offset, shift : int
        The offset has the zero points and what rounds.
    low, high : int
        Least and greatest result, within 0 to 255.
    """

    multiplier: int
    offset: int
    shift: int
    low: int
    high: int

    @property
    def bounds(self) -> list[tuple[str, int]]:
        """Registers and values of the bounds, where one instruction does not do."""
        return [] if (self.low, self.high) == (0, 255) else [(_LOW, self.low), (_TOP, self.high)]

    @property
    def constants(self) -> list[tuple[str, int]]:
        """Registers and their values."""
        offset = self.offset & 0xFFFFFFFF
        ones = [(_EVEN, 0x00010001), (_ODD, 0x01000100), (_HIGH, 0x00030001)]
        return [*ones, (_MULTIPLIER, self.multiplier), (_OFFSET, offset), *self.bounds]


def columns_name(taps: int) -> str:
    """Return the name of the function for windows of some columns."""
    return f"quantized_pool_columns_{taps}"


def columns_assembly(
    height: int, taps: int, stride: int, channels: int, arithmetic: PoolArithmetic | None
) -> str:
    """Return C with a function for some pixels: pointers to rows in a0, results to a1, their number in a2.

    Parameters
    ----------
    height, taps
        Rows and columns of a window.
    stride
        Columns from a window to the next one.
    channels
        Of a pixel.
    arithmetic
        Of averages; None for maxima.
    """
    rows = _ROWS[:height]
    # the first column comes last: its load moves the pointer on
    places = [(row, column * channels) for row in rows for column in [*range(1, taps), 0]]

    def load(to: str, tap: int) -> str:
        row, place = places[tap]
        return f"lw {to}, {place}({row})" if place else f"P_LW({to}, 4, {row})"

    body = _maximum(len(places), load) if arithmetic is None else _average(len(places), load, arithmetic)
    constants = [] if arithmetic is None else arithmetic.constants
    skip = (stride - 1) * channels
    lines = [f"lw {row}, {4 * i}(a0)" for i, row in enumerate(rows)] + [f"li {_WORDS}, {channels // 4}"]
    if skip:
        moves = [f"add {row}, {row}, {_SKIP}" for row in rows]
        constants = [*constants, (_SKIP, skip)]
        lines += [f"LP_SETUP(1, a2, {len(body) + 1 + len(moves)}, 6)", *_loop(0, _WORDS, body)]
        lines += [*moves[:-1], "6:", moves[-1]]
    else:  # a pixel's end is the start of the next one's
        lines += [f"mul a2, a2, {_WORDS}", *_loop(0, "a2", body)]
    declaration = f"void {columns_name(taps)}(const uint8_t *const *, uint8_t *, int32_t)"
    return _function(columns_name(taps), declaration, constants, lines)


def words_assembly(window: tuple[int, int], pitch: int, channels: int, arithmetic: PoolArithmetic) -> str:
    """Return C with a function for averages over a window: data in a0, results to a1, words in a2.

    Parameters
    ----------
    window
        Rows and columns; a row of the image is one row.
    pitch, channels
        Bytes of a row of the image, and of a pixel.
    arithmetic
        From sums to bytes.
    """
    height, width = window
    if width * channels == pitch:
        height, width = 1, height * width
    turns, rest = divmod(width, 4)

    def load(to: str, tap: int) -> str:
        return f"P_LWR({to}, {_STEP}, {_AT})"

    taps = (*_TAPS[:3], "a4")
    four = [load(register, 0) for register in taps]
    four += [*_pair(taps[0], taps[1], "a5", first=False), *_pair(taps[2], taps[3], "a5", first=False)]
    row = _loop(0, _TURNS, four) if turns else []
    row += _sum(rest, load, taps, first=False)
    skip = f"add {_AT}, {_AT}, {_SKIP}"
    if height > 1:
        row = [f"LP_SETUP(1, {_HEIGHT}, {_length([*row, skip])}, 6)", *row, "6:", skip]
    body = [f"mv {_AT}, a0", *(f"li {total}, 0" for total in _SUMS), *row, *_finish(arithmetic)]
    constants = [(_STEP, channels), (_SKIP, pitch - width * channels), (_TURNS, turns), (_HEIGHT, height)]
    lines = ["7:", *body, "addi a0, a0, 4", "addi a2, a2, -1", "bnez a2, 7b"]
    declaration = "void quantized_pool_words(const uint8_t *, uint8_t *, int32_t)"
    return _function("quantized_pool_words", declaration, [*arithmetic.constants, *constants], lines)


def _maximum(count: int, load: Callable[[str, int], str]) -> list[str]:
    """Return the instructions for a word: a load runs ahead of each maximum."""
    largest, *others = _TAPS[:3]
    body = [load(largest, 0)]
    maxima = [f"PV_MAXU_B({largest}, {largest}, {others[tap % 2]})" for tap in range(1, count)]
    for tap in range(1, count):
        body += [load(others[tap % 2], tap), *maxima[tap - 2 : tap - 1]]
    body += maxima[-1:]
    return [*body, f"P_SW({largest}, 4, a1)"]


def _average(count: int, load: Callable[[str, int], str], arithmetic: PoolArithmetic) -> list[str]:
    return [*_sum(count, load, _TAPS, first=True), *_finish(arithmetic)]


def _sum(count: int, load: Callable[[str, int], str], registers: Sequence[str], *, first: bool) -> list[str]:
    """Return the instructions that add up a word's taps, in four registers: a pair's loads run ahead."""
    free = "a5" if "a4" in registers else _STEP
    if not count:
        return []
    loads = [[load(registers[tap % 4], tap) for tap in pair] for pair in _pairs(count)]
    body = [*loads[0]]
    for number, pair in enumerate(_pairs(count)):
        body += loads[number + 1] if number + 1 < len(loads) else []
        starts = first and number == 0
        if len(pair) == 2:
            body += _pair(registers[pair[0] % 4], registers[pair[1] % 4], free, first=starts)
        else:
            one = registers[pair[0] % 4]
            # the other half word of a pair is 0
            body += [f"srli {free}, {one}, 16", f"slli {one}, {one}, 16"]
            body += _dots((one, free), first=starts)
    return body


def _pairs(count: int) -> list[range]:
    return [range(tap, min(tap + 2, count)) for tap in range(0, count, 2)]


def _pair(one: str, other: str, free: str, *, first: bool) -> list[str]:
    """Return the instructions that add two taps' words to the four sums, or begin these."""
    joined = [f"PV_PACK_H({free}, {other}, {one})", f"PV_SHUFFLE2_H({one}, {other}, {_HIGH})"]
    return [*joined, *_dots((free, one), first=first)]


def _dots(words: tuple[str, str], *, first: bool) -> list[str]:
    name = "PV_DOTUP_B" if first else "PV_SDOTUP_B"
    ones = (_EVEN, _ODD)
    return [f"{name}({_SUMS[channel]}, {words[channel // 2]}, {ones[channel % 2]})" for channel in range(4)]


def _finish(a: PoolArithmetic) -> list[str]:
    """Return the way of four sums to a word of bytes, and its store."""
    body = []
    for total in _SUMS:
        body += [f"P_MULU_SHIFT({total}, {total}, {_MULTIPLIER}, 0)"]
        body += [f"P_ADDN({total}, {total}, {_OFFSET}, {a.shift})"]
        if a.bounds:
            body += [f"P_MAX({total}, {total}, {_LOW})", f"P_MIN({total}, {total}, {_TOP})"]
        else:
            body.append(f"P_CLIPU({total}, {total}, {_BYTE_BITS})")
    first, second, third, fourth = _SUMS
    body += [f"PV_PACKLO_B({first}, {second}, {first})", f"PV_PACKHI_B({first}, {fourth}, {third})"]
    return [*body, f"P_SW({first}, 4, a1)"]


def _loop(level: int, count: str, body: list[str]) -> list[str]:
    return [f"LP_SETUP({level}, {count}, {len(body)}, 5)", *body[:-1], "5:", body[-1]]


def _length(lines: list[str]) -> int:
    return sum(not line.endswith(":") for line in lines)


def _function(name: str, declaration: str, constants: list[tuple[str, int]], lines: list[str]) -> str:
    """Return C with a function that saves the registers which it uses."""
    used = set(re.findall(r"\w+", " ".join(lines)))
    saved = [register for register in _SAVED if register in used]
    text = AssemblyText()
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:")
    if saved:
        text.add(f"addi sp, sp, -{4 * len(saved)}")
        text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(saved)))
    text.add(*(f"li {register}, {value}" for register, value in constants if register in used), *lines)
    if saved:
        text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(saved)))
        text.add(f"addi sp, sp, {4 * len(saved)}")
    text.add("ret", f".size {name}, .-{name}", ".option pop", ".popsection")
    return f"{declaration};\n__asm__(\n{text}\n);"
