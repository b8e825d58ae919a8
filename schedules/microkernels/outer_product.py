"""Outer product in L1: the weight gradient of a linear layer with batch 1.

There is no sum to keep in registers, so a result costs a product and a store: a group of columns' values of
B stay in registers while the rows go by in a hardware loop.
"""

from __future__ import annotations

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.operand_walk import Distances

GROUP = 8
"""Columns whose values of B are in registers at a time: those that a function need not save are enough."""

_VALUES = ("a5", "a6", "a7", "t0", "t1", "t2", "t3", "t4")
_PRODUCTS = ("t5", "t6")
_CYCLES_A_GROUP = 20
"""Of the call, the loads of B's values and the loop that calls."""


def cycles_of_group(rows: int, columns: int) -> int:
    """Return about how long a worker takes for some columns of some rows."""
    return rows * (2 * columns + 1) + _CYCLES_A_GROUP


def row_parts(m: int, n: int, cores: int) -> int:
    """Return into how many parts to cut the rows, so that the workers have about as much to do."""
    groups = ceil_div(n, GROUP)
    return min(
        (parts for parts in range(1, cores + 1) if cores % parts == 0 and parts <= max(m, 1)),
        key=lambda parts: (
            ceil_div(groups * parts, cores) * cycles_of_group(ceil_div(m, parts), min(n, GROUP))
        ),
    )


def outer_product_source(
    tile: tuple[int, int],
    rests: set[int],
    d: Distances,
    cores: int,
    *,
    c_extents: tuple[str, str] = ("m", "n"),
    assembly: bool,
) -> str:
    """Return C for ``matmul_tile`` where the sum has one term.

    Parameters
    ----------
    tile
        Rows and columns of a full tile.
    rests
        Columns left over after whole groups, over all tiles; 0 is ignored.
    d
        Distances between elements; those of rows and columns count.
    cores
        Number of workers.
    c_extents
        C expressions for the rows and columns that C has in L1.
    assembly
        Whether the target has Xpulp; the plain C form is there in any case, for the host.
    """
    (m, n), (c_rows, c_columns) = tile, c_extents
    widths = sorted({min(n, GROUP), *rests} - {0}, reverse=True)
    parts = row_parts(m, n, cores)
    share = ceil_div(ceil_div(n, GROUP) * parts, cores)
    plain = "\n\n".join(_group_c(width, d) for width in widths)
    groups = plain
    if assembly:
        fast = "\n\n".join(_group_assembly(width, d) for width in widths)
        groups = f'#include "pulp_assembly.h"\n\n#if PULP_ASSEMBLY\n\n{fast}\n\n#else\n\n{plain}\n\n#endif'
    calls = "".join(
        f"      {'else ' if i else ''}{f'if (width == {width}) ' if i < len(widths) - 1 else ''}"
        f"outer_product_{width}(a + first * {d.a_row}, b + column * {d.b_column}, "
        f"c + first * {c_columns} + column, rows, 4 * {c_columns});\n"
        for i, width in enumerate(widths)
    )
    width = f"      const int32_t width = pulp_min({GROUP}, n - column);\n" if len(widths) > 1 else ""
    return f"""\
{groups}

/* The share of worker `core` in images of m x n products: groups of columns, the rows in {parts} parts. */
static void matmul_tile(int core, const float *a, const float *b, float *c, int32_t m, int32_t n,
                        int32_t k, int32_t images, int32_t segments, int32_t a_image, int32_t b_image,
                        int32_t accumulate) {{
  (void)k, (void)segments, (void)accumulate;
  const int worker = PULP_CORES - 1 - core; /* core 0, which sees to the DMA, has the least to do */
  const int32_t last = pulp_min((worker + 1) * {share}, (n + {GROUP - 1}) / {GROUP} * {parts});
  for (int32_t image = 0; image < images; ++image, a += a_image, b += b_image, c += {c_rows} * {c_columns})
    for (int32_t unit = worker * {share}; unit < last; ++unit) {{
      const int32_t column = unit / {parts} * {GROUP}, part = unit % {parts};
      const int32_t first = pulp_chunk(part, {parts}, m);
      const int32_t rows = pulp_chunk(part + 1, {parts}, m) - first;
      if (rows == 0) continue;
{width}{calls}    }}
}}
"""


def _group_assembly(width: int, d: Distances) -> str:
    """Return the products of a group as C with top-level ``__asm__``."""
    name, text = f"outer_product_{width}", AssemblyText()
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:")
    values = _VALUES[:width]
    text.add(*(f"P_LW({register}, {4 * d.b_column}, a1)" for register in values))
    last = width - 1  # the pointer stays on this column: its store moves on to the next row
    load, body = f"P_LW(a1, {4 * d.a_row}, a0)", []
    for column, register in enumerate(values):
        product = _PRODUCTS[column % 2]
        body.append(f"fmul.s {product}, a1, {register}")
        body += [f"sw {product}, {4 * (column - last)}(a2)"] if column < last else [load]
    body.append(f"P_SWR({_PRODUCTS[last % 2]}, a4, a2)")  # beside the load of the next row's value
    text.add(load, f"addi a2, a2, {4 * last}", f"LP_SETUP(0, a3, {len(body)}, 5)", *body[:-1], "5:", body[-1])
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
