"""Outer product in L1: the weight gradient of a linear layer with batch 1.

There is no sum to keep in registers, so a result costs a product and a store: a group of columns' values of
B stay in registers while the rows go by in a hardware loop.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.forms import INCLUDE, both_forms
from tvm_pulp.schedules.microkernels.operand_walk import Distances

_FREE_VALUES = ("a5", "a6", "a7", "t0", "t1", "t2", "t3", "t4")
_SAVED_VALUES = ("s0", "s1", "s2", "s3")
_VALUES = (*_FREE_VALUES, *_SAVED_VALUES)
_PRODUCTS = ("t5", "t6")
_CYCLES_A_UNIT = 12
"""Of the call, beside the columns' values."""
_CYCLES_OF_SEVERAL = 20
"""More of a unit where a worker has several."""
_CYCLES_A_PART = 45
"""More of a unit where it has a part of the rows: divisions."""


class Units(NamedTuple):
    """How the products of a tile are shared out: groups of columns, and parts of the rows."""

    width: int
    """Columns of a group."""
    parts: int

    def of_worker(self, n: int, workers: int) -> int:
        """Return the units of the worker with most of them, for ``n`` columns."""
        return ceil_div(ceil_div(n, self.width) * self.parts, workers)

    def cycles(self, m: int, n: int, workers: int) -> int:
        """Return about how long that worker takes for ``m`` rows."""
        width = min(self.width, n)
        saved = 2 * max(0, width - len(_FREE_VALUES)) + 2 * (width > len(_FREE_VALUES))
        unit = ceil_div(m, self.parts) * (2 * width + 1) + width + saved + _CYCLES_A_UNIT
        share = self.of_worker(n, workers)
        return share * (unit + _CYCLES_OF_SEVERAL * (share > 1) + _CYCLES_A_PART * (self.parts > 1))


@lru_cache(maxsize=4096)
def share_out(m: int, n: int, workers: int) -> Units:
    """Return the units by which the workers are done the soonest with ``m`` x ``n`` products."""
    return min(
        (Units(w, p) for w in range(min(n, len(_VALUES)), 0, -1) for p in range(1, min(m, workers) + 1)),
        key=lambda units: units.cycles(m, n, workers),
    )


def outer_product_source(
    n: int,
    columns: Collection[int],
    units: Units,
    d: Distances,
    workers: int,
    *,
    c_extents: tuple[str, str] = ("m", "n"),
    assembly: bool,
) -> str:
    """Return C for ``matmul_tile`` where the sum has one term.

    Parameters
    ----------
    n, columns
        Columns of a full tile, and how many tiles may have.
    units
        How a tile is shared out.
    d
        Distances between elements; those of rows and columns count.
    workers
        How many have a share: the last ones, since core 0 sees to the DMA.
    c_extents
        C expressions for the rows and columns that C has in L1.
    assembly
        Whether the target has Xpulp; the plain C form is there in any case, for the host.
    """
    c_rows, c_columns = c_extents
    width, parts = units
    widths = sorted({width, *(count % width for count in columns)} - {0}, reverse=True)
    plain = "\n\n".join(_group_c(w, d) for w in widths)
    groups = plain
    if assembly:
        fast = "\n\n".join(_group_assembly(w, d) for w in widths)
        groups = f"{INCLUDE}\n\n{both_forms(fast, plain)}"
    return f"""\
{groups}

/* The share of worker `core` in images of m x n products: groups of columns, the rows in {parts} parts. */
static void matmul_tile(int core, const float *a, const float *b, float *c, int32_t m, int32_t n,
                        int32_t k, int32_t images, int32_t segments, int32_t a_image, int32_t b_image,
                        int32_t accumulate) {{
  (void)k, (void)segments, (void)accumulate;
  const int worker = PULP_CORES - 1 - core; /* core 0, which sees to the DMA, has the least to do */
  for (int32_t image = 0; image < images; ++image, a += a_image, b += b_image, c += {c_rows} * {c_columns}) {{
{_units_c(units, units.of_worker(n, workers), widths, d, c_columns)}  }}
}}
"""


def _units_c(units: Units, share: int, widths: list[int], d: Distances, c_columns: str) -> str:
    """Return the C of a worker's units, at most ``share``; groups are of some widths."""
    width, parts = units
    calls = "".join(
        f"      {'else ' if i else ''}{f'if (width == {w}) ' if i < len(widths) - 1 else ''}"
        f"outer_product_{w}(a + first * {d.a_row}, b + column * {d.b_column}, "
        f"c + first * {c_columns} + column, rows, 4 * {c_columns});\n"
        for i, w in enumerate(widths)
    )
    if len(widths) > 1:
        calls = f"      const int32_t width = pulp_min({width}, n - column);\n{calls}"
    chunk = "      const int32_t first = 0, rows = m;\n"
    if parts > 1:
        chunk = f"""\
      const int32_t part = unit % {parts}, first = pulp_chunk(part, {parts}, m);
      const int32_t rows = pulp_chunk(part + 1, {parts}, m) - first;
      if (rows == 0) continue;
"""
    start = f"""\
    const int32_t last = pulp_min((worker + 1) * {share}, (n + {width - 1}) / {width} * {parts});
    for (int32_t unit = worker * {share}; unit < last; ++unit) {{
      const int32_t column = unit / {parts} * {width};
"""
    if share == parts == 1:  # no loop: it takes longer to find out that there is one unit
        start = f"""\
    const int32_t column = worker * {width};
    if (column < n) {{
"""
    return f"{start}{chunk}{calls}    }}\n"


def _group_assembly(width: int, d: Distances) -> str:
    """Return the products of a group as C with top-level ``__asm__``."""
    name, text = f"outer_product_{width}", AssemblyText()
    values, last = _VALUES[:width], width - 1
    saved = [register for register in values if register in _SAVED_VALUES]
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:")
    if saved:
        text.add("addi sp, sp, -16", *(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(saved)))
    text.add(*(f"P_LW({register}, {4 * d.b_column}, a1)" for register in values))
    # the pointer stays on the last column: its store moves on to the next row
    load, body = f"P_LW(a1, {4 * d.a_row}, a0)", []
    for column, register in enumerate(values):
        product = _PRODUCTS[column % 2]
        body.append(f"fmul.s {product}, a1, {register}")
        body += [f"sw {product}, {4 * (column - last)}(a2)"] if column < last else [load]
    body.append(f"P_SWR({_PRODUCTS[last % 2]}, a4, a2)")  # beside the load of the next row's value
    text.add(load, f"addi a2, a2, {4 * last}", f"LP_SETUP(0, a3, {len(body)}, 5)", *body[:-1], "5:", body[-1])
    if saved:
        text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(saved)), "addi sp, sp, 16")
    text.add("ret", f".size {name}, .-{name}", ".option pop", ".popsection")
    return f"void {name}(const float *, const float *, float *, int32_t, int32_t);\n__asm__(\n{text}\n);"


def _group_c(width: int, d: Distances) -> str:
    """Return the same in plain C."""
    return f"""\
static void outer_product_{width}(const float *restrict a, const float *restrict b, float *restrict c,
                            int32_t rows, int32_t c_row) {{
  for (int32_t i = 0; i < rows; ++i)
    for (int32_t j = 0; j < {width}; ++j)
      c[i * (c_row / 4) + j] = a[i * {d.a_row}] * b[j * {d.b_column}];
}}"""
