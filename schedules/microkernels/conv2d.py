"""Convolution in L1: a worker's share of a tile, in panels, and the copy that puts the padding around.

The padded tile lies as ``[image][row][channel][column]``. The three steps differ in what runs along a
panel's rows and columns, and along its sum:

================  ===============  ==============  =============================================
step              rows (A)         columns (B)     sum: steps, segments, groups
================  ===============  ==============  =============================================
forward           output channels  columns of y    input channels, taps of a row, rows of taps
data gradient     input channels   columns of x    output channels, taps of a row, rows of taps
weight gradient   output channels  input channels  columns, rows, images
================  ===============  ==============  =============================================
"""

from __future__ import annotations

from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, FORWARD, Conv2dSizes, WindowAxis
from tvm_pulp.schedules.microkernels.panel import (
    Distances,
    block_sizes_with_rests,
    panel_calls,
    panel_names,
    panel_source,
)


def padded_width(s: Conv2dSizes) -> int:
    """Return the row length of the padded tile."""
    axis = s.width
    return axis.windows(axis.source) if s.kind == DATA_GRADIENT else axis.padded(axis.out)


def conv2d_distances(s: Conv2dSizes, tile_inputs: int, tile_rows: int) -> Distances:
    """Return the distances of a step's panels for tiles of the given input channels and output rows."""
    pitch, taps = padded_width(s), s.taps
    if s.kind == FORWARD:
        return Distances(tile_inputs * taps, taps, s.width.stride, pitch)
    if s.kind == DATA_GRADIENT:
        return Distances(taps, tile_inputs * taps, 1, pitch, s.width.stride)
    return Distances(tile_rows * s.width.out, 1, pitch, s.width.stride, taps)


def conv2d_source(
    s: Conv2dSizes, d: Distances, block_rows: int, block_columns: int, row_rests: set[int],
    column_rests: set[int], assembly: bool,
) -> str:  # fmt: skip
    """Return C for ``conv2d_pad`` and ``conv2d_tile``."""
    names = panel_names(
        block_sizes_with_rests(block_rows, row_rests), block_sizes_with_rests(block_columns, column_rests)
    )
    if s.kind == FORWARD:
        work = _forward(s, d, names, block_rows, block_columns)
    elif s.kind == DATA_GRADIENT:
        work = _data_gradient(s, d, names, block_rows, block_columns)
    else:
        work = _weight_gradient(s, d, names, block_rows, block_columns)
    return f"{panel_source(names, d, assembly=assembly, nested=True)}\n\n{pad_source(s)}\n\n{work}"


def pad_source(s: Conv2dSizes) -> str:
    """Return C for ``conv2d_pad``: the copy of a tile as it comes from L2 to the padded tile.

    Channels lie within a row there, so that the distance of channels is a constant.
    """
    axis = s.width
    extent, first = (axis.out, axis.first_window) if s.kind == DATA_GRADIENT else (axis.source, -axis.before)
    pitch = padded_width(s)
    left, skipped = max(0, -first), max(0, first)
    copied = max(0, min(extent - skipped, pitch - left))
    return f"""\
/* Lines of {extent} as [image][channel][row] to lines of {pitch} as [image][row][channel], padding zero.
 * `rows` lines from line `first` of the image on, of which `valid` are there, from line `low` on. */
static void conv2d_pad(int core, const float *restrict from, float *restrict to, int32_t images,
                       int32_t channels, int32_t rows, int32_t first, int32_t low, int32_t valid) {{
  const int32_t lines = images * rows * channels, end = pulp_chunk(core + 1, PULP_CORES, lines);
  int32_t line = pulp_chunk(core, PULP_CORES, lines);
\
  int32_t image = line / (rows * channels), row = line / channels - image * rows;
  int32_t plane = image * channels + line % channels;
  to += line * {pitch};
  for (; line < end; ++line, to += {pitch}) {{
    const int32_t source = first + row - low;
    if (source >= 0 && source < valid) {{
      const float *in = from + (plane * valid + source) * {extent}{f" + {skipped}" if skipped else ""};
{_zeros_between("      ", 0, left)}\
{_copy("      ", left, copied)}\
{_zeros_between("      ", left + copied, pitch)}\
    }} else {{
      for (int32_t x = 0; x < {pitch}; ++x) to[x] = 0.0f;
    }}
\
    if (++plane == (image + 1) * channels) {{
      plane -= channels;
      if (++row == rows) row = 0, ++image, plane += channels;
    }}
  }}
}}"""


def _copy(indent: str, left: int, count: int) -> str:
    """Return C that copies ``count`` words, 8 loads and then 8 stores at a time, so that no load is waited
    for.

    A plain loop would become a call of ``memcpy``, one word at a time.
    """
    whole, rest = divmod(count, 8)
    text = f"{indent}float *out = to + {left};\n"
    if whole:
        body = _move(indent + "  ", 8) + f"{indent}  in += 8, out += 8;\n"
        text += f"{indent}for (int32_t x = 0; x < {whole}; ++x) {{\n{body}{indent}}}\n"
    return text + _move(indent, rest)


def _move(indent: str, count: int) -> str:
    loads = ", ".join(f"v{i} = in[{i}]" for i in range(count))
    stores = "".join(f"{indent}out[{i}] = v{i};\n" for i in range(count))
    return f"{indent}const float {loads};\n{stores}" if count else ""


def _zeros_between(indent: str, start: int, end: int) -> str:
    if end - start <= 2:
        return "".join(f"{indent}to[{x}] = 0.0f;\n" for x in range(start, end))
    return f"{indent}for (int32_t x = {start}; x < {end}; ++x) to[x] = 0.0f;\n"


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


def _forward(
    s: Conv2dSizes, d: Distances, names: dict[tuple[int, int], str], block_rows: int, block_columns: int
) -> str:
    h, w, pitch = s.height, s.width, padded_width(s)
    columns = -(-w.out // block_columns)
    return f"""\
/* The share of worker `core` in images x outputs x rows x {w.out} results, summed over the input channels. */
static void conv2d_tile(int core, const float *image, const float *weight, float *result, int32_t images,
                        int32_t outputs, int32_t inputs, int32_t rows, int32_t accumulate) {{
  const int32_t line = inputs * {pitch}, image_size = ((rows - 1) * {h.stride} + {h.reach + 1}) * line;
  const int32_t row_blocks = (outputs + {block_rows - 1}) / {block_rows};
  const int32_t blocks = images * row_blocks * rows * {columns};
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, blocks);
  struct panel panel = {{
      .depth = inputs, .segments = {w.taps}, .groups = {h.taps}, .c_row = 4 * rows * {w.out},
      .accumulate = accumulate,
      .a_segment = 4 * (1 - inputs * {d.a_step}), .b_segment = 4 * ({w.dilation} - line),
      .a_group = 0, .b_group = 4 * ({h.dilation} * line - {w.taps * w.dilation})}};
  for (int32_t at = pulp_chunk(core, PULP_CORES, blocks); at < last;) {{
    const int32_t strip = at / {columns}, y = strip % rows, i = strip / rows % row_blocks;
    const int32_t n = strip / rows / row_blocks, row = i * {block_rows};
{_height(names, block_rows, "outputs", "row")}    const float *a_block = weight + row * {d.a_row};
    int32_t j = at - strip * {columns};
    const int32_t end = pulp_min({columns}, j + last - at);
    at += end - j;
    while (j < end) {{
{_blocks(names, block_columns, str(w.out))}\
      const float *b_block =
          image + n * image_size + y * {h.stride} * line + j * {block_columns * d.b_column};
      float *c_block = result + ((n * outputs + row) * rows + y) * {w.out} + j * {block_columns};
      j += panel.blocks;
{panel_calls(names, "a_block, b_block, c_block, &panel", "      ")}    }}
  }}
}}
"""


def _data_gradient(
    s: Conv2dSizes, d: Distances, names: dict[tuple[int, int], str], block_rows: int, block_columns: int
) -> str:
    h, w, pitch = s.height, s.width, padded_width(s)
    calls = "\n".join(_class_call(h, w, row, column) for row in range(h.stride) for column in range(w.stride))
    step_y, step_x = h.tap_step(), w.tap_step()
    back_y, back_x = step_y * h.dilation // h.stride, step_x * w.dilation // w.stride
    zeros = _zeros(h, w) if "conv2d_zeros" in calls else ""
    windows = f"(rows - 1 + {h.before}) / {h.stride} - {h.first_window} + 1".replace("- -", "+ ")
    return f"""\
/* The share of worker `core` in the positions of a class: rows `row`, {h.stride} apart, and columns `column`,
 * {w.stride} apart. Only `taps_y` x `taps_x` taps count for them, from `tap` on. */
static void conv2d_class(int core, const float *image, const float *weight, float *result, int32_t images,
                         int32_t outputs, int32_t inputs, int32_t rows, int32_t accumulate, int32_t row,
                         int32_t column, int32_t width_total, int32_t tap, int32_t taps_y, int32_t taps_x,
                         int32_t start) {{
  const int32_t line = outputs * {pitch}, image_size = ({windows}) * line;
  const int32_t row_blocks = (inputs + {block_rows - 1}) / {block_rows};
  const int32_t columns = (width_total + {block_columns - 1}) / {block_columns};
  const int32_t class_rows = (rows - row + {h.stride - 1}) / {h.stride};
  const int32_t blocks = images * row_blocks * class_rows * columns;
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, blocks);
  struct panel panel = {{
      .depth = outputs, .segments = taps_x, .groups = taps_y, .c_row = 4 * rows * {w.source},
      .accumulate = accumulate,
      .a_segment = 4 * ({step_x} - outputs * {d.a_step}), .b_segment = 4 * (-{back_x} - line),
      .a_group = 4 * ({step_y * w.taps} - taps_x * {step_x}),
      .b_group = 4 * (taps_x * {back_x} - {back_y} * line)}};
  for (int32_t at = pulp_chunk(core, PULP_CORES, blocks); at < last;) {{
    const int32_t strip = at / columns, y = strip % class_rows, i = strip / class_rows % row_blocks;
    const int32_t n = strip / class_rows / row_blocks, channel = i * {block_rows};
{_height(names, block_rows, "inputs", "channel")}\
    const float *a_block = weight + channel * {d.a_row} + tap;
    int32_t j = at - strip * columns;
    const int32_t end = pulp_min(columns, j + last - at);
    at += end - j;
    while (j < end) {{
{_blocks(names, block_columns, "width_total")}\
      const float *b_block = image + n * image_size + y * line + start + j * {block_columns};
      float *c_block = result + ((n * inputs + channel) * rows + row + y * {h.stride}) * {w.source} + column +
                       j * {block_columns * w.stride};
      j += panel.blocks;
{panel_calls(names, "a_block, b_block, c_block, &panel", "      ")}    }}
  }}
}}

{zeros}\
/* The share of worker `core` in images x inputs x rows x {w.source} results, summed over the outputs. */
static void conv2d_tile(int core, const float *image, const float *weight, float *result, int32_t images,
                        int32_t outputs, int32_t inputs, int32_t rows, int32_t accumulate) {{
  const int32_t line = outputs * {pitch};
  (void)line;
{calls}
}}
"""


def _zeros(h: WindowAxis, w: WindowAxis) -> str:
    return f"""\
/* The positions of a class for which no tap counts. */
static void conv2d_zeros(int core, float *result, int32_t planes, int32_t rows, int32_t row,
                         int32_t column) {{
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, planes);
  for (int32_t plane = pulp_chunk(core, PULP_CORES, planes); plane < end; ++plane)
    for (int32_t y = row; y < rows; y += {h.stride}) {{
      float *line = result + (plane * rows + y) * {w.source};
      for (int32_t x = column; x < {w.source}; x += {w.stride}) line[x] = 0.0f;
    }}
}}

"""


def _class_call(h: WindowAxis, w: WindowAxis, row: int, column: int) -> str:
    taps_y, taps_x = h.class_taps(row), w.class_taps(column)
    width = len(range(column, w.source, w.stride))
    if width == 0:
        return ""
    if not taps_y or not taps_x:
        return f"  if (!accumulate) conv2d_zeros(core, result, images * inputs, rows, {row}, {column});"
    start = f"{h.class_start(row)} * line + {w.class_start(column)}"
    sizes = (
        f"{row}, {column}, {width}, {taps_y[0] * w.taps + taps_x[0]}, {len(taps_y)}, {len(taps_x)}, {start}"
    )
    call = (
        f"conv2d_class(core, image, weight, result, images, outputs, inputs, rows, accumulate,\n    {sizes});"
    )
    return f"  if (rows > {row}) {call}" if row else f"  {call}"


def _weight_gradient(
    s: Conv2dSizes, d: Distances, names: dict[tuple[int, int], str], block_rows: int, block_columns: int
) -> str:
    h, w, pitch, taps = s.height, s.width, padded_width(s), s.taps
    return f"""\
/* The share of worker `core` in outputs x inputs x {taps} results, summed over images and rows. */
static void conv2d_tile(int core, const float *image, const float *gradient, float *result, int32_t images,
                        int32_t outputs, int32_t inputs, int32_t rows, int32_t accumulate) {{
  const int32_t line = inputs * {pitch}, image_size = ((rows - 1) * {h.stride} + {h.reach + 1}) * line;
  const int32_t row_blocks = (outputs + {block_rows - 1}) / {block_rows};
  const int32_t columns = (inputs + {block_columns - 1}) / {block_columns};
  const int32_t blocks = row_blocks * {taps} * columns;
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, blocks);
  struct panel panel = {{
      .depth = {w.out}, .segments = rows, .groups = images, .c_row = 4 * inputs * {taps},
      .accumulate = accumulate,
      .a_segment = 0, .b_segment = 4 * ({h.stride} * line - {w.out * w.stride}),
      .a_group = 4 * (outputs * {d.a_row} - rows * {w.out}),
      .b_group = 4 * (image_size - rows * {h.stride} * line)}};
  for (int32_t at = pulp_chunk(core, PULP_CORES, blocks); at < last;) {{
    const int32_t strip = at / columns, i = strip / {taps}, tap = strip - i * {taps};
    const int32_t row = i * {block_rows}, tap_y = tap / {w.taps}, tap_x = tap - tap_y * {w.taps};
{_height(names, block_rows, "outputs", "row")}    const float *a_block = gradient + row * {d.a_row};
    const float *window = image + tap_y * {h.dilation} * line + tap_x * {w.dilation};
    int32_t j = at - strip * columns;
    const int32_t end = pulp_min(columns, j + last - at);
    at += end - j;
    while (j < end) {{
{_blocks(names, block_columns, "inputs")}\
      const float *b_block = window + j * {block_columns * pitch};
      float *c_block = result + (row * inputs + j * {block_columns}) * {taps} + tap;
      j += panel.blocks;
{panel_calls(names, "a_block, b_block, c_block, &panel", "      ")}    }}
  }}
}}
"""
