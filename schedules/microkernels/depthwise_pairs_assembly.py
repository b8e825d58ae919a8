"""The assembly of ``depthwise_pairs``: a strip of columns of one pair of channels after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE, AssemblyText, add_constant

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.depthwise_pairs import DepthwisePairs, Strip

CHANNELS = 2
"""That are computed together."""
_TAPS = 3
WEIGHT_BYTES = 12
"""Of a channel, a word a row."""
_IMAGE, _WEIGHT, _BIAS, _RESULT, _PAIRS, _ROWS = "a0", "a1", "a2", "a3", "a4", "a5"
_IN, _OUT = "a0", "a1"
_TURN, _JOIN, _JOIN_LAST = "a2", "a3", "a4"
"""Selectors: two pixels → halves of two channels; upper halves → a word; likewise, the third pixel alone."""
_PIXELS = ("t0", "t1", "t2", "t3")
_WORD = "t4"
_RESULTS = ("t5", "t6")
_WEIGHTS = (("s0", "s1", "s2"), ("s3", "s4", "s5"))
_MULTIPLIERS, _BIASES = ("s6", "s7"), ("s8", "s9")
_SUMS = ("s10", "s11", "a5", "a6", "a7", "ra", "gp", "tp")
_SAVED = ("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "ra", "gp", "tp")
_PADS = "a6"
_END = _PAIRS
"""Where the weights end, when it is known."""
_PLACES = dict(zip((_IMAGE, _WEIGHT, _BIAS, _RESULT, _END, _ROWS, _PADS), range(60, 88, 4), strict=True))
"""Where arguments are on the stack, behind the saved registers."""
_FRAME = 96
_REFETCH = 0.45
"""Cycles of an instruction of a pair, once a pair, where not all fit the core's own cache."""
_CACHED = 128
"""Instructions that do."""


def strip_cycles(p: DepthwisePairs, strip: Strip, rows: int) -> float:
    """Return the cycles of some rows of a pair's strip."""
    row, begin = len(_two_rows(p, strip)), len(_begin_pair(p, strip)) + len(_end_pair()) + 1
    refetch = _REFETCH * (row + begin) if row + begin > _CACHED else 0.0
    return rows * row + begin + refetch


def _row(p: DepthwisePairs, strip: Strip, tap: int) -> list[str]:
    """Return the instructions of a row of the image: its products by a row of weights, and what follows.

    No loaded pixel is used by the next instruction. The third pixel of a window has another's byte, or
    another channel's, beside it: by a weight of zero.
    """
    lines: list[str] = []
    free, width = list(_PIXELS), strip.columns
    base, row = _IN, 0
    if tap == 0:  # the row above the one that the pointer is at
        row = -p.pitch
        if row - 2 * width * p.channels < -LARGEST_IMMEDIATE - 1:
            base, row = _RESULTS[0], 0
            lines.append(f"addi {base}, {_IN}, {-p.pitch}")

    def load(pixel: int) -> str:
        register = free.pop(0)
        if strip.padded[pixel]:
            lines.extend(_set(register, p.zero_point * 0x0101))
            if pixel == 2 * width and tap:
                lines.append(f"addi {_IN}, {_IN}, {p.pitch}")
        elif pixel == 2 * width and tap:
            lines.append(f"P_LHU({register}, {p.pitch}, {_IN})")
        else:
            lines.append(f"lhu {register}, {row + (pixel - 2 * width) * p.channels}({base})")
        return register

    def turn(first: str, second: str) -> str:
        lines.append(f"PV_SHUFFLE2_B({first}, {second}, {_TURN})")
        free.append(second)
        return first

    first, second, following = load(0), load(1), load(2)
    beside = load(3) if width > 1 else ""
    first = turn(first, second)
    following = turn(following, beside) if beside else following
    for column in range(width):
        left = width - 1 - column
        lines.append(f"PV_PACK_H({_WORD}, {following}, {first})")
        later = load(2 * column + 4) if left else ""
        lines += _products(p, column, 0, tap, _WORD)
        lines.append(f"PV_SHUFFLE2_B({first}, {following}, {_JOIN if left else _JOIN_LAST})")
        beside = load(2 * column + 5) if left > 1 else ""
        lines += _products(p, column, 1, tap, first)
        if tap == _TAPS - 1:
            lines += _complete(p, column, width, (_WORD, first))
        later = turn(later, beside) if beside else later
        free.append(first)
        first, following = following, later
    return lines


def _set(register: str, value: int) -> list[str]:
    """Return the instructions, each one of four bytes, that set a register to a positive constant."""
    if value <= LARGEST_IMMEDIATE:
        return [f"li {register}, {value}"]
    high = (value + 0x800) >> 12
    return [f"lui {register}, {high}", f"addi {register}, {register}, {value - (high << 12)}"]


def _products(p: DepthwisePairs, column: int, channel: int, tap: int, word: str) -> list[str]:
    """Return the products of a word by a row of weights; those of the first row begin a sum."""
    total, weight = _SUMS[CHANNELS * column + channel], _WEIGHTS[channel][tap]
    if tap:
        return [f"PV_SDOTUSP_B({total}, {word}, {weight})"]
    if p.e.halfword:
        return [f"PV_DOTUSP_B({total}, {word}, {weight})"]
    return [f"mv {total}, {_BIASES[channel]}", f"PV_SDOTUSP_B({total}, {word}, {weight})"]


def _complete(p: DepthwisePairs, column: int, width: int, words: tuple[str, str]) -> list[str]:
    """Return the requantisation and the store of a column's sums, and the start of those of the next row."""
    e, lines = p.e, []
    for channel, result in enumerate(_RESULTS):
        total, multiplier = _SUMS[CHANNELS * column + channel], _MULTIPLIERS[channel]
        if e.halfword:
            add = f"P_ADDRN({result}, {total}, {_BIASES[channel]}, {e.first_shift})"
            lines.append(add if e.first_shift else f"add {result}, {total}, {_BIASES[channel]}")
        else:
            lines.append(f"P_MULU_SHIFT({result}, {total}, {multiplier}, 16)")
            lines.append(f"P_MACHHS_ROUND({result}, {total}, {multiplier}, {e.shift - 16})")
        lines += _products(p, column, channel, 0, words[channel])
    if e.halfword:
        lines += [
            f"P_MULS_ROUND({r}, {r}, {m}, {e.shift})" for r, m in zip(_RESULTS, _MULTIPLIERS, strict=True)
        ]
    lines += [f"addi {result}, {result}, {e.zero_point}" for result in _RESULTS if e.zero_point]
    lines += [f"P_CLIPU({result}, {result}, 9)" for result in _RESULTS]
    for bound, name, neutral in ((e.low, "MAX", 0), (e.high, "MIN", 255)):
        if bound != neutral:
            lines += [f"li {_WORD}, {bound}", *(f"P_{name}({r}, {r}, {_WORD})" for r in _RESULTS)]
    first, second = _RESULTS
    lines.append(f"PV_PACKLO_B({first}, {second}, {first})")
    if column < width - 1:
        return [*lines, f"sh {first}, {(column + 1 - width) * p.channels}({_OUT})"]
    return [*lines, f"P_SH({first}, {p.columns * p.channels}, {_OUT})"]


def _two_rows(p: DepthwisePairs, strip: Strip) -> list[str]:
    """Return the instructions of a row of results; the second row of the image begins the next one's sums."""
    return [*_row(p, strip, 1), *_row(p, strip, _TAPS - 1)]


def _begin_pair(p: DepthwisePairs, strip: Strip) -> list[str]:
    """Return what loads a pair's pointers, weights, biases and multipliers, and begins its sums.

    The pointers on the stack are moved on to the next pair.
    """
    weights, biases, image, result = _PIXELS
    pads, rows = _RESULTS
    lines = [f"lw {weights}, {_PLACES[_WEIGHT]}(sp)", f"lw {biases}, {_PLACES[_BIAS]}(sp)"]
    lines += [f"lw {_IN}, {_PLACES[_IMAGE]}(sp)", f"lw {_OUT}, {_PLACES[_RESULT]}(sp)"]
    lines += [f"P_LW({w}, 4, {weights})" for w in (*_WEIGHTS[0], *_WEIGHTS[1])]
    lines += [f"P_LW({register}, 4, {biases})" for register in _BIASES]
    lines += [f"addi {image}, {_IN}, {CHANNELS}", f"addi {result}, {_OUT}, {CHANNELS}"]
    moved = {_WEIGHT: weights, _BIAS: biases, _IMAGE: image, _RESULT: result}
    lines += [f"sw {register}, {_PLACES[argument]}(sp)" for argument, register in moved.items()]
    multipliers = p.e.multipliers - 4 * len(_BIASES)
    if multipliers + 4 > LARGEST_IMMEDIATE:
        lines += add_constant(biases, multipliers, rows)
        multipliers = 0
    lines += [f"lw {m}, {multipliers + 4 * i}({biases})" for i, m in enumerate(_MULTIPLIERS)]
    lines += [f"lw {pads}, {_PLACES[_PADS]}(sp)", f"lw {rows}, {_PLACES[_ROWS]}(sp)"]
    lines += [] if p.e.halfword else [f"PV_PACK_H({m}, {m}, {m})" for m in _MULTIPLIERS]
    return [*lines, f"bnez {pads}, 2f", *_row(p, strip, 0)]


def _begin_with_padding(p: DepthwisePairs, strip: Strip) -> list[str]:
    """Return what begins a pair's sums where the first row of the windows is padding."""
    lines = [f"li {_WORD}, {p.zero_point * 0x010101}"]
    for column in range(strip.columns):
        lines += [line for channel in range(CHANNELS) for line in _products(p, column, channel, 0, _WORD)]
    return lines


def _end_pair() -> list[str]:
    """Return what goes on with the next pair, if there is one."""
    weights, end = _PIXELS[:2]
    return [
        f"lw {weights}, {_PLACES[_WEIGHT]}(sp)",
        f"lw {end}, {_PLACES[_END]}(sp)",
        f"bne {weights}, {end}, 1b",
    ]


def strip_assembly(p: DepthwisePairs, strip: Strip) -> str:
    """Return C with a strip's function."""
    text, name, width = AssemblyText(), strip.name, strip.columns
    begin, body = _begin_pair(p, strip), _two_rows(p, strip)
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
    text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(*add_constant(_IMAGE, 2 * width * p.channels, "t0"))  # the last pixel, whose load moves on
    text.add(*add_constant(_RESULT, (width - 1) * p.channels, "t0"))
    text.add(
        f"li t0, {CHANNELS * WEIGHT_BYTES}", f"mul {_END}, {_PAIRS}, t0", f"add {_END}, {_END}, {_WEIGHT}"
    )
    text.add(*(f"sw {register}, {place}(sp)" for register, place in _PLACES.items()))
    text.add(f"li {_TURN}, 0x05010400", f"li {_JOIN}, 0x07060302", f"li {_JOIN_LAST}, 0x00050302")
    text.add("1:", *begin, "3:")
    text.add(f"LP_SETUP(0, {_RESULTS[1]}, {len(body)}, 5)", *body[:-1], "5:", body[-1], *_end_pair())
    text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(f"addi sp, sp, {_FRAME}", "ret", "2:", *_begin_with_padding(p, strip), "j 3b")
    text.add(f".size {name}, .-{name}", ".option pop", ".popsection")
    return f"""\
{strip.description}
void {name}(const uint8_t *, const int8_t *, const int32_t *, uint8_t *, int32_t, int32_t, int32_t);
__asm__(
{text}
);"""
