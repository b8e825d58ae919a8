"""Quantised depthwise convolution in L1: strips of four columns of a channel's results, walked down its rows.

The image lies in words of four columns of a channel, ``[row][word][channel]`` (see ``byte_planes``), so that
the taps of a row of a window are one packed dot product. A strip loads the words that its windows need, with
words that straddle two of them put together in registers, and each row of the image goes into the sums of
all the results that it takes part in, which stay in registers. Results are stored byte by byte, as their
channels are innermost.

What bounds a 3x3 window, in instructions a result, all of one cycle: with stride 1 three dot products, 0.75
loads and shuffles, three for a requantisation by half words, a store, and 1.1 of the rearrangement: 8.9, at
most 8.1 MAC/cycle on 8 cores; with stride 2 loads and shuffles are 2.5 and the rearrangement 4.5: 14, at most
5.1. A channel of a strip adds 45, and the first tile's transfer and the last one's are not hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.byte_planes import BytePlanes, byte_planes_source
from tvm_pulp.schedules.microkernels.dot_panel import Epilogue
from tvm_pulp.schedules.microkernels.quantized_depthwise_assembly import STRIP, depthwise_strip_assembly

_STRUCT = """\
/* A strip of some neighbouring channels. */
struct depthwise_run {
  const uint32_t *image;  /* of the first channel: the strip's first word in the first row */
  uint8_t *result;        /* of the first channel: the strip's first column in the first row */
  const int8_t *weight;   /* of the first channel */
  const int32_t *bias;    /* of the first channel, the multipliers behind */
  int32_t channels;
  int32_t image_bytes;    /* of the rows that are read */
  int32_t result_bytes;   /* of the rows of results */
  int32_t rows;           /* of the results */
};"""


@dataclass(frozen=True)
class DepthwiseShape:
    """What the code depends on.

    Attributes
    ----------
    kernel, strides : pair of int
        Rows and columns of the window (at most 3 each), and its steps.
    channels : int
        Of a tile.
    columns : int
        Of the results.
    words : int
        Of a row of the image.
    rests : tuple of int
        What numbers of rows of results leave over after whole `rows_of_sums`, over all tiles.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    channels: int
    columns: int
    words: int
    rests: tuple[int, ...] = ()

    @property
    def pixel(self) -> int:
        """Words from a word of a channel to the next one in its row."""
        return -(-self.channels // 4) * 4

    @property
    def rows_of_sums(self) -> int:
        """Rows of results that a row of the image takes part in at most."""
        return -(-self.kernel[0] // self.strides[0])

    @property
    def widths(self) -> list[int]:
        """Columns of the strips that occur."""
        whole, rest = divmod(self.columns, STRIP)
        return [STRIP] * (whole > 0) + [rest] * (rest > 0)

    def words_of(self, width: int) -> int:
        """Return the words of a row that a strip needs."""
        return -(-((width - 1) * self.strides[1] + self.kernel[1]) // 4)

    def is_supported(self) -> bool:
        """Tell whether registers and immediate operands suffice."""
        rows, columns = self.kernel
        if not (self.strides[0] <= rows <= 3 and columns <= 3 and max(self.strides) <= 2):
            return False
        reach = (self.words_of(min(STRIP, self.columns)) - 1) * 4 * self.pixel
        return reach <= 2047 and (STRIP - 1) * self.channels <= 2047


def quantized_depthwise_source(s: DepthwiseShape, p: BytePlanes, e: Epilogue, *, assembly: bool) -> str:
    """Return C for ``byte_planes`` and ``quantized_depthwise_tile``, a worker's shares of a tile.

    Parameters
    ----------
    s, p
        Of the convolution, and of the image's rearrangement.
    e
        From sums to bytes.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    strips = "\n\n".join(_strip_c(s, e, width) for width in s.widths)
    if assembly:
        code = "\n\n".join(depthwise_strip_assembly(s, e, width) for width in s.widths)
        strips = f"#if PULP_ASSEMBLY\n\n{code}\n\n#else\n\n{strips}\n\n#endif"
    include = '#include "pulp_assembly.h"\n\n' if assembly else ""
    return f"""\
{include}{byte_planes_source(p, assembly=assembly)}

{_STRUCT}

{strips}

{_share(s)}"""


def _share(s: DepthwiseShape) -> str:
    """Return C that shares out a tile: channels where strips differ in width, else strips too."""
    whole, rest = divmod(s.columns, STRIP)
    strips = whole + (rest > 0)
    run = f"""\
    struct depthwise_run run = {{
        .image = planes + strip * {s.strides[1] * s.pixel} + channel,
        .result = result + strip * {STRIP * s.channels} + channel,
        .weight = weight + channel * {4 * s.kernel[0]},
        .bias = bias + channel,
        .channels = channels,
        .image_bytes = (rows * {s.strides[0]} + {s.kernel[0] - s.strides[0]}) * {4 * s.words * s.pixel},
        .result_bytes = rows * {s.columns * s.channels},
        .rows = rows}};"""
    head = """\
static void quantized_depthwise_tile(int core, const uint32_t *planes, const int8_t *weight,
                                     const int32_t *bias, uint8_t *result, int32_t rows) {"""
    if whole and rest:
        return f"""\
/* The share of worker `core` in rows x {s.columns} x {s.channels} results: some channels, in strips of
 * {STRIP} columns and one of {rest}. */
{head}
  const int32_t channel = pulp_chunk(core, PULP_CORES, {s.channels});
  const int32_t channels = pulp_chunk(core + 1, PULP_CORES, {s.channels}) - channel;
  for (int32_t strip = 0; channels > 0 && strip < {strips}; ++strip) {{
{run}
    if (strip < {whole}) depthwise_strip_{STRIP}(&run);
    else depthwise_strip_{rest}(&run);
  }}
}}
"""
    return f"""\
/* The share of worker `core` in rows x {s.columns} x {s.channels} results: strips of {rest or STRIP} columns,
 * some channels of one after the other. */
{head}
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, {strips * s.channels});
  for (int32_t at = pulp_chunk(core, PULP_CORES, {strips * s.channels}); at < end;) {{
    const int32_t strip = at / {s.channels}, channel = at - strip * {s.channels};
    const int32_t channels = pulp_min({s.channels} - channel, end - at);
{run}
    at += channels;
    depthwise_strip_{rest or STRIP}(&run);
  }}
}}
"""


def _strip_c(s: DepthwiseShape, e: Epilogue, width: int) -> str:
    """Return the same function in plain C."""
    vectors = (f"run->bias[c + {number * e.multipliers // 4}]" for number in (1, 2))
    return f"""\
static void depthwise_strip_{width}(const struct depthwise_run *run) {{
  for (int32_t c = 0; c < run->channels; ++c) {{
    const uint32_t *image = run->image + c;
    uint8_t *const end = run->result + c + run->result_bytes;
    for (uint8_t *result = run->result + c; result != end; result += {s.columns * s.channels}) {{
      for (int32_t x = 0; x < {width}; ++x) {{
        int32_t sum = run->bias[c];
        for (int32_t i = 0; i < {s.kernel[0]}; ++i)
          for (int32_t j = 0; j < {s.kernel[1]}; ++j) {{
            const int32_t column = x * {s.strides[1]} + j;
            const uint32_t word = image[(i * {s.words} + column / 4) * {s.pixel}];
            sum += (int32_t)(word >> column % 4 * 8 & 255) * run->weight[(c * {s.kernel[0]} + i) * 4 + j];
          }}
        result[x * {s.channels}] = {e.c_value("sum", *vectors)};
      }}
      image += {s.strides[0] * s.words * s.pixel};
    }}
  }}
}}"""
