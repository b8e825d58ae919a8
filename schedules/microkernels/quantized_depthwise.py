"""Quantised depthwise convolution in L1: strips of four columns of a channel's results, walked down its rows.

The image lies in words of four columns of a channel, ``[row][word][channel]`` (see ``byte_planes``), so that
the taps of a row of a window are one packed dot product. A strip loads the words that its windows need, with
words that straddle two of them put together in registers, and each row of the image goes into the sums of
all the results that it takes part in, which stay in registers. Results are stored byte by byte, as their
channels are innermost.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.byte_planes import BytePlanes, byte_planes_source
from tvm_pulp.schedules.microkernels.dot_panel import Epilogue

STRIP = 4
"""Columns of the results that are computed side by side."""

_SUMS = ("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")
_WEIGHTS = ("a2", "a3", "a4", "a5", "a6", "a7")
_WORDS = ("t0", "t1", "t2")
_MULTIPLIER, _CONSTANT, _ZERO_POINT = "t4", "t5", "a1"
_IN_PITCH, _OUT_PITCH = "t6", "ra"
_IN, _OUT, _END = "gp", "tp", "a0"
_HALVES = "t3"
_SAVED = ("ra", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "gp", "tp")
_FRAME = 80
_RUN = 60

_FIELDS = ("image", "result", "weight", "bias", "channels", "result_bytes")

_STRUCT = """\
/* A strip of some neighbouring channels. */
struct depthwise_run {
  const uint32_t *image;  /* of the first channel: the strip's first word in the first row */
  uint8_t *result;        /* of the first channel: the strip's first column in the first row */
  const int8_t *weight;   /* of the first channel */
  const int32_t *bias;    /* of the first channel, the multipliers behind */
  int32_t channels;
  int32_t result_bytes;   /* from the first row of the results to behind the last one */
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
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    channels: int
    columns: int
    words: int

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
        code = "\n\n".join(_StripWriter(s, e, width).write() for width in s.widths)
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
        .result_bytes = rows * {s.columns * s.channels}}};"""
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


class _StripWriter:
    """Writes the function of strips of a width."""

    def __init__(self, s: DepthwiseShape, e: Epilogue, width: int) -> None:
        self.s, self.e, self.width = s, e, width
        self.text = AssemblyText()
        self.words = s.words_of(width)

    def write(self) -> str:
        """Return C with the function."""
        text, s, name = self.text, self.s, f"depthwise_strip_{self.width}"
        text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
        text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
        text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)), f"sw a0, {_RUN}(sp)")
        text.add(f"li {_IN_PITCH}, {4 * s.pixel * s.words}", f"li {_OUT_PITCH}, {s.columns * s.channels}")
        text.add(f"li {_HALVES}, 0x00020001")
        text.add("1:")
        self.start_channel()
        for row in range(s.kernel[0] - s.strides[0]):
            self.image_row(row)
        text.add("2:")
        for row in range(s.rows_of_sums):
            for above in range(s.strides[0], 0, -1):
                self.image_row(row * s.strides[0] + s.kernel[0] - above)
            self.requantize(row)
            branch = "beq" if row < s.rows_of_sums - 1 else "bne"
            text.add(f"{branch} {_OUT}, {_END}, {'3f' if branch == 'beq' else '2b'}")
        text.add(
            "3:", f"lw a0, {_RUN}(sp)", _field("a1", "channels"), "addi a1, a1, -1", _set("a1", "channels")
        )
        text.add("bnez a1, 1b")
        text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
        text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {name}, .-{name}", ".option pop", ".popsection")
        return f"void {name}(struct depthwise_run *);\n__asm__(\n{text}\n);"

    def start_channel(self) -> None:
        """Load what belongs to a channel, and move the run's pointers on to the next one."""
        text, s, e = self.text, self.s, self.e
        text.add(f"lw a0, {_RUN}(sp)")
        text.add(_field(_IN, "image"), _field(_OUT, "result"), _field("t0", "weight"), _field("t1", "bias"))
        text.add(f"addi t2, {_IN}, 4", _set("t2", "image"), f"addi t2, {_OUT}, 1", _set("t2", "result"))
        text.add(
            f"addi t2, t0, {4 * s.kernel[0]}", _set("t2", "weight"), "addi t2, t1, 4", _set("t2", "bias")
        )
        text.add(*(f"lw {_WEIGHTS[i]}, {4 * i}(t0)" for i in range(s.kernel[0])))
        text.add(_field("t0", "result_bytes"), "lw t2, 0(t1)")
        if e.multipliers <= 2047:
            text.add(f"lw {_MULTIPLIER}, {e.multipliers}(t1)")
        else:
            text.add(
                f"li {_MULTIPLIER}, {e.multipliers}", f"add t1, t1, {_MULTIPLIER}", f"lw {_MULTIPLIER}, 0(t1)"
            )
        if s.strides[1] == 1:  # the windows of the second and fourth column start in a word's second byte
            text.add(*(f"slli {_WEIGHTS[3 + i]}, {_WEIGHTS[i]}, 8" for i in range(s.kernel[0])))
        if e.narrow:  # what the product of a sum, without bias, is added to
            text.add(f"li {_CONSTANT}, {e.zero_point << e.shift}")
            text.add(f"P_MAC({_CONSTANT}, t2, {_MULTIPLIER})")
        else:
            text.add(f"mv {_CONSTANT}, t2")
            if e.short:
                text.add(f"PV_PACK_H({_MULTIPLIER}, {_MULTIPLIER}, {_MULTIPLIER})")
            elif e.zero_point:
                text.add(f"li {_ZERO_POINT}, {e.zero_point << (e.shift - 32)}")
        text.add(f"add {_END}, {_OUT}, t0")
        if self.words > 1:  # the pointer is at the last word, whose load moves it on
            text.add(f"addi {_IN}, {_IN}, {(self.words - 1) * 4 * s.pixel}")

    def image_row(self, row: int) -> None:
        """Add a row's products to the sums of its windows."""
        s, text = self.s, self.text
        rows = []  # rows of sums that it belongs to, and its row in their windows
        for result in range(row // s.strides[0] + 1):
            tap = row - result * s.strides[0]
            if 0 <= tap < s.kernel[0]:
                rows.append((result % s.rows_of_sums, tap))
        words = _WORDS[: self.words]
        pixel = 4 * s.pixel
        text.add(*(f"lw {w}, {(i - self.words + 1) * pixel}({_IN})" for i, w in enumerate(words[:-1])))
        text.add(f"P_LWR({words[-1]}, {_IN_PITCH}, {_IN})")
        straddles = False
        for column in range(self.width):
            number, byte = divmod(column * s.strides[1], 4)
            if byte >= 2 and not straddles:
                text.add(self.straddle(number))
            straddles = byte >= 2
            for sums, tap in rows:
                weight = _WEIGHTS[tap + (3 if byte % 2 else 0)]
                dot = "PV_DOTUSP_B" if tap == 0 else "PV_SDOTUSP_B"
                text.add(f"{dot}({_SUMS[STRIP * sums + column]}, {words[number]}, {weight})")

    def straddle(self, number: int) -> str:
        """Return the instruction that puts a word's upper half below the lower half of the next one."""
        word = _WORDS[number]
        if number + 1 == self.words:
            return f"srli {word}, {word}, 16"
        return f"PV_SHUFFLE2_H({word}, {_WORDS[number + 1]}, {_HALVES})"

    def requantize(self, row: int) -> None:
        """Turn a row of sums into bytes and store them, the first column last: that moves the pointer on."""
        text, e = self.text, self.e
        sums = _SUMS[STRIP * row : STRIP * row + self.width]
        if not e.narrow:
            text.add(*(f"add {total}, {total}, {_CONSTANT}" for total in sums))
        if e.short:
            for i, total in enumerate(sums):
                value = ("t0", "t1")[i % 2]
                text.add(f"P_MULU_SHIFT({value}, {total}, {_MULTIPLIER}, 16)")
                text.add(f"P_MACHHS_ROUND({value}, {total}, {_MULTIPLIER}, {e.shift - 16})")
                text.add(*([f"addi {value}, {value}, {e.zero_point}"] if e.zero_point else []))
                text.add(f"P_CLIPU({total}, {value}, 9)")
        else:
            product, added, shift = "mul", _CONSTANT, e.shift
            if not e.narrow:
                product, added, shift = "mulh", _ZERO_POINT if e.zero_point else "zero", e.shift - 32
            text.add(*(f"{product} {total}, {total}, {_MULTIPLIER}" for total in sums))
            text.add(*(f"P_ADDRN({total}, {total}, {added}, {shift})" for total in sums))
            text.add(*(f"P_CLIPU({total}, {total}, 9)" for total in sums))
        for name, bound, neutral in (("MAX", e.low, 0), ("MIN", e.high, 255)):
            if bound != neutral:
                text.add(f"li t0, {bound}", *(f"P_{name}({total}, {total}, t0)" for total in sums))
        for column in range(1, self.width):
            text.add(f"sb {sums[column]}, {column * self.s.channels}({_OUT})")
        text.add(f"P_SBR({sums[0]}, {_OUT_PITCH}, {_OUT})")


def _field(register: str, name: str) -> str:
    return f"lw {register}, {4 * _FIELDS.index(name)}(a0)"


def _set(register: str, name: str) -> str:
    return f"sw {register}, {4 * _FIELDS.index(name)}(a0)"


def _strip_c(s: DepthwiseShape, e: Epilogue, width: int) -> str:
    """Return the same function in plain C."""
    value = f"pulp_requantize(sum, run->bias[c + {e.multipliers // 4}], {e.shift}) + {e.zero_point}"
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
        result[x * {s.channels}] = pulp_min(pulp_max({value}, {e.low}), {e.high});
      }}
      image += {s.strides[0] * s.words * s.pixel};
    }}
  }}
}}"""
