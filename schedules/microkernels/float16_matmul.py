"""Product of float16 matrices in L1: a worker's share of a tile, in panels."""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.block_sizes import block_sizes_with_rests, panel_calls, panel_names
from tvm_pulp.schedules.microkernels.half_panel import HalfPanelForm, half_panel_source


def float16_matmul_source(
    *,
    block: tuple[int, int],
    row_rests: set[int],
    column_rests: set[int],
    form: HalfPanelForm,
    assembly: bool,
) -> str:
    """Return C for ``float16_matmul_tile``, which computes a worker's share of a tile.

    Parameters
    ----------
    block
        Rows and columns of the register block.
    row_rests, column_rests
        Rows (columns) left over after whole blocks, over all tiles; 0 is ignored.
    form, assembly
        See `half_panel_source`.
    """
    rows, columns = block
    row_sizes, column_sizes = (
        block_sizes_with_rests(size, left) for size, left in ((rows, row_rests), (columns, column_rests))
    )
    names, d = panel_names(row_sizes, column_sizes), form.d
    height = width = ""
    if len(row_sizes) > 1:
        height = f"      const int32_t height = pulp_min({rows}, m - row);\n"
    blocks = "end - j"
    if len(column_sizes) > 1:
        width = f"      const int32_t width = pulp_min({columns}, n - column);\n"
        blocks = f"width == {columns} ? pulp_min(end, n / {columns}) - j : 1"
    calls = panel_calls(names, "a_block, b_block, c + place, &panel", "      ")
    return f"""\
#include "pulp_half.h"
{half_panel_source(names, form, assembly=assembly)}

/* The share of worker `core` in images x m x n results over k terms: contiguous runs of register blocks.
 * With `segments` above 1 the sum runs over that many images instead. Where a tile does not begin or end the
 * sum, `sums` has it in between. */
static void float16_matmul_tile(int core, const pulp_half *a, const pulp_half *b, pulp_half *c, int32_t m,
                                int32_t n, int32_t k, int32_t images, int32_t segments, int32_t a_image,
                                int32_t b_image, float *sums, int32_t begins, int32_t ends) {{
  const int32_t columns = (n + {columns - 1}) / {columns};
  const int32_t blocks = (m + {rows - 1}) / {rows} * columns;
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, blocks * images);
  struct half_panel panel = {{
      .depth = k / 2, .odd = k % 2, .segments = segments, .c_row = 2 * n, .begins = begins, .ends = ends,
      .a_segment = 2 * (a_image - k / 2 * {2 * d.a_step}),
      .b_segment = 2 * (b_image - k / 2 * {2 * d.b_step})}};
  for (int32_t at = pulp_chunk(core, PULP_CORES, blocks * images); at < last;) {{
    const int32_t image = at / blocks, i = (at - image * blocks) / columns;
    const int32_t row = i * {rows};
    const pulp_half *a_block = a + image * a_image + row * {d.a_row};
    int32_t j = at - image * blocks - i * columns;
    const int32_t end = pulp_min(columns, j + last - at);
    at += end - j;
    while (j < end) {{
      const int32_t column = j * {columns}, place = (image * m + row) * n + column;
{height}{width}      panel.blocks = {blocks};
      panel.sums = {"sums + place" if form.partial else "sums"};
      const pulp_half *b_block = b + image * b_image + column * {d.b_column};
      j += panel.blocks;
{calls}    }}
  }}
}}
"""
