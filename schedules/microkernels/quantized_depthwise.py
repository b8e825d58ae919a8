"""Quantised depthwise convolution in L1: strips of some columns of a channel's results, walked down its rows.

The image lies in words of four columns of a channel, ``[row][word][channel]`` (see ``byte_planes``), so that
four taps of a row of a window are one packed dot product. A strip loads the words that its windows need, with
words that straddle two of them put together in registers. Results are stored byte by byte, as their channels
are innermost.

Of windows up to 3x3 a strip has four columns, and each row of the image goes into the sums of all the results
that it takes part in, which stay in registers, as the weights do. Of larger ones a strip is wider, and a loop
over the window's rows sums up one row of results after the other; it loads a row's weights for all columns.
Dilated windows are taken apart into convolutions without dilation, see `DepthwiseShape`.

What bounds them, in instructions a result, all of one cycle, with three for a requantisation by half words,
one for the store and 1.1 of the rearrangement with stride 1, 4.5 with stride 2:

- 3x3: with stride 1 three dot products and 0.75 loads and shuffles: 8.9, at most 8.1 MAC/cycle on 8 cores;
  with stride 2 loads and shuffles are 2.5: 14, at most 5.1 (3x3 is left to `depthwise_pairs`, with 12.25);
- 5x5: with stride 1, in strips of eight columns, ten dot products, seven for loads, shuffles and shifted
  weights, two to start: 24, at most 8.3; 7x7: 32, at most 12.2.

A channel of a strip adds 45, and the first tile's transfer and the last one's are not hidden.
"""

from __future__ import annotations

from textwrap import indent

from tvm_pulp.schedules.microkernels.byte_planes import BytePlanes, byte_planes_source
from tvm_pulp.schedules.microkernels.dot_panel import Epilogue
from tvm_pulp.schedules.microkernels.forms import both_forms
from tvm_pulp.schedules.microkernels.quantized_depthwise_kept_sums import KeptSumsWriter
from tvm_pulp.schedules.microkernels.quantized_depthwise_shape import DepthwiseShape
from tvm_pulp.schedules.microkernels.quantized_depthwise_window_loop import WindowLoopWriter

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
        writer = KeptSumsWriter if s.keeps_sums else WindowLoopWriter
        code = "\n\n".join(writer(s, e, width).write() for width in s.widths)
        strips = both_forms(code, strips)
    include = '#include "pulp_assembly.h"\n\n' if assembly else ""
    return f"""\
{include}{byte_planes_source(p, assembly=assembly)}

{_STRUCT}

{strips}

{_share(s)}"""


def _share(s: DepthwiseShape) -> str:
    """Return C that shares out a tile: channels of classes; where strips are alike, those one by one."""
    strip, widths = s.strip, s.widths
    head = """\
static void quantized_depthwise_tile(int core, const uint32_t *planes, const int8_t *weight,
                                     const int32_t *bias, uint8_t *result, int32_t rows) {"""
    if len(widths) == 1 and s.classes == (1, 1):
        strips = -(-s.columns // strip)
        return f"""\
/* The share of worker `core` in rows x {s.columns} x {s.channels} results: strips of {widths[0]} columns,
 * some channels of one after the other. */
{head}
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, {strips * s.channels});
  for (int32_t at = pulp_chunk(core, PULP_CORES, {strips * s.channels}); at < end;) {{
    const int32_t strip = at / {s.channels}, channel = at - strip * {s.channels};
    const int32_t channels = pulp_min({s.channels} - channel, end - at);
{_run(s, "planes", "result", "rows")}
    at += channels;
    depthwise_strip_{widths[0]}(&run);
  }}
}}
"""
    y_classes, x_classes = s.classes
    side = len(s.columns_of_classes)
    total = f"pulp_min(rows, {y_classes}) * {side * s.channels}"
    row, column = s.strides[0] * s.words_of_row * s.pixel, s.words * s.pixel
    *wider, narrowest = widths
    calls = "      else ".join(f"if (width == {width}) depthwise_strip_{width}(&run);\n" for width in wider)
    calls = f"      {calls}      else " if wider else "      "
    width = f"      const int32_t width = pulp_min({strip}, extent - strip * {strip});\n" if wider else ""
    classes = f"""
 * Those whose windows begin at equal places modulo the dilation, every row of {y_classes} and every column of
 * {x_classes}, are a convolution by themselves."""
    return f"""\
/* The share of worker `core` in rows x {s.columns} x {s.channels} results: some channels, in strips of
 * {" or ".join(map(str, widths))} columns.{classes if s.classes != (1, 1) else ""} */
{head}
  const int32_t total = {total}, end = pulp_chunk(core + 1, PULP_CORES, total);
  for (int32_t at = pulp_chunk(core, PULP_CORES, total); at < end;) {{
    const int32_t number = at / {s.channels}, y = number / {side}, x = number - y * {side};
    const int32_t channel = at - number * {s.channels}, channels = pulp_min({s.channels} - channel, end - at);
    const int32_t height = (rows - 1 - y) / {y_classes} + 1, extent = ({s.columns - 1} - x) / {x_classes} + 1;
    const uint32_t *const image = planes + y * {row} + x * {column};
    uint8_t *const first = result + y * {s.columns * s.channels} + x * {s.channels};
    for (int32_t strip = 0; strip * {strip} < extent; ++strip) {{
{width}{indent(_run(s, "image", "first", "height"), "  ")}
{calls}depthwise_strip_{narrowest}(&run);
    }}
    at += channels;
  }}
}}
"""


def _run(s: DepthwiseShape, image: str, result: str, rows: str) -> str:
    """Return C that defines the run of a strip; the arguments are expressions."""
    return f"""\
    struct depthwise_run run = {{
        .image = {image} + strip * {s.strip // 4 * s.steps[1] * s.pixel} + channel,
        .result = {result} + strip * {s.strip * s.column_distance} + channel,
        .weight = weight + channel * {4 * s.kernel[0] * s.weight_words},
        .bias = bias + channel,
        .channels = channels,
        .image_bytes = ({rows} * {s.steps[0]} + {s.read_rows}) * {s.image_pitch},
        .result_bytes = {rows} * {s.result_pitch},
        .rows = {rows}}};"""


def _strip_c(s: DepthwiseShape, e: Epilogue, width: int) -> str:
    """Return the same function in plain C."""
    vectors = (f"run->bias[c + {number * e.multipliers // 4}]" for number in (1, 2))
    return f"""\
static void depthwise_strip_{width}(const struct depthwise_run *run) {{
  for (int32_t c = 0; c < run->channels; ++c) {{
    const uint32_t *image = run->image + c;
    uint8_t *const end = run->result + c + run->result_bytes;
    for (uint8_t *result = run->result + c; result != end; result += {s.result_pitch}) {{
      for (int32_t x = 0; x < {width}; ++x) {{
        int32_t sum = run->bias[c];
        for (int32_t i = 0; i < {s.kernel[0]}; ++i)
          for (int32_t j = 0; j < {s.kernel[1]}; ++j) {{
            const int32_t column = x * {s.steps[1]} + j;
            const uint32_t word = image[i * {s.image_pitch // 4} + column / 4 * {s.pixel}];
            const int8_t weight = run->weight[(c * {s.kernel[0]} + i) * {4 * s.weight_words} + j];
            sum += (int32_t)(word >> column % 4 * 8 & 255) * weight;
          }}
        result[x * {s.column_distance}] = {e.c_value("sum", *vectors)};
      }}
      image += {s.steps[0] * s.image_pitch // 4};
    }}
  }}
}}"""
