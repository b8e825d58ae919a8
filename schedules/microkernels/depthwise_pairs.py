"""Quantised depthwise convolution 3x3 with stride 2 in L1: strips of up to four columns of two channels.

Windows two columns apart share so little that the words of a channel need not be kept in memory, as
``quantized_depthwise`` does: the pixels of a strip's row, a half word of two channels each, become a word of
three taps of each window and channel in registers. Two pixels that lie side by side are turned to a half of
each channel's; a window's word has such halves of its first two pixels and of its third one and the next,
which is the first half of the window beside it. Nine loads, four turns and eight combinations make the eight
words of four windows.

The image's rows lie in memory without columns of padding: the pixels of a strip that would be in them are
constants of its code, and so is a row of padding above the image. A strip is walked down: a row of the image
that two windows share is turned once. It goes into the sums of the upper one's results, which are requantised
then, and begins those of the lower one. Weights, biases, multipliers and sums of both channels are in
registers.

Of a 3x3 window a result takes 5.25 instructions to turn two rows, three products, three for the
requantisation, whose first shift adds the bias, and one for the store of half a word: 12.25, at most 5.9
MAC/cycle on 8 cores. Strips of three columns take 12.5; all their code fits the core's own cache. A pair's
strip begins with a row that is turned once more, and with loads of what registers hold: 50
instructions.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE
from tvm_pulp.schedules.microkernels.depthwise_pairs_assembly import (
    CHANNELS,
    WEIGHT_BYTES,
    strip_assembly,
    strip_cycles,
)
from tvm_pulp.schedules.microkernels.dot_panel import Epilogue
from tvm_pulp.schedules.microkernels.forms import INCLUDE, both_forms

_STRIP = 4
"""Columns of the widest strip."""
_CYCLES_A_CALL = 75
_USUAL_ROWS = 8
"""Of a tile, where the columns of a strip are chosen."""


@dataclass(frozen=True)
class Strip:
    """A strip: columns of the results, and which of its pixels are padding."""

    columns: int
    padded: tuple[bool, ...]

    @property
    def name(self) -> str:
        """The name of its function."""
        padded = "".join(f"_{pixel}" for pixel, is_padded in enumerate(self.padded) if is_padded)
        return f"depthwise_pairs_{self.columns}{'_padded' if padded else ''}{padded}"

    @property
    def description(self) -> str:
        """The comment of its function."""
        padded = [str(pixel) for pixel, is_padded in enumerate(self.padded) if is_padded]
        behind = f", whose pixels {', '.join(padded)} are padding" if padded else ""
        return f"/* A strip of {self.columns} columns of some pairs of channels{behind}. */"


@dataclass(frozen=True)
class DepthwisePairs:
    """What the code depends on.

    Attributes
    ----------
    channels, columns : int
        Of the results.
    width, left : int
        Columns of the image, and columns of padding on the left.
    pitch : int
        Bytes of a row of the image.
    zero_point : int
        The padding's value.
    e : Epilogue
        With `halfword` or `short`.
    cores : int
        Workers that strips and pairs are shared out to.
    """

    channels: int
    columns: int
    width: int
    left: int
    pitch: int
    zero_point: int
    e: Epilogue
    cores: int

    @property
    def pairs(self) -> int:
        """Pairs of channels."""
        return self.channels // CHANNELS

    def is_supported(self) -> bool:
        """Tell whether registers and immediate operands suffice."""
        short = (self.e.halfword or self.e.short) and not self.e.own_shifts
        reaches = self.pitch <= LARGEST_IMMEDIATE and 2 * self.channels <= LARGEST_IMMEDIATE + 1
        return short and self.channels % CHANNELS == 0 and reaches

    @property
    def widest(self) -> int:
        """Columns of the first strips: those that keep the busiest worker busy for the least time."""
        reach = (LARGEST_IMMEDIATE + 1) // (2 * self.channels)
        widths = range(min(_STRIP, reach, self.columns), 0, -1)
        return min(widths, key=lambda width: self._busiest(width))

    def _busiest(self, columns: int) -> float:
        strips = -(-self.columns // columns)
        share = -(-strips * self.pairs // self.cores)
        return share * strip_cycles(self, Strip(columns, (False,) * (2 * columns + 1)), _USUAL_ROWS)

    @property
    def strips(self) -> list[Strip]:
        """The strips: as wide as the first one, or less by one."""
        count = -(-self.columns // self.widest)
        each, rest = divmod(self.columns, count)
        found, column = [], 0
        for columns in [each + 1] * rest + [each] * (count - rest):
            pixels = range(2 * column - self.left, 2 * (column + columns) - self.left + 1)
            found.append(Strip(columns, tuple(not 0 <= pixel < self.width for pixel in pixels)))
            column += columns
        return found


def pairs_cycles(rows: int, p: DepthwisePairs) -> float:
    """Return the cycles of some rows of results, of the slowest worker."""
    strips = p.strips
    share = -(-len(strips) * p.pairs // p.cores)
    calls = 1 + -(-(share - 1) // p.pairs)
    return share * strip_cycles(p, strips[0], rows) + calls * _CYCLES_A_CALL


def depthwise_pairs_source(p: DepthwisePairs, *, assembly: bool) -> str:
    """Return C for ``depthwise_pairs_tile``, a worker's share of a tile.

    Parameters
    ----------
    p
        The sizes.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    strips = p.strips
    kinds = list(dict.fromkeys(strips))
    code = "\n\n".join(_strip_c(p, strip) for strip in kinds)
    if assembly:
        fast = "\n\n".join(strip_assembly(p, strip) for strip in kinds)
        code = f"{INCLUDE}\n\n{both_forms(fast, code)}"
    narrow, wider = strips[-1].columns, sum(strip.columns > strips[-1].columns for strip in strips)
    column = f"strip * {narrow}" + (f" + pulp_min(strip, {wider})" if wider else "")
    return f"""\
{code}

/* The share of worker `core` in rows x {p.columns} x {p.channels} results: strips of \
{" or ".join(map(str, sorted({strip.columns for strip in strips})))} columns, some pairs
 * of channels of one after the other. `image` is the second row of the first windows; with `pads` the one
 * above it is padding. */
static void depthwise_pairs_tile(int core, const uint8_t *image, const int8_t *weight, const int32_t *bias,
                                 uint8_t *result, int32_t rows, int32_t pads) {{
  const int32_t total = {p.pairs * len(strips)}, end = pulp_chunk(core + 1, PULP_CORES, total);
  for (int32_t at = pulp_chunk(core, PULP_CORES, total); at < end;) {{
    const int32_t strip = at / {p.pairs}, pair = at - strip * {p.pairs};
    const int32_t pairs = pulp_min({p.pairs} - pair, end - at);
    const int32_t x = {column}, channel = {CHANNELS} * pair;
    const uint8_t *const from = image + (2 * x - {p.left}) * {p.channels} + channel;
    const int8_t *const weights = weight + channel * {WEIGHT_BYTES};
    const int32_t *const biases = bias + channel;
    uint8_t *const to = result + x * {p.channels} + channel;
{_calls(strips)}
    at += pairs;
  }}
}}
"""


def _calls(strips: list[Strip]) -> str:
    """Return C that calls the function of a strip."""
    ends = [i for i, strip in enumerate(strips, 1) if strips[i : i + 1] != [strip]]
    lines = []
    for number, end in enumerate(ends):
        condition = f"if (strip < {end}) " if number < len(ends) - 1 else ""
        call = f"{strips[end - 1].name}(from, weights, biases, to, pairs, rows, pads);"
        lines.append(f"    {'else ' if number else ''}{condition}{call}")
    return "\n".join(lines)


def _strip_c(p: DepthwisePairs, strip: Strip) -> str:
    value = p.e.c_value("sum", f"bias[c + {p.e.multipliers // 4}]", "")
    padded = " || ".join(
        [
            "(pads && !y && !i)",
            *(f"2 * x + j == {pixel}" for pixel, is_padded in enumerate(strip.padded) if is_padded),
        ]
    )
    return f"""\
{strip.description}
static void {strip.name}(const uint8_t *image, const int8_t *weight, const int32_t *bias, uint8_t *result,
                              int32_t pairs, int32_t rows, int32_t pads) {{
  for (int32_t c = 0; c < {CHANNELS} * pairs; ++c)
    for (int32_t y = 0; y < rows; ++y)
      for (int32_t x = 0; x < {strip.columns}; ++x) {{
        const uint8_t *const window = image + (2 * y - 1) * {p.pitch} + x * {2 * p.channels} + c;
        int32_t sum = bias[c];
        for (int32_t i = 0; i < 3; ++i)
          for (int32_t j = 0; j < 3; ++j) {{
            const int32_t value = {padded} ? {p.zero_point} : window[i * {p.pitch} + j * {p.channels}];
            sum += value * weight[(c * 3 + i) * 4 + j];
          }}
        result[(y * {p.columns} + x) * {p.channels} + c] = {value};
      }}
}}"""
