"""Depthwise convolution in L1: each channel by itself, in strips of neighbouring results.

A strip loads each value of its input rows once and uses it for all its results; a channel's weights (or, for
the weight gradient, its sums) stay in registers. Plain C: the C compiler schedules straight-line code like
this well.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, FORWARD, Conv2dSizes
from tvm_pulp.schedules.microkernels.conv2d import pad_source, padded_width

_STRIP = 4
_MOST_SUMS = 12
"""Sums of the weight gradient that are kept in registers at a time."""


@dataclass(frozen=True)
class _Tap:
    """A weight, and where its value lies from a result's place in the padded tile: lines, columns."""

    weight: int
    line: int
    column: int


@dataclass(frozen=True)
class _Pass:
    """Results that the same taps count for: every ``out_step``-th from (row, column) on, ``width`` in a row.

    A step to the next result is ``in_step`` columns of the padded tile, a step to the next row ``line_step``
    lines.
    """

    name: str
    taps: tuple[_Tap, ...]
    row: int
    column: int
    width: int
    in_step: int
    line_step: int
    out_step: int
    out_lines: int


def depthwise_source(s: Conv2dSizes, tile_rows: int) -> str:
    """Return C for ``conv2d_pad`` and ``conv2d_tile`` of a depthwise convolution.

    Parameters
    ----------
    s
        The sizes; ``outputs`` is the number of channels.
    tile_rows
        Output rows of a full tile, for the weight gradient's pitch.
    """
    if s.kind in (FORWARD, DATA_GRADIENT):
        work = _results(s, _forward_pass(s) if s.kind == FORWARD else _gradient_passes(s))
    else:
        work = _weight_gradient(s, tile_rows)
    return f"{pad_source(s)}\n\n{work}"


def _forward_pass(s: Conv2dSizes) -> list[_Pass]:
    h, w = s.height, s.width
    taps = tuple(
        _Tap(ky * w.taps + kx, ky * h.dilation, kx * w.dilation)
        for ky in range(h.taps)
        for kx in range(w.taps)
    )
    return [_Pass("depthwise_rows", taps, 0, 0, w.out, w.stride, h.stride, 1, 1)]


def _gradient_passes(s: Conv2dSizes) -> list[_Pass]:
    """One pass for each class of positions, see `WindowAxis`."""
    h, w = s.height, s.width
    back_y, back_x = h.tap_step() * h.dilation // h.stride, w.tap_step() * w.dilation // w.stride
    passes = []
    for row in range(h.stride):
        for column in range(w.stride):
            width = len(range(column, w.source, w.stride))
            taps_y, taps_x = h.class_taps(row), w.class_taps(column)
            taps = tuple(
                _Tap(ky * w.taps + kx, h.class_start(row) - i * back_y, w.class_start(column) - j * back_x)
                for i, ky in enumerate(taps_y)
                for j, kx in enumerate(taps_x)
            )
            name = "depthwise_rows" + (f"_{row}_{column}" if h.stride * w.stride > 1 else "")
            if width:
                passes.append(_Pass(name, taps, row, column, width, 1, 1, w.stride, h.stride))
    return passes


def _results(s: Conv2dSizes, passes: list[_Pass]) -> str:
    h, w, pitch = s.height, s.width, padded_width(s)
    width = w.out if s.kind == FORWARD else w.source
    padded = (
        f"(rows - 1) * {h.stride} + {h.reach + 1}"
        if s.kind == FORWARD
        else f"(rows - 1 + {h.before}) / {h.stride} - ({h.first_window}) + 1"
    )
    functions = "\n\n".join(_rows_function(p, width, pitch) for p in passes)
    shares = "\n".join(_share(p, width, pitch, s.taps) for p in passes)
    return f"""\
{functions}

/* The share of worker `core` in images x channels x rows x {width} results: contiguous runs of rows. */
static void conv2d_tile(int core, const float *image, const float *weight, float *result, int32_t images,
                        int32_t channels, int32_t one, int32_t rows, int32_t accumulate) {{
  const int32_t plane_size = ({padded}) * {pitch};
  (void)one, (void)accumulate;
{shares}
}}
"""


def _share(p: _Pass, width: int, pitch: int, taps: int) -> str:
    """Return C that shares out the rows of a pass."""
    total = "rows" if p.out_lines == 1 else f"(rows - {p.row} + {p.out_lines - 1}) / {p.out_lines}"
    return f"""\
  {{
    const int32_t lines = {total}, last = pulp_chunk(core + 1, PULP_CORES, images * channels * lines);
    for (int32_t at = pulp_chunk(core, PULP_CORES, images * channels * lines); at < last;) {{
      const int32_t plane = at / lines, y = at - plane * lines, count = pulp_min(lines - y, last - at);
      {p.name}(image + plane * plane_size + y * {p.line_step * pitch}, weight + plane % channels * {taps},
               result + (plane * rows + y * {p.out_lines} + {p.row}) * {width} + {p.column}, count);
      at += count;
    }}
  }}"""


def _rows_function(p: _Pass, width: int, pitch: int) -> str:
    """Return C for some rows of a channel."""
    weights = ", ".join(f"k{tap.weight} = weight[{tap.weight}]" for tap in p.taps)
    declared = f"  const float {weights};\n" if weights else ""
    whole, rest = divmod(p.width, _STRIP)
    body = ""
    if whole:
        body += f"    for (int32_t strip = 0; strip < {whole}; ++strip, in += {_STRIP * p.in_step}, "
        body += f"out += {_STRIP * p.out_step}) {{\n{_strip(p, _STRIP, pitch)}    }}\n"
    if rest:
        body += f"    {{\n{_strip(p, rest, pitch)}    }}\n"
    in_back = whole * _STRIP * p.in_step
    out_back = p.out_lines * width - whole * _STRIP * p.out_step
    unused = "  (void)weight, (void)in;\n" if not p.taps else ""
    return f"""\
static void __attribute__((noinline)) {p.name}(const float *restrict in, const float *restrict weight,
                                         float *restrict out, int32_t rows) {{
{unused}{declared}  for (int32_t y = 0; y < rows; ++y) {{
{body}    in += {p.line_step * pitch - in_back};
    out += {out_back};
  }}
}}"""


def _strip(p: _Pass, count: int, pitch: int) -> str:
    """Return C for ``count`` results side by side: line by line, each value loaded once."""
    text = ""
    started: set[int] = set()
    for line in sorted({tap.line for tap in p.taps}):
        taps = [tap for tap in p.taps if tap.line == line]
        columns = sorted({tap.column + i * p.in_step for tap in taps for i in range(count)})
        text += f"      {{\n        const float *row = in + {line * pitch};\n"
        text += "        const float " + ", ".join(f"v{c} = row[{c}]" for c in columns) + ";\n"
        for tap in taps:
            for i in range(count):
                product = f"v{tap.column + i * p.in_step} * k{tap.weight}"
                text += (
                    f"        s{i} = s{i} + {product};\n" if i in started else f"        s{i} = {product};\n"
                )
                started.add(i)
        text += "      }\n"
    sums = "      float " + ", ".join(f"s{i}" + ("" if p.taps else " = 0.0f") for i in range(count)) + ";\n"
    stores = "".join(f"      out[{i * p.out_step}] = s{i};\n" for i in range(count))
    return sums + text + stores


def _weight_gradient(s: Conv2dSizes, tile_rows: int) -> str:
    h, w, pitch = s.height, s.width, padded_width(s)
    lines = [[ky] for ky in range(h.taps)] if s.taps > _MOST_SUMS else [list(range(h.taps))]
    functions = "\n\n".join(_sums_function(s, ky, number) for number, ky in enumerate(lines))
    calls = "\n".join(
        f"    depthwise_sums_{number}(window, from, to, images, rows, image_size, gradient_size, accumulate);"
        for number in range(len(lines))
    )
    return f"""\
{functions}

/* The share of worker `core` in channels x {s.taps} sums over images and rows. */
static void conv2d_tile(int core, const float *image, const float *gradient, float *result, int32_t images,
                        int32_t channels, int32_t one, int32_t rows, int32_t accumulate) {{
  const int32_t plane_size = ((rows - 1) * {h.stride} + {h.reach + 1}) * {pitch};
  const int32_t image_size = channels * plane_size, gradient_size = channels * {tile_rows * w.out};
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, channels);
  (void)one;
  for (int32_t channel = pulp_chunk(core, PULP_CORES, channels); channel < last; ++channel) {{
    const float *window = image + channel * plane_size, *from = gradient + channel * {tile_rows * w.out};
    float *to = result + channel * {s.taps};
{calls}
  }}
}}
"""


def _sums_function(s: Conv2dSizes, tap_lines: list[int], number: int) -> str:
    """Return C for the sums of some lines of taps of a channel."""
    h, w = s.height, s.width
    taps = [ky * w.taps + kx for ky in tap_lines for kx in range(w.taps)]
    whole, rest = divmod(w.out, _STRIP)
    body = ""
    if whole:
        body += f"      for (int32_t strip = 0; strip < {whole}; ++strip, in += {_STRIP * w.stride}, "
        body += f"g += {_STRIP}) {{\n{_sum_strip(s, tap_lines, _STRIP)}      }}\n"
    if rest:
        body += f"      {{\n{_sum_strip(s, tap_lines, rest)}      }}\n"
    stores = "".join(f"  result[{t}] = accumulate ? result[{t}] + s{t} : s{t};\n" for t in taps)
    return f"""\
static void __attribute__((noinline)) depthwise_sums_{number}(
    const float *restrict image, const float *restrict gradient, float *restrict result, int32_t images,
    int32_t rows, int32_t image_size, int32_t gradient_size, int32_t accumulate) {{
  float {", ".join(f"s{t} = 0.0f" for t in taps)};
  for (int32_t n = 0; n < images; ++n, image += image_size, gradient += gradient_size) {{
    const float *in = image, *g = gradient;
    for (int32_t y = 0; y < rows; ++y) {{
{body}      in += {h.stride * padded_width(s) - whole * _STRIP * w.stride};
      g += {rest};
    }}
  }}
{stores}}}"""


def _sum_strip(s: Conv2dSizes, tap_lines: list[int], count: int) -> str:
    """Return C that adds the products of ``count`` places side by side."""
    h, w = s.height, s.width
    text = "        const float " + ", ".join(f"g{i} = g[{i}]" for i in range(count)) + ";\n"
    for ky in tap_lines:
        columns = sorted({kx * w.dilation + i * w.stride for kx in range(w.taps) for i in range(count)})
        text += f"        {{\n          const float *row = in + {ky * h.dilation * padded_width(s)};\n"
        text += "          const float " + ", ".join(f"v{c} = row[{c}]" for c in columns) + ";\n"
        for i in range(count):
            for kx in range(w.taps):
                t = ky * w.taps + kx
                text += f"          s{t} = s{t} + g{i} * v{kx * w.dilation + i * w.stride};\n"
        text += "        }\n"
    return text
