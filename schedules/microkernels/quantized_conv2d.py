"""Quantised convolution in L1: a worker's share of a tile, in panels that walk through the padded image.

The channels of a window's row lie side by side in the image (``[row][column][channel]``) and in the weights,
so that a row of the window is a segment of the sum and no copy of the window is made. Where a row of the
window is no whole number of words, its last word reaches into what follows, where the weights are zero.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.block_sizes import block_sizes_with_rests, panel_calls, panel_names
from tvm_pulp.schedules.microkernels.dot_panel import DotDistances, Epilogue, dot_panel_source
from tvm_pulp.schedules.microkernels.stationary_panel import StationaryPanel, stationary_source


def quantized_conv2d_source(
    *,
    width: int,
    row_stride: int,
    block: tuple[int, int],
    column_rests: set[int],
    d: DotDistances,
    e: Epilogue,
    assembly: bool,
) -> str:
    """Return C for ``quantized_conv2d_tile``, which computes a worker's share of a tile.

    Parameters
    ----------
    width
        Columns of the result.
    row_stride
        Bytes of the padded image from a row of windows to the next.
    block
        Pixels and output channels of the register block.
    column_rests
        Output channels left over after whole blocks, over all tiles.
    d, e, assembly
        See `dot_panel_source`.
    """
    pixels, channels = block
    names = panel_names(
        block_sizes_with_rests(pixels, {width % pixels}), block_sizes_with_rests(channels, column_rests)
    )
    result = "uint8_t" if e.requantize else "int32_t"
    calls = panel_calls(names, f"a_block, weight + column * {d.b_column}, c_block + column, &panel", "    ")
    across, whole = -(-width // pixels), width // pixels
    several = len({c for _, c in names}) > 1
    tall = len({r for r, _ in names}) > 1
    height = f"    const int32_t height = pulp_min({pixels}, {width} - x);\n" if tall else ""
    return f"""\
{dot_panel_source(names, d, e, signed=False, assembly=assembly)}

/* The share of worker `core` in rows x {width} x n results: contiguous runs of register blocks, along n and,
 * where a run begins and ends with a pixel, along the row. */
static void quantized_conv2d_tile(int core, const uint8_t *image, const int8_t *weight, const int32_t *bias,
                                  {result} *result, int32_t rows, int32_t n) {{
  const int32_t inner = (n + {channels - 1}) / {channels}, blocks = rows * {across} * inner;
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, blocks);
  struct dot_panel panel = {{
      .c_row = {_scaled("n", e.item)}, .lines = 1, .a_line = {pixels * d.a_row},
      .b_line = -inner * {channels * d.b_column},
      .c_line = {_scaled(f"{pixels} * n - inner * {channels}", e.item)},
      .bias_line = -inner * {4 * channels}}};
  for (int32_t at = pulp_chunk(core, PULP_CORES, blocks); at < last; at += panel.lines * panel.blocks) {{
    const int32_t pixel = at / inner, i = at - pixel * inner, column = i * {channels};
    const int32_t y = pixel / {across}, block = pixel - y * {across}, x = block * {pixels};
    const uint8_t *a_block = image + y * {row_stride} + x * {d.a_row};
    {result} *c_block = result + (y * {width} + x) * n;
{height}{_REST_OF_CHANNELS.format(channels=channels) if several else _LINES.format(whole=whole)}\
{"    panel.bias = bias + column;" if e.requantize else "    (void)bias;"}
{calls}  }}
}}
"""


def stationary_conv2d_source(p: StationaryPanel, *, width: int, row_stride: int, assembly: bool) -> str:
    """Return C for ``quantized_conv2d_tile`` by a panel whose weights stay in registers.

    A row of its data is a window, with `width` of them, in a row of results, `a_row` bytes apart.
    """
    return f"""\
{stationary_source(p, assembly=assembly)}

/* The share of worker `core` in rows x {width} x n results: contiguous pixels, row by row. */
static void quantized_conv2d_tile(int core, const uint8_t *image, const int8_t *weight, const int32_t *bias,
                                  uint8_t *result, int32_t rows, int32_t n) {{
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, rows * {width});
  for (int32_t at = pulp_chunk(core, PULP_CORES, rows * {width}); at < end;) {{
    const int32_t y = at / {width}, x = at - y * {width}, pixels = pulp_min({width} - x, end - at);
    stationary_panel(image + y * {row_stride} + x * {p.a_row}, weight, bias, result + at * n, pixels,
                     n / {p.columns});
    at += pixels;
  }}
}}
"""


def _scaled(elements: str, item: int) -> str:
    """Return the bytes of so many results, a C expression."""
    if item == 1:
        return elements
    return f"{elements} * {item}" if elements.isidentifier() else f"({elements}) * {item}"


_LINES = """\
    panel.blocks = pulp_min(inner - i, last - at);
    if (panel.blocks == inner) panel.lines = pulp_max(1, pulp_min((last - at) / inner, {whole} - block));
    else panel.lines = 1;
"""

_REST_OF_CHANNELS = """\
    const int32_t width = pulp_min({channels}, n - column);
    panel.blocks = width == {channels} ? pulp_min(pulp_min(inner, n / {channels}) - i, last - at) : 1;
"""
