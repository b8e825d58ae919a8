"""The weight gradient of a convolution in L1: a tap of blocks of channels at a time, see `conv2d`."""

from __future__ import annotations

from tvm_pulp.schedules.conv2d_workload import Conv2dSizes
from tvm_pulp.schedules.microkernels.block_sizes import panel_calls, panel_names
from tvm_pulp.schedules.microkernels.operand_walk import Distances
from tvm_pulp.schedules.microkernels.panel import panel_source


def weight_gradient_source(
    s: Conv2dSizes, d: Distances, lines: int, block: tuple[int, int], sizes: tuple[list[int], list[int]],
    parts: tuple[int, int], signature: str, assembly: bool,
) -> str:  # fmt: skip
    """Return C for ``conv2d_tile``, and for the sum of the parts.

    Parameters
    ----------
    s, d
        Sizes and distances.
    lines
        Rows of the image's tile.
    block
        Rows and columns of the register block.
    sizes
        Rows, and columns, of all blocks that occur.
    parts
        Number of partial sums, and the distance of their results.
    signature
        Of the function.
    assembly
        Whether the target has Xpulp.
    """
    names = panel_names(*sizes)
    panels = panel_source(names, d, assembly=assembly, nested=True)
    return f"{panels}\n\n{_weight_gradient(s, d, lines, names, block, parts, signature)}"


def _weight_gradient(
    s: Conv2dSizes,
    d: Distances,
    lines: int,
    names: dict[tuple[int, int], str],
    block: tuple[int, int],
    parts: tuple[int, int],
    signature: str,
) -> str:
    h, w, taps = s.height, s.width, s.taps
    block_rows, block_columns = block
    plane = lines * w.source
    return f"""\
/* The share of worker `core` in outputs x inputs x {taps} results, summed over images and rows. The tile
 * has {lines} lines of each channel of the image, from line `low` on. */
{signature} {{
  const int32_t row_blocks = (outputs + {block_rows - 1}) / {block_rows};
  const int32_t columns = (inputs + {block_columns - 1}) / {block_columns};
  const int32_t blocks = row_blocks * {taps} * columns;
{_split(parts, d, plane) if parts[0] > 1 else _WHOLE}\
  struct panel panel = {{.groups = images, .c_row = 4 * inputs * {taps}, .accumulate = accumulate}};
  for (int32_t at = pulp_chunk(worker, workers, blocks); at < last;) {{
    const int32_t strip = at / columns, i = strip / {taps}, tap = strip - i * {taps};
    const int32_t row = i * {block_rows}, tap_y = tap / {w.taps}, tap_x = tap - tap_y * {w.taps};
    const int32_t {_inside("y", "y", "tap_y", s)};
    const int32_t {_inside("x", "x", "tap_x", s)};
    const int32_t y = pulp_max(first, y_low - first_row);
    const int32_t line = (first_row + y) * {h.stride} - {h.before} - low;
{_height(names, block_rows, "outputs", "row")}\
    int32_t j = at - strip * columns;
    const int32_t end = pulp_min(columns, j + last - at);
    at += end - j;
    panel.segments = pulp_min(rows, y_high - first_row) - y, panel.depth = x_high - x_low;
    if (panel.segments <= 0 || panel.depth <= 0 || images <= 0) {{
      if (!accumulate)
        for (int32_t o = row; o < pulp_min(row + {block_rows}, outputs); ++o)
          for (int32_t c = j * {block_columns}; c < pulp_min(end * {block_columns}, inputs); ++c)
            result[(o * inputs + c) * {taps} + tap] = 0.0f;
      continue;
    }}
    panel.a_segment = 4 * ({w.out} - panel.depth);
    panel.b_segment = 4 * ({h.stride * w.source} - panel.depth * {w.stride});
    panel.a_group = 4 * (outputs * {d.a_row} - panel.segments * {w.out});
    panel.b_group = 4 * (inputs * {plane} - panel.segments * {h.stride * w.source});
    const float *a_block = gradient + row * {d.a_row} + y * {w.out} + x_low;
    const float *window = image + (line + tap_y * {h.dilation}) * {w.source} + x_low * {w.stride} -
                          {w.before} + tap_x * {w.dilation};
    while (j < end) {{
{_blocks(names, block_columns, "inputs")}\
      const float *b_block = window + j * {block_columns * plane};
      float *c_block = result + (row * inputs + j * {block_columns}) * {taps} + tap;
      j += panel.blocks;
{panel_calls(names, "a_block, b_block, c_block, &panel", "      ")}    }}
  }}
}}
{_sum_of_parts(*parts) if parts[0] > 1 else ""}"""


_WHOLE = """\
  const int32_t worker = core, workers = PULP_CORES, first = 0;
  const int32_t last = pulp_chunk(worker + 1, workers, blocks);
"""


def _split(parts: tuple[int, int], d: Distances, plane: int) -> str:
    """Return C that takes a part of the images of a tile, or of its rows where there are too few images."""
    number, distance = parts
    return f"""\
  const int32_t part = core % {number}, worker = core / {number}, workers = PULP_CORES / {number};
  const int32_t last = pulp_chunk(worker + 1, workers, blocks);
  int32_t first = 0;
  result += part * {distance};
  if (images >= {number}) {{
    const int32_t image_start = pulp_chunk(part, {number}, images);
    gradient += image_start * outputs * {d.a_row};
    image += image_start * inputs * {plane};
    images = pulp_chunk(part + 1, {number}, images) - image_start;
  }} else {{
    first = pulp_chunk(part, {number}, rows);
    rows = pulp_chunk(part + 1, {number}, rows);
  }}
"""


def _sum_of_parts(number: int, distance: int) -> str:
    terms = " + ".join(f"result[{part * distance}]" for part in range(number))
    return f"""
/* The share of worker `core` in the sums of all parts, in place of the first part. */
static void conv2d_sum(int core, float *result, int32_t count) {{
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, count);
  int32_t at = pulp_chunk(core, PULP_CORES, count);
  for (result += at; at < end; ++at, ++result) *result = {terms};
}}
"""


def _height(names: dict[tuple[int, int], str], block: int, total: str, start: str) -> str:
    several = len({rows for rows, _ in names}) > 1
    return f"    const int32_t height = pulp_min({block}, {total} - {start});\n" if several else ""


def _blocks(names: dict[tuple[int, int], str], block: int, total: str) -> str:
    """Return C that sets ``width`` and ``panel.blocks`` for the blocks from ``j`` on."""
    if len({columns for _, columns in names}) == 1:
        return "      panel.blocks = end - j;\n"
    return (
        f"      const int32_t width = pulp_min({block}, {total} - j * {block});\n"
        f"      panel.blocks = width == {block} ? pulp_min(end, {total} / {block}) - j : 1;\n"
    )


def _inside(name: str, axis: str, tap: str, s: Conv2dSizes) -> str:
    """Return C for the first output position whose window has its tap inside the image, and the end."""
    a = s.height if axis == "y" else s.width
    before = f"{a.before} - {tap} * {a.dilation}"
    return (
        f"{name}_low = pulp_max(0, {before} + {a.stride - 1}) / {a.stride}, "
        f"{name}_high = pulp_min({a.out}, pulp_max(0, {a.source} + {before} + {a.stride - 1}) / {a.stride})"
    )
