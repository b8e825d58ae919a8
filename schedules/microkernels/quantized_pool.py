"""Pooling of bytes with their channels innermost: C of a worker's share, see `quantized_pool_assembly`.

Rows above and below the image count as the nearest one that is there, which is in the window, too: a maximum
stays the same. Windows that reach beyond its sides have fewer columns.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.forms import both_forms
from tvm_pulp.schedules.microkernels.quantized_pool_assembly import (
    PoolArithmetic,
    columns_assembly,
    columns_name,
    words_assembly,
)
from tvm_pulp.schedules.microkernels.quantized_pool_walk import walk_assembly, walks

_MOST_TAPS = 16
"""Of a window that is written out."""
_MOST_ROWS = 4
_REACH = 2044
"""Bytes from a row's first word that immediate operands reach."""


@dataclass(frozen=True)
class Segment:
    """Columns of results whose windows have as many columns of the image: see `QuantizedPoolSettings`.

    Attributes
    ----------
    first, count : int
        Columns of results.
    source : int
        Column of the image where the first one's window begins.
    taps : int
        Columns of a window.
    """

    first: int
    count: int
    source: int
    taps: int


@dataclass(frozen=True)
class QuantizedPoolSettings:
    """What the code depends on.

    Attributes
    ----------
    image, pooled : (int, int)
        Rows and columns of the data and of the results.
    channels : int
        A multiple of 4.
    window, strides : (int, int)
        Of rows and columns.
    left : int
        Columns of padding.
    arithmetic : PoolArithmetic or None
        Of averages; None for maxima.
    """

    image: tuple[int, int]
    pooled: tuple[int, int]
    channels: int
    window: tuple[int, int]
    strides: tuple[int, int]
    left: int
    arithmetic: PoolArithmetic | None

    @property
    def is_written_out(self) -> bool:
        """Whether a window's taps are instructions, not turns of a loop."""
        rows, columns = self.window
        reaches = (columns - 1) * self.channels <= _REACH
        return rows <= _MOST_ROWS and rows * columns <= _MOST_TAPS and reaches

    @property
    def segments(self) -> list[Segment]:
        """Segments of a row of results."""
        found: list[Segment] = []
        for column in range(self.pooled[1]):
            start = column * self.strides[1] - self.left
            source = max(start, 0)
            taps = min(start + self.window[1], self.image[1]) - source
            last = found[-1] if found else None
            if last and last.taps == taps and source == last.source + last.count * self.strides[1]:
                found[-1] = Segment(last.first, last.count + 1, last.source, taps)
            else:
                found.append(Segment(column, 1, source, taps))
        return found

    def walks(self, taps: int) -> bool:
        """Whether the maxima of windows with some columns of the image go along a row."""
        longest = max(segment.count for segment in self.segments if segment.taps == taps)
        return self.arithmetic is None and longest > 2 and walks(taps, self.strides[1])


def quantized_pool_source(s: QuantizedPoolSettings, parts: int, *, assembly: bool) -> str:
    """Return C for ``quantized_pool_tile``, a worker's share of a tile.

    Parameters
    ----------
    s
        The settings.
    parts
        Into how many parts workers share out a row of results.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    return _columns(s, parts, assembly) if s.is_written_out else _words(s, assembly)


def _chosen(assembly: str, plain: str, wanted: bool) -> str:
    return both_forms(assembly, plain) if wanted else plain


def _reduced(s: QuantizedPoolSettings) -> tuple[str, str]:
    """Return C that takes a tap into ``value``, and C of the result."""
    if s.arithmetic is None:
        return "value = pulp_max(value, {})", "value"
    a = s.arithmetic
    scaled = f"(value * {a.multiplier} + {a.offset}) >> {a.shift}"
    return "value += {}", f"pulp_min(pulp_max({scaled}, {a.low}), {a.high})"


def _columns(s: QuantizedPoolSettings, parts: int, assembly: bool) -> str:
    """Return C where workers share out parts of rows."""
    height, stride, c = s.window[0], s.strides[1], s.channels
    take, result = _reduced(s)
    widths = sorted({segment.taps for segment in s.segments})
    plain = "\n\n".join(
        f"""\
static void {columns_name(taps)}(const uint8_t *const *rows, uint8_t *result, int32_t pixels) {{
  for (int32_t pixel = 0; pixel < pixels; ++pixel)
    for (int32_t c = 0; c < {c}; ++c) {{
      int32_t value = 0;
      for (int32_t i = 0; i < {height}; ++i)
        for (int32_t j = 0; j < {taps}; ++j) {take.format(f"rows[i][(pixel * {stride} + j) * {c} + c]")};
      *result++ = (uint8_t)({result});
    }}
}}"""
        for taps in widths
    )
    fast = "\n\n".join(
        walk_assembly(columns_name(taps), height, taps, stride, c)
        if s.walks(taps)
        else columns_assembly(height, taps, stride, c, s.arithmetic)
        for taps in widths
    )
    calls = "\n".join(
        f"""\
    first = pulp_max(begin, {g.first}), count = pulp_min(end, {g.first + g.count}) - first;
    if (count > 0) {{
      const uint8_t *rows[{height}];
      for (int32_t i = 0; i < {height}; ++i)
        rows[i] = lines[i] + ((first - {g.first}) * {stride} + {g.source}) * {c};
      {columns_name(g.taps)}(rows, row + first * {c}, count);
    }}"""
        for g in s.segments
    )
    share = (
        f"""
    const int32_t y = unit / {parts}, part = unit % {parts};
    const int32_t begin = part * {s.pooled[1]} / {parts}, end = (part + 1) * {s.pooled[1]} / {parts};"""
        if parts > 1
        else f"""
    const int32_t y = unit, begin = 0, end = {s.pooled[1]};"""
    )
    include = '#include "pulp_assembly.h"\n\n' if assembly else ""
    return f"""\
{include}{_chosen(fast, plain, assembly)}

/* The share of worker `core` in some rows of results{f", in {parts} parts each" if parts > 1 else ""}: their
 * windows begin `above` rows above the tile, which has `valid` rows of the image. */
static void quantized_pool_tile(int core, const uint8_t *data, uint8_t *result, int32_t count_of_rows,
                                int32_t above, int32_t valid) {{
  const int32_t units = count_of_rows * {parts}, last = pulp_chunk(core + 1, PULP_CORES, units);
  for (int32_t unit = pulp_chunk(core, PULP_CORES, units); unit < last; ++unit) {{{share}
    const uint8_t *lines[{height}];
    for (int32_t i = 0; i < {height}; ++i) {{
      const int32_t line = pulp_min(pulp_max(y * {s.strides[0]} + i - above, 0), valid - 1);
      lines[i] = data + line * {s.image[1] * c};
    }}
    uint8_t *const row = result + y * {s.pooled[1] * c};
    int32_t first, count;
{calls}
  }}
}}"""


def _words(s: QuantizedPoolSettings, assembly: bool) -> str:
    """Return C where workers share out words of four channels: averages over large windows."""
    assert s.arithmetic is not None
    (height, width), c, columns = s.window, s.channels, s.pooled[1]
    take, result = _reduced(s)
    pitch = s.image[1] * c
    plain = f"""\
static void quantized_pool_words(const uint8_t *data, uint8_t *result, int32_t words) {{
  for (int32_t c = 0; c < 4 * words; ++c) {{
    int32_t value = 0;
    for (int32_t i = 0; i < {height}; ++i)
      for (int32_t j = 0; j < {width}; ++j) {take.format(f"data[i * {pitch} + j * {c} + c]")};
    result[c] = (uint8_t)({result});
  }}
}}"""
    fast = words_assembly((height, width), pitch, c, s.arithmetic)
    include = '#include "pulp_assembly.h"\n\n' if assembly else ""
    return f"""\
{include}/* The averages of some words of a window's channels. */
{_chosen(fast, plain, assembly)}

/* The share of worker `core` in some rows of results: words of four channels. */
static void quantized_pool_tile(int core, const uint8_t *data, uint8_t *result, int32_t count_of_rows,
                                int32_t above, int32_t valid) {{
  (void)above, (void)valid;
  const int32_t words = count_of_rows * {columns * c // 4}, end = pulp_chunk(core + 1, PULP_CORES, words);
  int32_t word = pulp_chunk(core, PULP_CORES, words);
  while (word < end) {{
    const int32_t pixel = word / {c // 4}, first = word % {c // 4};
    const int32_t count = pulp_min(end - word, {c // 4} - first);
    const int32_t y = pixel / {columns}, x = pixel % {columns};
    const uint8_t *const from = data + y * {s.strides[0] * pitch} + x * {s.strides[1] * c} + 4 * first;
    quantized_pool_words(from, result + 4 * word, count);
    word += count;
  }}
}}"""
