"""Convolution in L1: a worker's share of a tile, in panels. No padding is stored anywhere.

The tile of the image lies as it comes from L2: ``[image][channel][row][column]``. Taps outside of it are left
out: whole rows of taps by the limits of the sum, single columns of a block by panels of their own at the
left and right edge (see `edge_panel`). The three steps differ in what runs along a panel's rows and columns,
and along its sum:

================  ===============  ==============  =============================================
step              rows (A)         columns (B)     sum: steps, segments, groups
================  ===============  ==============  =============================================
forward           output channels  columns of y    input channels, taps of a row, rows of taps
data gradient     input channels   columns of x    output channels, taps of a row, rows of taps
weight gradient   output channels  input channels  columns, rows, images
================  ===============  ==============  =============================================
"""

from __future__ import annotations

from dataclasses import replace

from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, FORWARD, WEIGHT_GRADIENT, Conv2dSizes
from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.edge_panel import PanelShape, edge_panel_source
from tvm_pulp.schedules.microkernels.panel import (
    Distances,
    block_sizes_with_rests,
    panel_calls,
    panel_names,
    panel_source,
)
from tvm_pulp.schedules.microkernels.reads import TapWalk, runs, tap_walks
from tvm_pulp.schedules.microkernels.tap_panel import tap_panel_source, taps_fit


def conv2d_distances(s: Conv2dSizes, tile_inputs: int, tile_rows: int, lines: int) -> Distances:
    """Return the distances of a step's panels for tiles of the given input channels and output rows.

    ``lines`` are the rows of the image's tile.
    """
    if s.kind == FORWARD:
        return Distances(tile_inputs * s.taps, s.taps, s.width.stride, lines * s.width.source)
    if s.kind == DATA_GRADIENT:
        return Distances(s.taps, tile_inputs * s.taps, 1, lines * s.width.out, s.width.stride)
    return Distances(tile_rows * s.width.out, 1, lines * s.width.source, s.width.stride, s.taps)


def conv2d_source(
    s: Conv2dSizes, d: Distances, lines: int, block: tuple[int, int], rests: tuple[set[int], set[int]],
    parts: tuple[int, int], assembly: bool,
) -> str:  # fmt: skip
    """Return C for ``conv2d_tile``.

    Parameters
    ----------
    s, d
        Sizes and distances.
    lines
        Rows of the image's tile.
    block
        Rows and columns of the register block.
    rests
        Rows and columns of smaller blocks that are left over; the columns for the weight gradient only.
    parts
        Partial sums of the weight gradient, and the distance of their results.
    assembly
        Whether the target has Xpulp.
    """
    row_sizes = block_sizes_with_rests(block[0], rests[0])
    if s.kind == WEIGHT_GRADIENT:
        names = panel_names(row_sizes, block_sizes_with_rests(block[1], rests[1]))
        panels = panel_source(names, d, assembly=assembly, nested=True)
        return f"{panels}\n\n{_weight_gradient(s, d, lines, names, block, parts)}"
    shapes: dict[PanelShape, str] = {}
    gradient = s.kind == DATA_GRADIENT
    passes: list[tuple[TapWalk, TapWalk]] = []
    across = tap_walks(s.width, gradient)
    for h in tap_walks(s.height, gradient):
        if h.weights:
            passes += [(h, w) for w in across]
        else:  # rows of zeros, all columns at once
            whole = replace(across[0], weights=range(0), results=s.width.source, out_start=0, out_step=1)
            passes.append((h, whole))
    work = "\n\n".join(
        _pass(s, d, lines, number, h, w, row_sizes, block, shapes) for number, (h, w) in enumerate(passes)
    )
    if by_taps(s):
        walk = tap_walks(s.height, False)[0]
        panels = tap_panel_source(shapes, d, (s.width.taps, walk.tap_step * s.width.source), assembly)
    else:
        panels = edge_panel_source(shapes, d, assembly)
    zeros = f"{_ZEROS}\n\n" if "conv2d_zeros(" in work else ""
    calls = "\n".join(
        f"  conv2d_pass_{number}(core, image, weight, result, images, outputs, inputs, rows, first_row,\n"
        "                low, accumulate);"
        for number in range(len(passes))
    )
    return f"""\
{panels}

{zeros}{work}

/* The share of worker `core` in a tile. It has {lines} lines of each channel of the image, from line `low`
 * on. */
static void conv2d_tile({_ARGUMENTS.replace("operand", "weight")}) {{
{calls}
}}
"""


def by_taps(s: Conv2dSizes) -> bool:
    """Tell whether the sum runs over the taps of a row inside, as there are too few channels for it."""
    rows, columns = min(4, s.outputs), min(4, s.width.out)
    few = s.kind == FORWARD and s.inputs < 4 and not s.depthwise
    return few and taps_fit(rows, columns, s.width.taps, s.inputs * s.taps)


_ARGUMENTS = """\
int core, const float *image, const float *operand, float *result, int32_t images,
                        int32_t outputs, int32_t inputs, int32_t rows, int32_t first_row, int32_t low,
                        int32_t accumulate"""

_ZEROS = """\
/* Results that no tap counts for. */
static inline void conv2d_zeros(float *to, int32_t height, int32_t row_distance, int32_t width,
                                int32_t distance) {
  for (int32_t i = 0; i < height; ++i, to += row_distance) {
    float *out = to;
    int32_t x = width;
    for (; x >= 4; x -= 4, out += 4 * distance) {
      out[0] = 0.0f;
      out[distance] = 0.0f;
      out[2 * distance] = 0.0f;
      out[3 * distance] = 0.0f;
    }
    for (; x > 0; --x, out += distance) *out = 0.0f;
  }
}"""


def _shapes(
    w: TapWalk, columns: int, row_sizes: list[int], taken: dict[PanelShape, str], collapse: bool
) -> list[tuple[int, int, list[str]]]:
    """Return runs of equal column blocks: first, end, and the panels' names, one for each number of rows.

    Panels that are new are added to ``taken``; with ``collapse`` those that are whole do not know their
    number of segments.
    """
    starts = list(range(0, w.results, columns))
    a_move = w.weights.step if len(w.weights) > 1 else 1
    found = []
    for begin, end, first in runs(
        starts, lambda x: (min(columns, w.results - x), w.block(x, min(columns, w.results - x)))
    ):
        width = min(columns, w.results - first)
        names = []
        for rows in row_sizes:
            shape = PanelShape(rows, width, w.block(first, width), a_move, w.tap_step)
            if shape.is_whole and collapse:
                shape = PanelShape(rows, width, (), 0, 0)
            if shape not in taken:
                edges = sum(1 for other in taken if not other.is_whole)
                taken[shape] = f"panel_{rows}x{width}" + ("" if shape.is_whole else f"_{edges}")
            names.append(taken[shape])
        found.append((begin, end, names))
    return found


def _pass(s: Conv2dSizes, d: Distances, lines: int, number: int, h: TapWalk, w: TapWalk, row_sizes: list[int],
          block: tuple[int, int], taken: dict[PanelShape, str]) -> str:  # fmt: skip
    """Return C for the results of a class of positions, or for all."""
    made, summed = ("outputs", "inputs") if s.kind == FORWARD else ("inputs", "outputs")
    width = s.width.out if s.kind == FORWARD else s.width.source
    block_rows, block_columns = block
    columns = ceil_div(w.results, block_columns)
    begin, end = f"first_row{_minus(h.out_start)}", f"first_row + rows{_minus(h.out_start)}"
    if h.out_step > 1:
        begin, end = (f"({e} + {h.out_step - 1}) / {h.out_step}" for e in (begin, end))
    head = f"""\
static void conv2d_pass_{number}({_ARGUMENTS.replace("operand", "weight")}) {{
  const int32_t begin = {begin}, lines = {end} - begin;
  const int32_t row_blocks = ({made} + {block_rows - 1}) / {block_rows};
  const int32_t blocks = images * row_blocks * lines * {columns};
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, blocks);
"""
    several = len(row_sizes) > 1
    taps, empty = _tap_rows(h, "segments" if by_taps(s) else "groups")
    has_zeros = empty or not h.weights or not w.weights
    height = f"pulp_min({block_rows}, {made} - channel)" if several else str(row_sizes[0])
    height = f"    const int32_t height = {height};\n" if several or has_zeros else ""
    strip = f"""\
  for (int32_t at = pulp_chunk(core, PULP_CORES, blocks); at < last;) {{
    const int32_t strip = at / {columns}, y = strip % lines, i = strip / lines % row_blocks;
    const int32_t n = strip / lines / row_blocks, channel = i * {block_rows}, row = begin + y;
{height}    int32_t j = at - strip * {columns};
    const int32_t end = pulp_min({columns}, j + last - at);
    const int32_t result_row = row * {h.out_step} + {h.out_start} - first_row;
    float *c_line = result + ((n * {made} + channel) * rows + result_row) * {width} + {w.out_start};
    at += end - j;
"""
    fill = f"""\
if (!accumulate)
        conv2d_zeros(c_line + j * {block_columns * w.out_step}, height, rows * {width},
                     pulp_min(end * {block_columns}, {w.results}) - j * {block_columns}, {w.out_step});"""
    if not h.weights or not w.weights:
        return f"""\
{head}  (void)image, (void)weight, (void){summed}, (void)low;
{strip}    {fill}
  }}
}}"""
    counted = "segments" if by_taps(s) else "groups"
    skip = ""
    if empty:
        skip = f"    if (panel.{counted} == 0) {{\n      {fill}\n      continue;\n    }}\n"
    a_move = w.weights.step if len(w.weights) > 1 else 1
    y_move = h.weights.step if len(h.weights) > 1 else 1
    source = d.b_step // lines
    calls = ""
    shapes = _shapes(w, block_columns, row_sizes, taken, not by_taps(s))
    for position, (_, stop, names) in enumerate(shapes):
        call = "".join(
            f"          {'else ' if k else ''}{f'if (height == {size}) ' if k < len(names) - 1 else ''}"
            f"{name}(a_line, b_block, c_block, &panel);\n"
            for k, (size, name) in enumerate(zip(row_sizes, names, strict=True))
        )
        test = f"if (j < {stop}) " if position < len(shapes) - 1 else ""
        calls += f"      {'else ' if position else ''}{test}{{\n"
        calls += f"        panel.blocks = pulp_min(end, {stop}) - j;\n{call}      }}\n"
    if by_taps(s):
        settings = f"""\
  struct panel panel = {{
      .depth = 1, .groups = {summed}, .c_row = 4 * rows * {width}, .accumulate = accumulate}};
"""
        taps += (
            f"    panel.a_group = 4 * ({s.taps} - panel.segments * {s.width.taps});\n"
            f"    panel.b_group = 4 * ({d.b_step} - panel.segments * {h.tap_step * source});\n"
        )
    else:
        settings = f"""\
  struct panel panel = {{
      .depth = {summed}, .segments = {len(w.weights)}, .c_row = 4 * rows * {width}, .accumulate = accumulate,
      .a_segment = 4 * ({a_move} - {summed} * {d.a_step}),
      .b_segment = 4 * ({w.tap_step} - {summed} * {d.b_step}),
      .a_group = {4 * (y_move * s.width.taps - len(w.weights) * a_move)},
      .b_group = {4 * (h.tap_step * source - len(w.weights) * w.tap_step)}}};
"""
    return f"""\
{head}{settings}{strip}    int32_t first = 0;
{taps}{skip}\
    const float *a_line = weight + channel * {d.a_row} + first * {y_move * s.width.taps} +
                          {(h.weights.start * s.width.taps) + w.weights.start};
    const float *b_line = image + n * {summed} * {d.b_step} + {w.start} +
                          (row * {h.step} + {h.start} + first * {h.tap_step} - low) * {source};
    while (j < end) {{
      const float *b_block = b_line + j * {block_columns * w.step};
      float *c_block = c_line + j * {block_columns * w.out_step};
{calls}      j += panel.blocks;
    }}
  }}
}}"""


def _minus(value: int) -> str:
    return f" - {value}" if value else ""


def _tap_rows(h: TapWalk, field: str) -> tuple[str, bool]:
    """Return C that sets the rows of taps of result row ``row``, and whether there may be none."""
    text, empty = "", False
    rows = list(runs(range(h.results), h.valid))
    for position, (_, end, result) in enumerate(rows):
        first, stop = h.valid(result)
        test = f"if (row < {end}) " if position < len(rows) - 1 else ""
        chosen = f"first = {first}, panel.{field} = {stop - first};"
        text += f"    {'else ' if position else ''}{test}{chosen}\n"
        empty = empty or first == stop
    return text, empty


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


def _weight_gradient(
    s: Conv2dSizes,
    d: Distances,
    lines: int,
    names: dict[tuple[int, int], str],
    block: tuple[int, int],
    parts: tuple[int, int],
) -> str:
    h, w, taps = s.height, s.width, s.taps
    block_rows, block_columns = block
    plane = lines * w.source
    return f"""\
/* The share of worker `core` in outputs x inputs x {taps} results, summed over images and rows. The tile
 * has {lines} lines of each channel of the image, from line `low` on. */
static void conv2d_tile({_ARGUMENTS.replace("operand", "gradient")}) {{
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
