"""Latents on their way in: densely packed integers of few bits to float32 values.

The order of the integers is `latent_layout`'s. No integer is converted: a byte q below the upper bytes of the
float ``2^23`` *is* the float ``2^23 + q``, and one fused multiply-add takes 2^23 off and scales, rounding
once. So a value takes three instructions: a byte is put below such upper bytes, the product, and a store. A
mask keeps the whole values of a word, four at once; what is above them is the spread values', which grow in a
register, shifted down as their next bits are added.

Blocks take 52 instructions for 16 values of 8 bits, 59 for 16 of 6, and 124 for 32 of 7 bits, where each word
yields four bits of the spread values, in three instructions: on 8 cores at most 2.46, 2.17 and 2.06 values a
cycle. Of 8192 values, those that come from L2 wait 190 cycles for the first tile, and 100 more for a second.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import float_bits
from tvm_pulp.schedules.microkernels.forms import both_forms
from tvm_pulp.schedules.microkernels.latent_block import BlockCode, block_bytes, block_values, share
from tvm_pulp.schedules.microkernels.latent_layout import LatentLayout, bytes_in_lanes

SELECTORS = (0x03020104, 0x03020105, 0x03020106, 0x03020107)
"""Lane → the three upper bytes of the one register above the lane's byte of the other one."""

FLOAT_BASE = 2.0**23

_WORKING, _LEAST_WORKING = 6, 6
"""Registers for values beside the spread ones; for all in a group of 7 bits."""


@dataclass(frozen=True)
class UnpackSettings:
    """What the code depends on.

    Attributes
    ----------
    bits : int
        Q.
    zero_point : int
        The integer of 0.
    scale : float
        S, a float32.
    """

    bits: int
    zero_point: int
    scale: float


def unpack_source(s: UnpackSettings, *, assembly: bool) -> str:
    """Return C for ``latents_unpack``, a worker's share of a tile."""
    layout, values, size = LatentLayout(s.bits), block_values(s.bits), block_bytes(s.bits)
    blocks = _plain_blocks(layout, values)
    include = ""
    if assembly:
        include = '#include "pulp_assembly.h"\n\n'
        blocks = both_forms(_Block(s).source(), blocks)
    offset = f" - {s.zero_point}" if s.zero_point else ""
    return f"""\
{include}static inline float latents_dequantize(uint32_t integer) {{
  return (float)((int32_t)integer{offset}) * {s.scale.hex()}f;
}}

/* Values behind the last block: a stream of bits. */
static void latents_unpack_rest(const uint8_t *packed, float *values, int32_t count) {{
  uint32_t stream = 0;
  int32_t filled = 0;
  for (int32_t i = 0; i < count; ++i, stream >>= {s.bits}, filled -= {s.bits}) {{
    for (; filled < {s.bits}; filled += 8) stream |= (uint32_t)*packed++ << filled;
    values[i] = latents_dequantize(stream & {2**s.bits - 1});
  }}
}}

{blocks}

/* The share of worker `core` in a tile: blocks of {values} values; the last worker, which may have one less,
 * does the rest, which need not fill a byte. Worker 0 needs the time of `driving` blocks for the DMA. */
static void latents_unpack(int core, const uint8_t *packed, float *values, int32_t count,
                           int32_t driving) {{
{share(values)}
  if (core == PULP_CORES - 1 && count > blocks * {values})
    latents_unpack_rest(packed + blocks * {size}, values + blocks * {values}, count - blocks * {values});
  if (number > 0) latents_unpack_blocks(packed + first * {size}, values + first * {values}, number);
}}"""


def _plain_blocks(layout: LatentLayout, values: int) -> str:
    spread = ""
    if layout.rest:
        spread = f"""
      for (int32_t i = {layout.spread.start}; i < {layout.lane_values}; ++i) {{
        uint32_t integer = 0;
        for (int32_t bit = 0; bit < {layout.bits}; ++bit) {{
          const int32_t place = (i - {layout.spread.start}) * {layout.bits} + bit;
          const uint32_t byte = packed[4 * (place / {layout.rest}) + lane];
          integer |= (byte >> ({layout.whole * layout.bits} + place % {layout.rest}) & 1) << bit;
        }}
        values[4 * i + lane] = latents_dequantize(integer);
      }}"""
    return f"""\
static void latents_unpack_blocks(const uint8_t *packed, float *values, int32_t blocks) {{
  const int32_t groups = blocks * {values // layout.values};
  for (int32_t g = 0; g < groups; ++g, packed += {4 * layout.words}, values += {layout.values})
    for (int32_t lane = 0; lane < 4; ++lane) {{
      for (int32_t i = 0; i < {layout.spread.start}; ++i) {{
        const uint32_t byte = packed[4 * (i / {layout.whole}) + lane];
        values[4 * i + lane] = latents_dequantize(byte >> i % {layout.whole} * {layout.bits} & \
{2**layout.bits - 1});
      }}{spread}
    }}
}}"""


class _Block(BlockCode):
    """The assembly of ``latents_unpack_blocks``."""

    def __init__(self, s: UnpackSettings) -> None:
        self.s = s
        self.layout = layout = LatentLayout(s.bits)
        super().__init__(_LEAST_WORKING if layout.rest == 1 else _WORKING + len(layout.spread), ("a3",))

    def source(self) -> str:
        """Return C with the function."""
        values = block_values(self.s.bits)
        declaration = "void latents_unpack_blocks(const uint8_t *, float *, int32_t)"
        steps = (block_bytes(self.s.bits), 4 * values)
        return self.function("latents_unpack_blocks", declaration, steps, ("", ""))

    def write(self) -> None:
        """Append the instructions for a block."""
        self.float = self.preset(float_bits(FLOAT_BASE))
        for number in range(block_values(self.s.bits) // self.layout.values):
            if self.layout.rest == 1:
                self.group_in_a_loop()
            else:
                self.group(number)

    def group(self, group: int) -> None:
        """Write the way of a group."""
        layout = self.layout
        spread: dict[int, str] = {}
        word = self.load_word(group * layout.words)
        for number in range(layout.words):
            # a word is there before it is used
            following = self.load_word(group * layout.words + number + 1) if number + 1 < layout.words else ""
            pieces = [i for i, piece in enumerate(layout.pieces()) if piece.word == number]
            begins = len(pieces) == 1 and layout.pieces()[pieces[0]].first == 0 and layout.whole == 1
            if begins:
                value = layout.pieces()[pieces[0]].value
                word, spread[value] = self.part_word(word, self.down(pieces[0]))
            else:
                for index in pieces:
                    self.gather(word, index, spread)
            for place in range(layout.whole):
                alone = word if begins else self.whole(word, place)
                self.finish(alone, group * layout.values + 4 * (layout.whole * number + place))
                self.release(alone)
            word = following
        for number, register in spread.items():
            self.finish(register, group * layout.values + 4 * number)
            self.release(register)

    def load_word(self, number: int) -> str:
        """Write the load of a word of the block, and return where it is."""
        word = self.take()
        self.load(word, 4, 4 * number)
        return word

    def group_in_a_loop(self) -> None:
        """Write the way of a group of 7 bits, whose words are alike, in code that stays in the cache."""
        words = self.layout.words
        word, following = self.load_word(0), self.load_word(1)
        alone, spread = self.part_word(word, 1)
        self.finish(alone, 0)
        self.release(alone)
        for first, count in ((1, words - 2), (words - 1, 1)):
            self.section(count, 4, 16)
            part = self.take()
            self.add("and", part, following, self.constant(bytes_in_lanes(0x80)))
            alone = self.take()
            self.add("and", alone, following, self.constant(bytes_in_lanes(0x7F)))
            is_last = first + count == words
            if is_last:
                self.add("P_ADDU_SHIFT", spread, spread, part, 1)
            else:
                self.load(following, 4, 4 * (first + 1))
            self.finish(alone, 4 * first)
            if not is_last:  # at the end: the products are in the same of every other cycle in all sections
                self.add("P_ADDU_SHIFT", spread, spread, part, 1)
            self.release(alone, part)
        self.finish(spread, 4 * words)
        self.release(following, spread)

    def part_word(self, word: str, down: int) -> tuple[str, str]:
        """Write how a word becomes its whole values and the bits above them, shifted; return both."""
        alone, spread = self.take(), self.take()
        self.add("and", alone, word, self.constant(bytes_in_lanes(2**self.layout.bits - 1)))
        self.add("P_SUBU_SHIFT", spread, word, alone, down)
        self.release(word)
        return alone, spread

    def whole(self, word: str, place: int) -> str:
        """Write how the whole values at a place of all bytes stay alone, and return where they are."""
        layout = self.layout
        if layout.bits == 8:
            return word
        is_last = place == layout.whole - 1
        alone, of = (word if is_last else self.take()), word
        if place:
            self.add("srli", alone, word, place * layout.bits)
            of = alone
        self.add("and", alone, of, self.constant(bytes_in_lanes(2**layout.bits - 1)))
        return alone

    def down(self, index: int) -> int:
        """Return how far a spread value moves down when it has got a piece."""
        piece, *following = self.layout.pieces()[index : index + 2]
        goes_on = bool(following) and following[0].value == piece.value
        return piece.shift - (following[0].shift if goes_on else 0)

    def gather(self, word: str, index: int, spread: dict[int, str]) -> None:
        """Write how a spread value gets its next bits, and moves down to where those after them are added."""
        piece = self.layout.pieces()[index]
        mask = self.constant(bytes_in_lanes((2**piece.count - 1) << piece.at))
        part = self.take()
        self.add("and", part, word, mask)
        if piece.first == 0:
            spread[piece.value] = self.take()
            self.add("srli", spread[piece.value], part, self.down(index))
        else:
            self.add("P_ADDU_SHIFT", spread[piece.value], spread[piece.value], part, self.down(index))
        self.release(part)

    def finish(self, word: str, value: int) -> None:
        """Write the way from four bytes to values, which have these numbers in the block from `value` on."""
        for lane in (0, 2):
            results = [self.take(), self.take()]
            for i, result in enumerate(results):
                selectors = self.constant(SELECTORS[lane + i])
                self.add("PV_SHUFFLE2_B", self.float, word, selectors, accumulates=True)
                scale = self.constant(float_bits(self.s.scale))
                if self.s.zero_point:
                    zero = self.constant(float_bits(FLOAT_BASE + self.s.zero_point))
                    self.add("fsub.s", result, self.float, zero)
                    self.add("fmul.s", result, result, scale)
                else:
                    off = self.constant(float_bits(-FLOAT_BASE * self.s.scale))
                    self.add("fmadd.s", result, self.float, scale, off)
            for i, result in enumerate(results):
                self.store(result, 4 * (value + lane + i))
            self.release(*results)
