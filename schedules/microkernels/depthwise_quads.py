"""Quantised depthwise convolution with stride 2 in L1: four channels of a column at a time, down its rows.

Windows two columns apart share so little that the words of a channel need not be kept in memory, as
``quantized_depthwise`` does: the three pixels of a window's row, a word of four channels each, are turned in
registers into a word of each channel, 11 instructions. A row of the image that two windows share is turned
once. Weights and multipliers of the four channels are in registers, and their results are stored as a word.

Of a 3x3 window a result takes 5.5 instructions to turn two rows of four channels, three products, its bias,
three for the requantisation and 0.75 for the store: 13.25.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE, AssemblyText, add_constant
from tvm_pulp.schedules.microkernels.dot_panel import Epilogue

CHANNELS = 4
"""That are computed together."""
_PANEL = "depthwise_column"
_IMAGE, _WEIGHT, _BIAS, _RESULT, _COLUMNS, _ROWS = "a0", "a1", "a2", "a3", "a4", "a5"
_IN, _OUT = "a0", "a1"
_PIXELS = ("a2", "a4", "a5")
"""Words of three pixels, then: the words of the second channel, of the first one, and nothing."""
_COPY, _OTHER = "a3", "a6"
"""The words of the fourth and of the third channel."""
_TURNED = (_PIXELS[1], _PIXELS[0], _OTHER, _COPY)
_FREE = _PIXELS[2]
_SUMS = ("t3", "t4", "t5", "t6")
_FIRST_BYTES, _LAST_BYTES, _HALVES = "t0", "t1", "t2"
_WEIGHTS = ("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")
_MULTIPLIERS = ("a7", "ra", "gp", "tp")
_SAVED = (*_WEIGHTS, "ra", "gp", "tp")
_FRAME = 96
_BIASES = 60
_PLACES = dict(zip((_IMAGE, _RESULT, _COLUMNS, _ROWS), range(76, 92, 4), strict=True))
"""Where arguments are on the stack."""
_CYCLES_A_COLUMN = 33
_CYCLES_A_CALL = 110


@dataclass(frozen=True)
class DepthwiseQuads:
    """What the code depends on.

    Attributes
    ----------
    channels, columns : int
        Of the results.
    pitch : int
        Bytes of a row of the padded image.
    e : Epilogue
        With `halfword` or `short`.
    """

    channels: int
    columns: int
    pitch: int
    e: Epilogue

    def is_supported(self) -> bool:
        """Tell whether registers and immediate operands suffice."""
        short = (self.e.halfword or self.e.short) and not self.e.own_shifts
        return short and self.channels % CHANNELS == 0 and self.pitch <= LARGEST_IMMEDIATE


def quads_cycles(rows: int, p: DepthwiseQuads, cores: int) -> float:
    """Return the cycles of some rows of results, of the slowest worker."""
    columns = -(-p.channels // CHANNELS * p.columns // cores)
    calls = 1 + -(-(columns - 1) // p.columns)
    return columns * (rows * len(_two_rows(p)) + _CYCLES_A_COLUMN) + calls * _CYCLES_A_CALL


def depthwise_quads_source(p: DepthwiseQuads, *, assembly: bool) -> str:
    """Return C for ``depthwise_quads_tile``, a worker's share of a tile.

    Parameters
    ----------
    p
        The sizes.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    column = _column_c(p)
    if assembly:
        column = f"""\
#include "pulp_assembly.h"

#if PULP_ASSEMBLY

{_assembly(p)}

#else

{column}

#endif"""
    return f"""\
{column}

/* The share of worker `core` in rows x {p.columns} x {p.channels} results: columns of four channels, some of
 * the same channels after one another. */
static void depthwise_quads_tile(int core, const uint8_t *image, const int8_t *weight, const int32_t *bias,
                                 uint8_t *result, int32_t rows) {{
  const int32_t total = {p.channels // CHANNELS * p.columns}, end = pulp_chunk(core + 1, PULP_CORES, total);
  for (int32_t at = pulp_chunk(core, PULP_CORES, total); at < end;) {{
    const int32_t quad = at / {p.columns}, x = at - quad * {p.columns};
    const int32_t columns = pulp_min({p.columns} - x, end - at), channel = {CHANNELS} * quad;
    {_PANEL}(image + x * {2 * p.channels} + channel, weight + channel * 12, bias + channel,
                     result + x * {p.channels} + channel, columns, rows);
    at += columns;
  }}
}}
"""


def _column_c(p: DepthwiseQuads) -> str:
    value = p.e.c_value("sum", f"bias[c + {p.e.multipliers // 4}]", "")
    return f"""\
/* Some columns of four channels. */
static void {_PANEL}(const uint8_t *image, const int8_t *weight, const int32_t *bias, uint8_t *result,
                             int32_t columns, int32_t rows) {{
  for (int32_t x = 0; x < columns; ++x)
    for (int32_t y = 0; y < rows; ++y)
      for (int32_t c = 0; c < {CHANNELS}; ++c) {{
        const uint8_t *window = image + y * {2 * p.pitch} + x * {2 * p.channels} + c;
        int32_t sum = bias[c];
        for (int32_t i = 0; i < 3; ++i)
          for (int32_t j = 0; j < 3; ++j)
            sum += window[i * {p.pitch} + j * {p.channels}] * weight[(c * 3 + i) * 4 + j];
        result[(y * {p.columns} + x) * {p.channels} + c] = {value};
      }}
}}"""


def _turn_row(p: DepthwiseQuads) -> list[str]:
    """Return the instructions that load a window's row and make a word of each channel of it.

    The words of the first and of the third channel have the third pixel's byte in their third place, the
    others in their last one; the byte beside it is another channel's, by a weight of zero.
    """
    first, second, third = _PIXELS
    return [
        f"lw {first}, {-2 * p.channels}({_IN})",
        f"lw {second}, {-p.channels}({_IN})",
        f"mv {_COPY}, {first}",
        f"P_LW({third}, {p.pitch}, {_IN})",
        f"PV_SHUFFLE2_B({first}, {second}, {_FIRST_BYTES})",
        f"PV_SHUFFLE2_B({_COPY}, {second}, {_LAST_BYTES})",
        f"PV_PACK_H({second}, {third}, {first})",
        f"PV_SHUFFLE2_H({first}, {third}, {_HALVES})",
        f"srli {third}, {third}, 16",
        f"PV_PACK_H({_OTHER}, {third}, {_COPY})",
        f"PV_SHUFFLE2_H({_COPY}, {third}, {_HALVES})",
    ]


def _add_row(tap: int) -> list[str]:
    """Return the products of the turned row by a row of the weights."""
    return [f"PV_SDOTUSP_B({_SUMS[c]}, {_TURNED[c]}, {_WEIGHTS[3 * c + tap]})" for c in range(CHANNELS)]


def _first_row() -> list[str]:
    """Return the instructions that begin sums, by a row that is turned."""
    return [*(f"lw {s}, {_BIASES + 4 * c}(sp)" for c, s in enumerate(_SUMS)), *_add_row(0)]


def _two_rows(p: DepthwiseQuads) -> list[str]:
    """Return the instructions of a row of results; the second row of the image begins the next one's sums."""
    first, second, third, fourth = _SUMS
    return [
        *_turn_row(p),
        *_add_row(1),
        *_turn_row(p),
        *_add_row(2),
        *_requantize(p.e),
        f"PV_PACKLO_B({first}, {second}, {first})",
        f"PV_PACKHI_B({first}, {fourth}, {third})",
        f"P_SW({first}, {p.columns * p.channels}, {_OUT})",
        *_first_row(),
    ]


def _requantize(e: Epilogue) -> list[str]:
    lines = []
    if e.halfword:
        lines += [f"P_ADDRN({s}, {s}, zero, {e.first_shift})" for s in _SUMS if e.first_shift]
        lines += [f"P_MULS_ROUND({s}, {s}, {m}, {e.shift})" for s, m in zip(_SUMS, _MULTIPLIERS, strict=True)]
        lines += [f"addi {s}, {s}, {e.zero_point}" for s in _SUMS if e.zero_point]
        lines += [f"P_CLIPU({s}, {s}, 9)" for s in _SUMS]
    else:
        for s, multiplier in zip(_SUMS, _MULTIPLIERS, strict=True):
            lines.append(f"P_MULU_SHIFT({_FREE}, {s}, {multiplier}, 16)")
            lines.append(f"P_MACHHS_ROUND({_FREE}, {s}, {multiplier}, {e.shift - 16})")
            lines += [f"addi {_FREE}, {_FREE}, {e.zero_point}"] if e.zero_point else []
            lines.append(f"P_CLIPU({s}, {_FREE}, 9)")
    for bound, name, neutral in ((e.low, "MAX", 0), (e.high, "MIN", 255)):
        if bound != neutral:
            lines += [f"li {_FREE}, {bound}", *(f"P_{name}({s}, {s}, {_FREE})" for s in _SUMS)]
    return lines


def _assembly(p: DepthwiseQuads) -> str:
    text, body = AssemblyText(), _two_rows(p)
    text.add(f'.pushsection .text.{_PANEL},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {_PANEL}, @function", f"{_PANEL}:", f"addi sp, sp, -{_FRAME}")
    text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(*add_constant(_IMAGE, 2 * p.channels, "t0"))  # the third pixel, whose load moves on
    text.add(*(f"sw {register}, {place}(sp)" for register, place in _PLACES.items()))
    for c, s in enumerate(_SUMS):
        text.add(f"lw {s}, {4 * c}({_BIAS})", f"sw {s}, {_BIASES + 4 * c}(sp)")
    text.add(*add_constant(_BIAS, p.e.multipliers, "t0"))
    text.add(*(f"lw {register}, {4 * c}({_BIAS})" for c, register in enumerate(_MULTIPLIERS)))
    text.add(*([] if p.e.halfword else (f"PV_PACK_H({m}, {m}, {m})" for m in _MULTIPLIERS)))
    text.add(
        *(f"lw {register}, {4 * i}({_WEIGHT})" for i, register in enumerate(_WEIGHTS)), "li t0, 0x02030100"
    )
    text.add(*(f"PV_SHUFFLE2_B({w}, {w}, t0)" for i, w in enumerate(_WEIGHTS) if i // 3 % 2))
    text.add(f"li {_FIRST_BYTES}, 0x05010400", f"li {_LAST_BYTES}, 0x07030602", f"li {_HALVES}, 0x00020001")
    text.add("1:", f"lw {_IN}, {_PLACES[_IMAGE]}(sp)", f"lw {_OUT}, {_PLACES[_RESULT]}(sp)")
    text.add(*_turn_row(p), *_first_row(), f"lw {_FREE}, {_PLACES[_ROWS]}(sp)", "nop")
    text.add(f"LP_SETUP(0, {_FREE}, {len(body)}, 5)", *body[:-1], "5:", body[-1])
    steps = {_IMAGE: 2 * p.channels, _RESULT: p.channels, _COLUMNS: -1}
    some = dict(zip(steps, _SUMS, strict=False))
    text.add(*(f"lw {register}, {_PLACES[argument]}(sp)" for argument, register in some.items()))
    for argument, register in some.items():
        text.add(*add_constant(register, steps[argument], _FREE))
    text.add(*(f"sw {register}, {_PLACES[argument]}(sp)" for argument, register in some.items()))
    text.add(f"bnez {some[_COLUMNS]}, 1b")
    text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {_PANEL}, .-{_PANEL}", ".option pop", ".popsection")
    return f"""\
/* Some columns of four channels. */
void {_PANEL}(const uint8_t *, const int8_t *, const int32_t *, uint8_t *, int32_t, int32_t);
__asm__(
{text}
);"""
