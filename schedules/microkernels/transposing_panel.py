"""The first rows of a product of bytes whose weight has its sums down the columns: transposed on the way.

A worker that owns columns of the result transposes the weight's for itself, four at a time, no barrier: it
loads 4 x 4 bytes, transposes them in registers (``byte_planes``), stores the words for the rows to come, each
column's one behind the other, and multiplies them with four rows of the data before they leave the registers.
A step takes 38 instructions where a transposition and a panel of 4 x 4 would take 42.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE, AssemblyText, add_constant
from tvm_pulp.schedules.microkernels.byte_planes import TRANSPOSITION_CONSTANTS, transpose_four, transposed
from tvm_pulp.schedules.microkernels.forms import INCLUDE, both_forms

ROWS = 4
"""Rows of the result that a panel computes."""
COLUMNS = 4

_NAME = "transposing_panel"
_A, _SOURCE, _WORDS = "a0", "a1", "a2"
_SUMS = "s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 a4 a5 a6 a7".split()
_BYTES = ("tp", "gp", "a3", "ra")
_ROW_WORDS = ("gp", "a3", "ra", "t4")
"""Words of the data: in registers whose values are in other words by then."""
_C, _C_ROW, _SCRATCH = "t3", "t5", "t6"
_SAVED = "ra s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 gp tp".split()
_FRAME = 80
_C_PLACE, _LINES_PLACE = 60, 64


@dataclass(frozen=True)
class TransposingPanel:
    """What the code depends on.

    Attributes
    ----------
    k : int
        Bytes of a sum, whole words of four.
    n : int
        Columns of the weight, and of the result.
    a_row, a_step : int
        Bytes from a row of the data to the next, and from a word of a sum to the next one.
    signed : bool
        Whether the data are int8; else they are uint8.
    """

    k: int
    n: int
    a_row: int
    a_step: int
    signed: bool = False

    def is_supported(self) -> bool:
        """Tell whether the sum has whole words, and the immediate operands reach across the rows."""
        reach = max(3 * self.k, 4 * self.n, 3 * self.a_row, self.a_step)
        return self.k % 4 == 0 and reach <= LARGEST_IMMEDIATE


def transposing_cycles(p: TransposingPanel, lines: int) -> float:
    """Return the cycles of the panel for `lines` times four columns."""
    return lines * (38.0 * (p.k // 4) + 50) + 90


def transposing_panel_source(p: TransposingPanel, *, assembly: bool) -> str:
    """Return C for ``transposing_panel``, for a worker's columns.

    Its signature is ``(const void *a, const void *source, void *words, void *c, int32_t lines)``: data, the
    weight [k][n], the place for its words, [column][k], and the result, for `lines` times four columns.

    Parameters
    ----------
    p
        The sizes.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    plain = _panel_c(p)
    if not assembly:
        return plain
    return f"{INCLUDE}\n\n{both_forms(_assembly(p), plain)}"


_COMMENT = f"""\
/* The first {ROWS} rows of `lines` times {COLUMNS} columns of sums; transposes the weight's columns. */"""


def _panel_c(p: TransposingPanel) -> str:
    kind = "int8_t" if p.signed else "uint8_t"
    return f"""\
{_COMMENT}
static void {_NAME}(const void *a, const void *source, void *words, void *c, int32_t lines) {{
  const int8_t *weight = source;
  int8_t *column = words;
  for (int32_t j = 0; j < {COLUMNS} * lines; ++j, column += {p.k}) {{
    for (int32_t k = 0; k < {p.k}; ++k) column[k] = weight[k * {p.n} + j];
    for (int32_t i = 0; i < {ROWS}; ++i) {{
      const {kind} *row = (const {kind} *)a + i * {p.a_row};
      int32_t sum = 0;
      for (int32_t k = 0; k < {p.k}; ++k) sum += row[k / 4 * {p.a_step} + k % 4] * column[k];
      ((int32_t *)c)[i * {p.n} + j] = sum;
    }}
  }}
}}"""


def _step(p: TransposingPanel) -> list[str]:
    """Return the instructions for a word of each column; the pointers move on with the last accesses.

    The source's pointer is at the second row, the data's at the last one.
    """
    a, b, c, d = _BYTES
    columns = transposed(_BYTES)
    kind = "SP" if p.signed else "USP"
    return [
        *(f"lw {register}, {at * p.n}({_SOURCE})" for register, at in ((a, -1), (c, 1), (d, 2))),
        f"P_LW({b}, {4 * p.n}, {_SOURCE})",
        *transpose_four(_BYTES),
        *(f"sw {columns[i]}, {i * p.k}({_WORDS})" for i in range(1, COLUMNS)),
        f"P_SW({columns[0]}, 4, {_WORDS})",
        *(f"lw {register}, {(r + 1 - ROWS) * p.a_row}({_A})" for r, register in enumerate(_ROW_WORDS[:-1])),
        f"P_LW({_ROW_WORDS[-1]}, {p.a_step}, {_A})",
        *(
            f"PV_SDOT{kind}_B({_SUMS[r * COLUMNS + i]}, {_ROW_WORDS[r]}, {columns[i]})"
            for r in range(ROWS)
            for i in range(COLUMNS)
        ),
    ]


def _store(p: TransposingPanel) -> list[str]:
    """Return the stores of a block; the pointer to the results goes on to the next columns."""
    lines = [f"lw {_C}, {_C_PLACE}(sp)", f"li {_C_ROW}, {4 * p.n}"]
    for r in range(ROWS):
        sums = _SUMS[r * COLUMNS : (r + 1) * COLUMNS]
        lines += [f"sw {register}, {4 * i}({_C})" for i, register in enumerate(sums) if i]
        lines.append(f"P_SWR({sums[0]}, {_C_ROW}, {_C})")
    lines += add_constant(_C, 4 * COLUMNS - ROWS * 4 * p.n, _SCRATCH)
    return [*lines, f"sw {_C}, {_C_PLACE}(sp)"]


def _assembly(p: TransposingPanel) -> str:
    text, step = AssemblyText(), _step(p)
    text.add(f'.pushsection .text.{_NAME},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {_NAME}, @function", f"{_NAME}:", f"addi sp, sp, -{_FRAME}")
    text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(f"sw a3, {_C_PLACE}(sp)", f"sw a4, {_LINES_PLACE}(sp)")
    text.add(f"addi {_A}, {_A}, {(ROWS - 1) * p.a_row}", f"addi {_SOURCE}, {_SOURCE}, {p.n}")
    text.add(*TRANSPOSITION_CONSTANTS, "1:")
    text.add(".option rvc", *(f"c.li {register}, 0" for register in _SUMS), ".option norvc")
    text.add(f"li {_BYTES[0]}, {p.k // 4}", f"LP_SETUP(0, {_BYTES[0]}, {len(step)}, 5)")
    text.add(*step[:-1], "5:", step[-1], *_store(p), f"lw {_BYTES[0]}, {_LINES_PLACE}(sp)")
    moves = {_A: -(p.k // 4) * p.a_step, _SOURCE: COLUMNS - p.k * p.n, _WORDS: (COLUMNS - 1) * p.k}
    moves[_BYTES[0]] = -1
    for register, move in moves.items():
        text.add(*add_constant(register, move, _SCRATCH))
    text.add(f"sw {_BYTES[0]}, {_LINES_PLACE}(sp)", f"bnez {_BYTES[0]}, 1b")
    text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {_NAME}, .-{_NAME}", ".option pop", ".popsection")
    return f"""\
{_COMMENT}
void {_NAME}(const void *, const void *, void *, void *, int32_t);
__asm__(
{text}
);"""
