"""Matrix multiplication in L1: a worker's share of a tile, in panels.

The same code serves A·B, Aᵀ·B and A·Bᵀ: only the distances between elements differ, and they are constants.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.block_sizes import block_sizes_with_rests, panel_calls, panel_names
from tvm_pulp.schedules.microkernels.flat_panel import flat_panel_source
from tvm_pulp.schedules.microkernels.operand_walk import Distances
from tvm_pulp.schedules.microkernels.panel import panel_source
from tvm_pulp.schedules.microkernels.shared_sum import share_of_sum, sum_source


def distances(transpose_a: bool, transpose_b: bool, a_pitch: int, b_pitch: int) -> Distances:
    """Return the distances for tiles that lie row-major with the given row lengths.

    Parameters
    ----------
    transpose_a, transpose_b
        Whether A lies as ``[k][m]`` and B as ``[n][k]``.
    a_pitch, b_pitch
        Elements of a row as it lies in L1.
    """
    a_row, a_step = (1, a_pitch) if transpose_a else (a_pitch, 1)
    b_column, b_step = (b_pitch, 1) if transpose_b else (1, b_pitch)
    return Distances(a_row, a_step, b_column, b_step)


def matmul_source(
    *,
    block_rows: int,
    block_columns: int,
    row_rests: set[int],
    column_rests: set[int],
    d: Distances,
    batched: bool,
    segmented: bool,
    split_k: int = 1,
    partial_elements: int = 0,
    relief: int = 0,
    c_extents: tuple[str, str] = ("m", "n"),
    assembly: bool,
) -> str:
    """Return C for ``matmul_tile``, which computes a worker's share of a tile.

    Parameters
    ----------
    block_rows, block_columns
        The register block.
    row_rests, column_rests
        Rows (columns) left over after whole blocks, over all tiles; 0 is ignored.
    d
        Distances between elements.
    batched
        Whether there may be several images.
    segmented
        Whether a sum may run over several images.
    split_k
        Workers that share the sum of a block: all but the first of them write to ``partial``, another
        argument, and ``matmul_sum`` adds up what they found.
    partial_elements
        Elements from the partial sums of a worker to those of the next.
    relief
        Steps of a shared sum that the first worker is spared, as it sees to the DMA too.
    c_extents
        C expressions for the rows and columns that C has in L1.
    assembly
        Whether the target has Xpulp.
    """
    row_sizes = block_sizes_with_rests(block_rows, row_rests)
    column_sizes = block_sizes_with_rests(block_columns, column_rests)
    names = panel_names(row_sizes, column_sizes)
    height = width = ""
    if len(row_sizes) > 1:
        height = f"      const int32_t height = pulp_min({block_rows}, m - row);\n"
    blocks = "end - j"
    if len(column_sizes) > 1:
        width = f"      const int32_t width = pulp_min({block_columns}, n - column);\n"
        blocks = f"width == {block_columns} ? pulp_min(end, n / {block_columns}) - j : 1"
    panels = flat_panel_source(names, d, assembly=assembly)
    settings = f"""\
  (void)segments, (void)a_image, (void)b_image;
  struct panel panel;
  panel.depth = k;
  panel.c_row = 4 * {c_extents[1]};
  panel.accumulate = accumulate;"""
    if segmented:
        panels = panel_source(names, d, assembly=assembly, nested=False)
        settings = f"""\
  struct panel panel = {{
      .depth = k, .segments = segments, .groups = 1, .c_row = 4 * {c_extents[1]}, .accumulate = accumulate,
      .a_segment = 4 * (a_image - k * {d.a_step}), .b_segment = 4 * (b_image - k * {d.b_step})}};"""
    calls = panel_calls(names, "a_block, b_block, c_block, &panel", "      ")
    image = {
        "image": "const int32_t image = at / blocks;\n    " if batched else "",
        "first": " - image * blocks" if batched else "",
        "a": "image * a_image + " if batched else "",
        "b": "image * b_image + " if batched else "",
        "c": f"(image * {c_extents[0]} + row)" if batched else "row",
    }
    share = "const int worker = core, workers = PULP_CORES;\n  (void)images;"
    if split_k > 1:
        share = share_of_sum(split_k, partial_elements, relief, d)
    partial = "float *partial, " if split_k > 1 else ""
    return f"""\
{panels}

/* The share of worker `core` in images x m x n results over k terms: contiguous runs of register blocks.
 * With `segments` above 1 the sum runs over that many images instead. */
static void matmul_tile(int core, const float *a, const float *b, float *c, {partial}int32_t m, int32_t n,
                        int32_t k, int32_t images, int32_t segments, int32_t a_image, int32_t b_image,
                        int32_t accumulate) {{
  {share}
  const int32_t columns = (n + {block_columns - 1}) / {block_columns};
  const int32_t blocks = (m + {block_rows - 1}) / {block_rows} * columns;
  const int32_t last = pulp_chunk(worker + 1, workers, blocks{" * images" if batched else ""});
{settings}
  for (int32_t at = pulp_chunk(worker, workers, blocks{" * images" if batched else ""}); at < last;) {{
    {image["image"]}const int32_t i = (at{image["first"]}) / columns;
    const int32_t row = i * {block_rows};
    const float *a_block = a + {image["a"]}row * {d.a_row};
    int32_t j = at{image["first"]} - i * columns;
    const int32_t end = pulp_min(columns, j + last - at);
    at += end - j;
    while (j < end) {{
      const int32_t column = j * {block_columns};
{height}{width}      panel.blocks = {blocks};
      const float *b_block = b + {image["b"]}column * {d.b_column};
      float *c_block = c + {image["c"]} * {c_extents[1]} + column;
      j += panel.blocks;
{calls}    }}
  }}
}}
{sum_source(split_k, partial_elements) if split_k > 1 else ""}"""
