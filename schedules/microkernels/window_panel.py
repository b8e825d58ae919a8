"""Convolutions of images with few channels: the windows of some pixels stay in registers, channels pass by.

A window of three rows of nine bytes is seven words, with the odd bytes of its rows in one of them. Gathering
it takes longer than its products with a channel's weights; so three windows are gathered once for all
channels of the results. A channel then takes the loads of its weights, bias and multiplier for three results.

For that these lie side by side, channel by channel, as `arrange_columns` puts them.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE
from tvm_pulp.schedules.microkernels.forms import INCLUDE, both_forms
from tvm_pulp.schedules.microkernels.stationary_panel import StationaryPanel
from tvm_pulp.schedules.microkernels.window_panel_assembly import (
    channel_instructions,
    gathering,
    window_panel_assembly,
)

PIXELS = 3
"""Windows that are in registers together."""
_LONGEST, _SHORTEST = 7, 5
"""Words of a window; a few channels' weights of shorter ones stay in registers instead."""
_CYCLES_A_GROUP = 8
_CYCLES_A_CALL = 60


def column_words(p: StationaryPanel) -> int:
    """Return the words of a channel: weights, bias and multiplier."""
    return p.length + 2


def takes_windows(p: StationaryPanel, outputs: int, tile_n: int) -> bool:
    """Tell whether windows and results are within reach, and registers suffice."""
    farthest = (p.lines - 1) * p.a_line + (PIXELS - 1) * p.a_row + p.line_bytes
    reach = max(farthest, PIXELS * max(p.a_row, tile_n), 4 * tile_n * column_words(p))
    form = p.e.halfword or p.e.short
    fits = _SHORTEST <= p.length <= _LONGEST and reach <= LARGEST_IMMEDIATE
    return form and fits and outputs % tile_n == 0


def window_cycles(units: int, runs: int, width: int, n: int, p: StationaryPanel) -> float:
    """Return the cycles of a worker for some units of pixels of rows of `width`, in so many runs."""
    gather = len(gathering(p, 0)) + p.misaligned
    whole, rest = divmod(width, PIXELS)

    def unit(pixels: int) -> float:
        return pixels * gather + n * len(channel_instructions(p, pixels)) + _CYCLES_A_GROUP

    row = whole * unit(PIXELS) + (unit(rest) + _CYCLES_A_CALL if rest else 0)
    return units * row / (whole + (rest > 0)) + runs * _CYCLES_A_CALL


def window_conv2d_source(p: StationaryPanel, *, width: int, row_stride: int, assembly: bool) -> str:
    """Return C for ``arrange_columns`` and ``quantized_conv2d_tile``.

    Parameters
    ----------
    p
        The windows of a row of results and their weights.
    width
        Columns of the result.
    row_stride
        Bytes of the padded image from a row of windows to the next.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    whole, rest = divmod(width, PIXELS)
    sizes = [pixels for pixels, there in ((PIXELS, whole), (rest, rest)) if there]
    panels = "\n\n".join(_panel_c(p, pixels) for pixels in sizes)
    if assembly:
        fast = "\n\n".join(window_panel_assembly(p, pixels) for pixels in sizes)
        panels = f"{INCLUDE}\n\n{both_forms(fast, panels)}"
    calls = []
    if whole:
        calls.append(f"""\
    const int32_t whole = pulp_min(count, {whole} - unit);
    if (whole > 0) window_panel_{PIXELS}(data, columns, to, whole);
""")
    if rest:
        last = f"unit + count > {whole}" if whole else "1"
        skipped = f"({whole} - unit) * {PIXELS}"
        calls.append(f"""\
    if ({last}) window_panel_{rest}(data + {skipped} * {p.a_row}, columns, to + {skipped} * n, 1);
""")
    units = whole + (rest > 0)
    return f"""\
{_arrange_c(p)}

{panels}

/* The share of worker `core` in rows x {width} x n results: contiguous units of {PIXELS} pixels, the last one
 * of a row perhaps of fewer. */
static void quantized_conv2d_tile(int core, const uint8_t *image, const int32_t *columns, const int32_t *bias,
                                  uint8_t *result, int32_t rows, int32_t n) {{
  (void)bias;
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, rows * {units});
  for (int32_t at = pulp_chunk(core, PULP_CORES, rows * {units}), count; at < end; at += count) {{
    const int32_t y = at / {units}, unit = at - y * {units};
    const uint8_t *const data = image + y * {row_stride} + unit * {PIXELS * p.a_row};
    uint8_t *const to = result + (y * {width} + unit * {PIXELS}) * n;
    count = pulp_min({units} - unit, end - at);
{"".join(calls)}  }}
}}
"""


def _arrange_c(p: StationaryPanel) -> str:
    """Return C of the function that puts what belongs to a channel side by side."""
    each = p.line_bytes // 4 if p.gathers else -(-p.line_bytes // 4)
    multiplier = "multiplier * 0x10001" if p.e.short and not p.e.halfword else "multiplier"
    bias = f"    *to++ = bias[column];{_bias_comment(p)}\n"
    odd = ""
    if p.gathers:
        last = p.line_bytes - 1
        odd = "".join(
            f"    {'const uint32_t odd =' if line == 0 else '                       '}"
            f"{' |' if line else ''} (uint32_t)(uint8_t)from[{line * p.b_line + last}] << {8 * line}"
            f"{';' if line == p.lines - 1 else ''}\n"
            for line in range(p.lines)
        )
        odd += "    *to++ = (int32_t)odd;\n"
    return f"""\
/* Puts weights, bias and multiplier of each of n channels side by side. */
static void arrange_columns(int core, const int8_t *weight, const int32_t *bias, int32_t *columns,
                            int32_t n) {{
  typedef int32_t __attribute__((may_alias)) word;
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, n);
  for (int32_t column = pulp_chunk(core, PULP_CORES, n); column < end; ++column) {{
    const int8_t *const from = weight + column * {p.lines * p.b_line};
    const int32_t multiplier = bias[column + {p.e.multipliers // 4}];
    int32_t *to = columns + column * {column_words(p)};
{"" if p.e.halfword else bias}\
    for (int32_t line = 0; line < {p.lines}; ++line)
      for (int32_t i = 0; i < {each}; ++i) *to++ = ((const word *)(from + line * {p.b_line}))[i];
{odd}{bias if p.e.halfword else ""}\
    *to = {multiplier};
  }}
}}"""


def _bias_comment(p: StationaryPanel) -> str:
    return "" if p.e.halfword else " /* the sums start with it */"


def _panel_c(p: StationaryPanel, pixels: int) -> str:
    """Return the panel in plain C."""
    places = [row + byte for row, _ in p.words for byte in range(4)]
    if p.gathers:
        odd = [line * p.a_line + p.line_bytes - 1 for line in range(p.lines)]
        places += [*odd, odd[-1]]  # the last weight of its word is zero
    bias, weights = (p.length, 0) if p.e.halfword else (0, 1)
    multiplier = f"y[{p.length + 1}]" + ("" if p.e.halfword else " & 0xffff")
    value = p.e.c_value("sum", f"({multiplier})", "")
    return f"""\
/* Groups of {pixels} windows side by side. */
static void window_panel_{pixels}(const void *a, const void *columns, void *c, int32_t groups) {{
  static const int16_t places[] = {{{", ".join(map(str, places))}}};
  for (int32_t i = 0; i < {pixels} * groups; ++i)
    for (int32_t j = 0; j < {p.c_row}; ++j) {{
      const uint8_t *x = (const uint8_t *)a + i * {p.a_row};
      const int32_t *y = (const int32_t *)columns + j * {column_words(p)};
      const int8_t *w = (const int8_t *)(y + {weights});
      int32_t sum = y[{bias}];
      for (int32_t k = 0; k < {4 * p.length}; ++k) sum += x[places[k]] * w[k];
      ((uint8_t *)c)[i * {p.c_row} + j] = {value};
    }}
}}"""
