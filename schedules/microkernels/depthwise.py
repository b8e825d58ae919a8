"""Depthwise convolution in L1: each channel by itself, in strips of neighbouring results, with no padding at
all.

Where a window reaches beyond the image is known when the code is written: rows and strips at the edges get
code of their own, without the taps that fall outside. A strip loads each value of its lines once for all its
results; a channel's weights (or, for the weight gradient, its sums) stay in registers. Plain C: the compiler
schedules straight-line code like this well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, FORWARD, Conv2dSizes

_STRIP = 4
_MOST_SUMS = 12
"""Sums of the weight gradient that are kept in registers at a time."""

_ARGUMENTS = """\
int core, const float *image, const float *operand, float *result, int32_t images, int32_t channels,
                        int32_t rows, int32_t first_row, int32_t low, int32_t valid, int32_t accumulate"""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Window:
    """One axis of a pass: result i reads ``i * step + base + tap`` of ``extent`` values, for each tap.

    ``out_start`` and ``out_step`` say where result i lies among all results of the axis.
    """

    results: int
    step: int
    base: int
    extent: int
    taps: tuple[int, ...]
    weights: tuple[int, ...]
    out_start: int = 0
    out_step: int = 1

    def valid(self, result: int) -> tuple[int, ...]:
        """Return the numbers of the taps that a result reads inside the image."""
        places = (result * self.step + self.base + tap for tap in self.taps)
        return tuple(i for i, place in enumerate(places) if 0 <= place < self.extent)


def depthwise_source(s: Conv2dSizes, tile_rows: int) -> str:
    """Return C for ``conv2d_tile`` of a depthwise convolution.

    Parameters
    ----------
    s
        The sizes; ``outputs`` is the number of channels.
    tile_rows
        Output rows of a full tile, for the weight gradient's pitch.
    """
    if s.kind == FORWARD:
        return _results(s, [("depthwise_rows", *_forward_windows(s))])
    if s.kind == DATA_GRADIENT:
        return _results(s, _gradient_windows(s))
    return _weight_gradient(s, tile_rows)


def _forward_windows(s: Conv2dSizes) -> tuple[Window, Window]:
    rows, columns = (
        Window(
            a.out,
            a.stride,
            -a.before,
            a.source,
            tuple(k * a.dilation for k in range(a.taps)),
            tuple(range(a.taps)),
        )
        for a in (s.height, s.width)
    )
    return rows, columns


def _gradient_windows(s: Conv2dSizes) -> list[tuple[str, Window, Window]]:
    """A pass for each class of positions, see `conv2d_workload.WindowAxis`."""
    axes: list[list[Window]] = []
    for a in (s.height, s.width):
        back = a.tap_step() * a.dilation // a.stride
        axes.append([])
        for remainder in range(min(a.stride, a.source)):
            taps = a.class_taps(remainder)
            start = a.class_start(remainder) if taps else 0
            places = tuple(start - i * back for i in range(len(taps)))
            results = len(range(remainder, a.source, a.stride))
            axes[-1].append(
                Window(results, 1, a.first_window, a.out, places, tuple(taps), remainder, a.stride)
            )
    several = len(axes[0]) * len(axes[1]) > 1
    return [
        ("depthwise_rows" + (f"_{h.out_start}_{w.out_start}" if several else ""), h, w)
        for h in axes[0]
        for w in axes[1]
    ]


def _runs(items: Sequence[Item], key: Callable[[Item], object]) -> Iterator[tuple[int, int, Item]]:
    """Yield start, end and first item of each run of items with equal keys."""
    start = 0
    for position in range(1, len(items) + 1):
        if position == len(items) or key(items[position]) != key(items[start]):
            yield start, position, items[start]
            start = position


def _strips(columns: Window) -> list[tuple[int, int, int]]:
    """Return runs of strips that are alike: first result, results of a strip, number of strips."""
    starts = list(range(0, columns.results, _STRIP))

    def signature(start: int) -> object:
        return [columns.valid(i) for i in range(start, min(start + _STRIP, columns.results))]

    return [
        (first, min(_STRIP, columns.results - first), end - begin)
        for begin, end, first in _runs(starts, signature)
    ]


def _results(s: Conv2dSizes, passes: list[tuple[str, Window, Window]]) -> str:
    source = s.width.source if s.kind == FORWARD else s.width.out
    width = s.width.out if s.kind == FORWARD else s.width.source
    functions = "\n\n".join(_rows_function(name, h, w, source, width, s.width.taps) for name, h, w in passes)
    shares = "\n".join(_share(name, h, w, source, width, s.taps) for name, h, w in passes)
    return f"""\
{functions}

/* The share of worker `core` in images x channels x rows x {width} results, from row `first_row` on: runs of
 * rows. The tile has `valid` lines of each channel, from line `low` of the image on. */
static void conv2d_tile({_ARGUMENTS}) {{
  (void)accumulate;
{shares}
}}
"""


def _share(name: str, h: Window, w: Window, source: int, width: int, taps: int) -> str:
    """Return C that shares out the rows of a pass; its rows are counted over the whole image."""
    begin, total = "first_row", "rows"
    if h.out_step > 1:
        begin = f"(first_row - {h.out_start} + {h.out_step - 1}) / {h.out_step}"
        total = f"(first_row + rows - {h.out_start} + {h.out_step - 1}) / {h.out_step} - begin"
    return f"""\
  {{
    const int32_t begin = {begin}, lines = {total};
    const int32_t last = pulp_chunk(core + 1, PULP_CORES, images * channels * lines);
    int32_t at = pulp_chunk(core, PULP_CORES, images * channels * lines);
    int32_t plane = lines > 0 ? at / lines : 0;
    for (int32_t y = at - plane * lines; at < last; ++plane, y = 0) {{
      const int32_t count = pulp_min(lines - y, last - at);
      const int32_t row = begin + y, to = plane * rows + row * {h.out_step} + {h.out_start} - first_row;
      {name}(image + (plane * valid + row * {h.step} + {h.base} - low) * {source} + {w.base},
             operand + plane % channels * {taps}, result + to * {width} + {w.out_start}, row, row + count);
      at += count;
    }}
  }}"""


def _rows_function(name: str, h: Window, w: Window, source: int, width: int, row_taps: int) -> str:
    """Return C for the rows ``y`` to ``end`` of a channel."""
    weights = [i * row_taps + j for i in h.weights for j in w.weights]
    declared = ", ".join(f"k{t} = weight[{t}]" for t in weights)
    declared = f"  const float {declared};\n" if weights else "  (void)in, (void)weight;\n"
    segments = ""
    for _, end, first in _runs(range(h.results), h.valid):
        lines = [(h.taps[i], h.weights[i] * row_taps) for i in h.valid(first)]
        body = "".join(_strip_run(w, lines, source, *run) for run in _strips(w))
        limit = "end" if end == h.results else f"pulp_min({end}, end)"
        advance = f"in += {h.step * source}, out += {h.out_step * width}"
        segments += f"  for (; y < {limit}; ++y, {advance}) {{\n{body}  }}\n"
    return f"""\
static void __attribute__((noinline)) {name}(
    const float *restrict in, const float *restrict weight, float *restrict out, int32_t y, int32_t end) {{
{declared}{segments}}}"""


def _strip_run(
    w: Window, lines: list[tuple[int, int]], source: int, first: int, count: int, strips: int
) -> str:
    """Return C for one or several equal strips of a row."""
    if strips == 1:
        return (
            "    {\n"
            + _strip(w, lines, source, first, count, f"in + {first * w.step}", f"out + {first * w.out_step}")
            + "    }\n"
        )
    advance = f"from += {_STRIP * w.step}, to += {_STRIP * w.out_step}"
    return (
        f"    const float *from = in + {first * w.step};\n    float *to = out + {first * w.out_step};\n"
        f"    for (int32_t strip = 0; strip < {strips}; ++strip, {advance}) {{\n"
        + _strip(w, lines, source, first, count, "from", "to")
        + "    }\n"
    )


def _strip(
    w: Window, lines: list[tuple[int, int]], source: int, first: int, count: int, origin: str, target: str
) -> str:
    """Return C for ``count`` results side by side: line by line, each value loaded once."""
    text = f"      const float *const x = {origin};\n      float *const z = {target};\n"
    started: set[int] = set()
    sums = ""
    for number, (line, weight) in enumerate(lines):
        used = sorted({w.taps[j] + i * w.step for i in range(count) for j in w.valid(first + i)})
        if used:
            values = ", ".join(f"v{number}_{u - used[0]} = x[{line * source + u}]" for u in used)
            sums += f"      const float {values};\n"
        for position in range(len(w.taps)):
            for i in range(count):
                if position in w.valid(first + i):
                    value = f"v{number}_{w.taps[position] + i * w.step - used[0]}"
                    product = f"{value} * k{weight + w.weights[position]}"
                    sums += (
                        f"      s{i} = s{i} + {product};\n" if i in started else f"      s{i} = {product};\n"
                    )
                    started.add(i)
    names = ", ".join(f"s{i}" if i in started else f"s{i} = 0.0f" for i in range(count))
    stores = "".join(f"      z[{i * w.out_step}] = s{i};\n" for i in range(count))
    if not started:
        text += "      (void)x;\n"
    return f"{text}      float {names};\n{sums}{stores}"


def _weight_gradient(s: Conv2dSizes, tile_rows: int) -> str:
    h, w = _forward_windows(s)
    taken = [[i] for i in range(len(h.taps))] if s.taps > _MOST_SUMS else [list(range(len(h.taps)))]
    functions = "\n\n".join(
        _sums_function(f"depthwise_sums_{i}", h, w, lines) for i, lines in enumerate(taken)
    )
    calls = "\n".join(
        f"    depthwise_sums_{number}(window, from, to, images, rows, first_row, image_size, gradient_size,\n"
        "                     accumulate);"
        for number in range(len(taken))
    )
    return f"""\
{functions}

/* The share of worker `core` in channels x {s.taps} sums over images and rows, from row `first_row` on. The
 * tile has `valid` lines of each channel, from line `low` of the image on. */
static void conv2d_tile({_ARGUMENTS}) {{
  const int32_t plane_size = valid * {w.extent}, last = pulp_chunk(core + 1, PULP_CORES, channels);
  const int32_t image_size = channels * plane_size, gradient_size = channels * {tile_rows * w.results};
  image += (first_row * {h.step} + {h.base} - low) * {w.extent} + {w.base};
  for (int32_t channel = pulp_chunk(core, PULP_CORES, channels); channel < last; ++channel) {{
    const float *window = image + channel * plane_size, *from = operand + channel * {tile_rows * w.results};
    float *to = result + channel * {s.taps};
{calls}
  }}
}}
"""


def _sums_function(name: str, h: Window, w: Window, taken: list[int]) -> str:
    """Return C for the sums of some lines of taps of a channel."""
    row_taps = len(w.taps)
    sums = [i * row_taps + j for i in taken for j in range(row_taps)]
    segments = ""
    for _, end, first in _runs(range(h.results), lambda y: [i for i in h.valid(y) if i in taken]):
        lines = [(h.taps[i], i * row_taps) for i in h.valid(first) if i in taken]
        body = "".join(_sum_run(w, lines, *run) for run in _strips(w)) if lines else ""
        limit = "end" if end == h.results else f"pulp_min({end}, end)"
        segments += (
            f"    for (; y < {limit}; ++y, in += {h.step * w.extent}, g += {w.results}) {{\n{body}    }}\n"
        )
    stores = "".join(f"  result[{t}] = accumulate ? result[{t}] + s{t} : s{t};\n" for t in sums)
    return f"""\
static void __attribute__((noinline)) {name}(
    const float *restrict image, const float *restrict gradient, float *restrict result, int32_t images,
    int32_t rows, int32_t first_row, int32_t image_size, int32_t gradient_size, int32_t accumulate) {{
  float {", ".join(f"s{t} = 0.0f" for t in sums)};
  for (int32_t n = 0; n < images; ++n, image += image_size, gradient += gradient_size) {{
    const float *in = image, *g = gradient;
    int32_t y = first_row;
    const int32_t end = first_row + rows;
{segments}  }}
{stores}}}"""


def _sum_run(w: Window, lines: list[tuple[int, int]], first: int, count: int, strips: int) -> str:
    """Return C for one or several equal strips of a row."""
    if strips == 1:
        return (
            "      {\n"
            + _sum_strip(w, lines, first, count, f"in + {first * w.step}", f"g + {first}")
            + "      }\n"
        )
    advance = f"from += {_STRIP * w.step}, with += {_STRIP}"
    return (
        f"      const float *from = in + {first * w.step}, *with = g + {first};\n"
        f"      for (int32_t strip = 0; strip < {strips}; ++strip, {advance}) {{\n"
        + _sum_strip(w, lines, first, count, "from", "with")
        + "      }\n"
    )


def _sum_strip(
    w: Window, lines: list[tuple[int, int]], first: int, count: int, origin: str, gradient: str
) -> str:
    """Return C that adds the products of ``count`` places side by side."""
    inside = [i for i in range(count) if w.valid(first + i)]
    if not inside:
        return ""
    text = f"        const float *const x = {origin}, *const q = {gradient};\n"
    text += "        const float " + ", ".join(f"g{i} = q[{i}]" for i in inside) + ";\n"
    used = sorted({w.taps[j] + i * w.step for i in inside for j in w.valid(first + i)})
    for number, (line, weight) in enumerate(lines):
        values = ", ".join(f"v{number}_{u - used[0]} = x[{line * w.extent + u}]" for u in used)
        text += f"        const float {values};\n"
        for i in inside:
            for j in w.valid(first + i):
                value = f"v{number}_{w.taps[j] + i * w.step - used[0]}"
                text += f"        s{weight + j} = s{weight + j} + g{i} * {value};\n"
    return text
