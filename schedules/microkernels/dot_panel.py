"""Register-blocked sums of products of bytes: the inner loops of quantised matrix products and convolutions.

A *panel* computes blocks of ``rows x columns`` results. Result (r, c) is the sum of products of two byte
strings, row r of A and column c of B, which lie along the sum: ``segments`` pieces of ``depth`` words of four
bytes, something skipped after each piece, and all this in ``turns``, more skipped after each. A step takes a
word of each row and of each column and multiplies all with all by packed dot products: a block of 5 x 4 has
80 products in 29 instructions.

Sums are stored as they are, or start from a bias and are requantised to a byte (see ``Epilogue``).
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE
from tvm_pulp.schedules.microkernels.dot_panel_assembly import dot_panel_assembly
from tvm_pulp.schedules.microkernels.forms import both_forms
from tvm_pulp.schedules.microkernels.requantize_even import CYCLES_A_RESULT as EVEN_CYCLES_A_RESULT
from tvm_pulp.schedules.microkernels.requantize_even import HALF_EVEN
from tvm_pulp.schedules.microkernels.requantize_own_shifts import LEAST_SHIFT, TWICE, cycles_a_result

LARGEST_BLOCK = (5, 4)
"""Rows and columns of the largest block: 20 sums, two words of A, four of B."""

STRUCT = """\
/* What a panel needs to know beside its pointers; distances in bytes. */
struct dot_panel {
  int32_t blocks;      /* register blocks that follow one another */
  int32_t c_row;       /* of the results' rows */
  const int32_t *bias; /* of the first column, the multipliers behind */
  int32_t lines;       /* such runs of blocks, 0 stands for 1; what is skipped after a run: */
  int32_t a_line, b_line, c_line, bias_line;
};"""


@dataclass(frozen=True)
class DotDistances:
    """Bytes from a row of A (a column of B) to the next, and the path of the sum.

    Attributes
    ----------
    a_row, b_column : int
        Distances.
    depth : int
        Words of a segment.
    segments : int
        Segments of the sum, or of each of its turns.
    a_skip, b_skip : int
        Bytes from the end of a segment to the start of the next.
    turns, a_turn : int
        Turns, and bytes of A skipped after each, beside those after its last segment: 0 with one turn.
    along_rows : bool
        Whether the next block is that of the next rows or of the next columns.
    a_step, b_step : int
        Bytes from a word of a sum to the next one: 4, or, where words of other rows (columns) lie in between,
        at most `LARGEST_IMMEDIATE`.
    taps : int
        Words of each step: beside one another lie those of several taps of a window, see ``shared_columns``.
    a_tap, b_tap : int
        Bytes from a tap to the next, with several.
    """

    a_row: int
    b_column: int
    depth: int
    segments: int = 1
    a_skip: int = 0
    b_skip: int = 0
    turns: int = 1
    a_turn: int = 0
    along_rows: bool = False
    a_step: int = 4
    b_step: int = 4
    taps: int = 1
    a_tap: int = 0
    b_tap: int = 0

    @property
    def a_path(self) -> int:
        """Bytes that A's pointer moves along a sum."""
        return self.turns * (self.segments * (self.a_step * self.depth + self.a_skip) + self.a_turn)

    @property
    def b_path(self) -> int:
        """Bytes that B's pointer moves along a sum."""
        return self.turns * self.segments * (self.b_step * self.depth + self.b_skip)

    def moves(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the bytes from the end of a block's sum to the next block, of A and B."""
        a_next, b_next = (rows * self.a_row, 0) if self.along_rows else (0, columns * self.b_column)
        return a_next - self.a_path, b_next - self.b_path


def longest_distance(block: int) -> int:
    """Return the largest distance of rows (or columns) that the instructions' immediate operands reach."""
    middle = block // 2
    return LARGEST_IMMEDIATE // max(1, middle, block - 1 - middle)


@dataclass(frozen=True)
class Epilogue:
    """What becomes of the sums: stored as int32, or requantised to uint8 and stored.

    Requantised: ``clip(((sum + bias[c]) * multiplier[c] + 2^(shift-1) >> shift) + zero_point, low, high)``
    with 64-bit products; with `narrow` the products, less than 2^30 in magnitude, are known to fit 32 bits;
    with `short` the multipliers are known to be below 2^15, so that two products of halves do. See
    `scale_sums` for columns with shifts of their own. With `halfword` sums are shifted by `first_shift`
    first, halves up, and are half words then, as the multipliers are, so that one product of halves does.

    Attributes
    ----------
    requantize : bool
        Whether to.
    shift, zero_point, low, high : int
        As in the formula.
    narrow, short, halfword : bool
        Whether 32-bit products will do; whether the multipliers are half words; whether the shifted sums are
        too.
    multipliers : int
        Bytes from a column's bias to its multiplier.
    rounding : int
        How the kernel rounds: 0, halves up; `HALF_EVEN`, with `narrow` only; or `TWICE`.
    own_shifts : int
        Whether each column has its own shift, as far behind its multiplier as that behind its bias, and
        `shift` is the least.
    first_shift : int
        Of the sums, with `halfword`.
    spare_bit : bool
        Whether sums that are rounded twice can be doubled, see `scale_sums`.
    words : bool
        Whether four bytes of a row of results that a panel stores are an aligned word.
    """

    requantize: bool = False
    shift: int = 0
    zero_point: int = 0
    low: int = 0
    high: int = 255
    narrow: bool = False
    multipliers: int = 0
    short: bool = False
    rounding: int = 0
    own_shifts: int = 0
    halfword: bool = False
    first_shift: int = 0
    words: bool = False
    spare_bit: bool = False

    def is_supported(self) -> bool:
        """Tell whether the instructions round so and cover the shift without overflow."""
        if not self.requantize:
            return True
        if self.own_shifts:
            return self.rounding in LEAST_SHIFT and self.shift >= LEAST_SHIFT[self.rounding]
        if self.rounding:
            return self.rounding == HALF_EVEN and self.narrow and 1 <= self.shift <= 22
        if self.halfword:
            return 1 <= self.shift <= 30 and 0 <= self.first_shift <= 30
        if self.narrow:
            return 1 <= self.shift <= 22
        return 17 <= self.shift <= 47 if self.short else 33 <= self.shift <= 54

    def c_value(self, total: str, multiplier: str, own_shift: str) -> str:
        """Return the result as a C expression; `own_shift` is a column's shift if it has one."""
        if self.first_shift:
            total = f"({total} + {1 << (self.first_shift - 1)}) >> {self.first_shift}"
        function = {TWICE: "pulp_requantize_twice", HALF_EVEN: "pulp_requantize_even"}.get(
            self.rounding, "pulp_requantize"
        )
        value = f"{function}({total}, {multiplier}, {own_shift if self.own_shifts else self.shift})"
        if self.zero_point:
            value += f" + {self.zero_point}"
        return f"pulp_min(pulp_max({value}, {self.low}), {self.high})"

    @property
    def folds_bias(self) -> bool:
        """Whether sums are multiplied without their bias, which is scaled in what is added then."""
        return self.narrow and self.rounding != HALF_EVEN

    @property
    def adds_bias(self) -> bool:
        """Whether a sum gets its bias by an addition: neither scaled nor by a shift that adds it."""
        return not (self.folds_bias or self.halfword)

    @property
    def negative(self) -> bool:
        """Whether results below the zero point differ from one another; after a ReLU they do not."""
        return self.low < self.zero_point

    @property
    def cycles(self) -> float:
        """Cycles of a result behind its sum, without its store."""
        if not self.requantize:
            return 0.0
        each = 4.0 if self.narrow else 7.0
        if self.rounding == HALF_EVEN:
            each = EVEN_CYCLES_A_RESULT
        elif self.short or self.halfword:
            each = 3.0 + (self.zero_point > 0)
        if self.own_shifts:
            each = cycles_a_result(self.rounding, negative=self.negative, spare_bit=self.spare_bit)
            each += self.zero_point > 0
        return each + (self.low > 0) + (self.high < 255)

    @property
    def vectors(self) -> int:
        """Numbers of a column: bias, multiplier, and its shift if it has one."""
        return 3 if self.own_shifts else 2

    @property
    def item(self) -> int:
        """Bytes of a result."""
        return 1 if self.requantize else 4


def dot_panel_source(
    names: dict[tuple[int, int], str], d: DotDistances, e: Epilogue, *, signed: bool, assembly: bool
) -> str:
    """Return C with panels of several block sizes: assembly where it can be used, else plain C.

    Parameters
    ----------
    names
        Block size (rows, columns) → name of the panel, of signature
        ``void name(const void *a, const void *b, void *c, const struct dot_panel *)``.
    d, e
        The path of the sum and what becomes of it, the same for all.
    signed
        Whether A is int8; else it is uint8. B is int8.
    assembly
        Whether the target has Xpulp; the plain C form is there in any case, for the host.
    """
    plain = "\n\n".join(_panel_c(name, *size, d, e, signed) for size, name in names.items())
    if not assembly:
        return f"{STRUCT}\n\n{plain}"
    panels = "\n\n".join(dot_panel_assembly(name, *size, d, e, signed) for size, name in names.items())
    choice = both_forms(panels, plain)
    return f'#include "pulp_assembly.h"\n\n{STRUCT}\n\n{choice}'


def _panel_c(name: str, rows: int, columns: int, d: DotDistances, e: Epilogue, signed: bool) -> str:
    """Return the same panel in plain C."""
    a_next, b_next = d.moves(rows, columns)
    c_next = f"{rows} * p->c_row" if d.along_rows else str(e.item * columns)
    a_type = "int8_t" if signed else "uint8_t"
    if e.requantize:
        start, multiplier = "bias[j]", f"bias[j + {e.multipliers // 4}]"
        value = e.c_value("sum", multiplier, f"bias[j + {e.multipliers // 2}]")
        result = f"*((uint8_t *)c + i * p->c_row + j) = {value}"
    else:
        start, result = "0", "*((int32_t *)c + i * (p->c_row / 4) + j) = sum"
    bias = f", bias += {columns}" if e.requantize and not d.along_rows else ""
    turns = ""
    if d.turns > 1:
        turns = f"for (int32_t turn = 0; turn < {d.turns}; ++turn, x += {d.a_turn})\n            "
    taps = f"for (int32_t tap = 0; tap < {d.taps}; ++tap)\n                " if d.taps > 1 else ""
    x, y = (f"tap * {d.a_tap} + byte", f"tap * {d.b_tap} + byte") if d.taps > 1 else ("byte", "byte")
    bias_line = ", bias += p->bias_line / 4" if e.requantize else ""
    start_bias = "  const int32_t *bias = p->bias;\n" if e.requantize else ""
    return f"""\
static void {name}(const void *a_start, const void *b_start, void *c_start, const struct dot_panel *p) {{
  const {a_type} *a = a_start;
  const int8_t *b = b_start;
  char *c = c_start;
  int32_t line = 0;
{start_bias}\
  do {{
    for (int32_t block = 0; block < p->blocks; ++block) {{
      for (int32_t i = 0; i < {rows}; ++i)
        for (int32_t j = 0; j < {columns}; ++j) {{
          const {a_type} *x = a + i * {d.a_row};
          const int8_t *y = b + j * {d.b_column};
          int32_t sum = {start};
          {turns}for (int32_t part = 0; part < {d.segments}; ++part, x += {d.a_skip}, y += {d.b_skip})
            for (int32_t k = 0; k < {d.depth}; ++k, x += {d.a_step}, y += {d.b_step})
              {taps}for (int32_t byte = 0; byte < 4; ++byte) sum += x[{x}] * y[{y}];
          {result};
        }}
      a += {d.a_path} + {a_next}, b += {d.b_path} + {b_next}, c += {c_next}{bias};
    }}
    a += p->a_line, b += p->b_line, c += p->c_line{bias_line};
  }} while (++line < p->lines);
}}"""
