"""Short sums of products of bytes: the weights of a few columns stay in registers, rows of data pass by.

With few words to sum, what stands around a sum in ``dot_panel`` takes longer than the sum. Here weights,
biases and multipliers of four columns (of two, where a sum has more than four words) are loaded once for many
rows; a row then takes the loads of its words, the products, the requantisation and one store.

A row is one of a matrix, or a window of an image: some lines of bytes at a distance. Where a line has one
byte more than whole words, the odd bytes of all lines are put together in one word.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE
from tvm_pulp.schedules.microkernels.dot_panel import Epilogue
from tvm_pulp.schedules.microkernels.forms import INCLUDE, both_forms
from tvm_pulp.schedules.microkernels.stationary_panel_assembly import (
    HELD,
    PANEL,
    SUMS,
    row_instructions,
    stationary_panel_assembly,
)

_WORDS_OF_FOUR, _WORDS_OF_TWO = 4, 10
"""The longest sums, with four columns and with two."""
_CYCLES_A_GROUP = 27
_CYCLES_A_CALL = 60


@dataclass(frozen=True)
class StationaryPanel:
    """What the code depends on; distances in bytes.

    Attributes
    ----------
    line_bytes, lines : int
        Of a row of the data: bytes side by side, and such lines.
    a_row, a_line : int
        From a row of the data to the next, and from one of its lines to the next.
    b_line : int
        From a line of a column's weights to the next: `line_bytes` in whole words, filled with zeros.
    c_row : int
        Columns of a row of results.
    e : Epilogue
        With `halfword` or `short`.
    signed : bool
        Whether the data are int8; else they are uint8.
    """

    line_bytes: int
    lines: int
    a_row: int
    a_line: int
    b_line: int
    c_row: int
    e: Epilogue
    signed: bool = False

    @property
    def gathers(self) -> bool:
        """Whether a word is put together of one byte of each line."""
        return self.line_bytes % 4 == 1 and self.lines == 3

    @property
    def words(self) -> list[tuple[int, int]]:
        """Places of the words that are loaded as they are, in a row of the data and in a column."""
        each = self.line_bytes // 4 if self.gathers else -(-self.line_bytes // 4)
        return [
            (line * self.a_line + 4 * i, line * self.b_line + 4 * i)
            for line in range(self.lines)
            for i in range(each)
        ]

    @property
    def length(self) -> int:
        """Words of a sum."""
        return len(self.words) + self.gathers

    @property
    def columns(self) -> int:
        """Columns whose weights are in registers together."""
        return 4 if self.length <= _WORDS_OF_FOUR else 2

    @property
    def sums(self) -> tuple[str, ...]:
        """Registers of a row's results."""
        return SUMS[: self.columns]

    @property
    def held(self) -> list[str]:
        """Registers for weights, biases and multipliers."""
        return [register for register in HELD if register not in self.sums]

    @property
    def spills(self) -> bool:
        """Whether bias and multiplier of the last column find no register."""
        return self.columns * (self.length + 2) > len(self.held)

    def takes(self, n: int, tile_n: int) -> bool:
        """Tell whether products of n columns, in tiles of ``tile_n``, can be computed so.

        The results of a row are stored as an aligned word (half word), and rows lie at a distance that is
        known.
        """
        short = self.e.short and not self.spills
        reach = max(self.lines * self.a_line, self.columns * self.lines * self.b_line, self.a_row, tile_n)
        whole = n % tile_n == 0 and tile_n % self.columns == 0
        few = 2 <= self.length <= _WORDS_OF_TWO
        return few and (self.e.halfword or short) and whole and reach <= LARGEST_IMMEDIATE

    @property
    def misaligned(self) -> float:
        """Loads of a row, on average, that reach over a word's end."""
        return sum((row * self.a_row + at) % 4 > 0 for row in range(4) for at, _ in self.words) / 4


def stationary_cycles(rows: int, n: int, p: StationaryPanel) -> float:
    """Return the cycles of rows x n results of one worker."""
    start = p.columns * (p.length + 2) + _CYCLES_A_GROUP
    return n // p.columns * (rows * (len(row_instructions(p)) + p.misaligned) + start) + _CYCLES_A_CALL


def stationary_source(p: StationaryPanel, *, assembly: bool) -> str:
    """Return C for ``stationary_panel``, which computes some rows of results.

    Its signature is ``(const void *a, const void *b, const int32_t *bias, void *c, int32_t rows, int32_t
    groups)``, with groups of `StationaryPanel.columns` columns.

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
    return f"{INCLUDE}\n\n{both_forms(stationary_panel_assembly(p), plain)}"


def stationary_matmul_source(p: StationaryPanel, *, assembly: bool) -> str:
    """Return C for ``quantized_matmul_tile``, which computes a worker's share of a tile: some of its rows."""
    return f"""\
{stationary_source(p, assembly=assembly)}

/* The share of worker `core` in m x n results: some rows. */
static void quantized_matmul_tile(int core, const void *a, const void *b, const int32_t *bias, void *c,
                                  int32_t m, int32_t n) {{
  const int32_t first = pulp_chunk(core, PULP_CORES, m), rows = pulp_chunk(core + 1, PULP_CORES, m) - first;
  if (rows)
    {PANEL}((const char *)a + first * {p.a_row}, b, bias, (char *)c + first * {p.c_row}, rows,
{" " * (5 + len(PANEL))}n / {p.columns});
}}
"""


def _panel_c(p: StationaryPanel) -> str:
    kind = "int8_t" if p.signed else "uint8_t"
    value = p.e.c_value("sum", f"bias[j + {p.e.multipliers // 4}]", "")
    return f"""\
/* Some rows of {p.columns} columns after the other. */
static void {PANEL}(const void *a, const void *b, const int32_t *bias, void *c, int32_t rows,
{" " * (13 + len(PANEL))}int32_t groups) {{
  for (int32_t i = 0; i < rows; ++i)
    for (int32_t j = 0; j < {p.columns} * groups; ++j) {{
      const {kind} *x = (const {kind} *)a + i * {p.a_row};
      const int8_t *y = (const int8_t *)b + j * {p.lines * p.b_line};
      int32_t sum = bias[j];
      for (int32_t line = 0; line < {p.lines}; ++line, x += {p.a_line}, y += {p.b_line})
        for (int32_t k = 0; k < {p.line_bytes}; ++k) sum += x[k] * y[k];
      ((uint8_t *)c)[i * {p.c_row} + j] = {value};
    }}
}}"""
