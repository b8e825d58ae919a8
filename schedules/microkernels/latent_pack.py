"""Latents on their way out: float32 values, or a frozen stage's bytes, to packed integers of few bits.

The format is UINT-Q's, see `passes.quantized.uint_q`, and the order of the integers `latent_layout`'s.

Floats become bytes as `byte_conversion` says, with ones above integers of fewer bits. Four of them make a
word, from which those of the spread bits are taken off that are 0.

Bytes: a look-up each, then the same, but that the spread bits are added, as nothing is above the integers.

Blocks take 56 instructions for 16 values of 8 bits, 58 for 16 of 6, and 122 for 32 of 7 bits: on 8 cores at
most 2.29, 2.21 and 2.1 values a cycle. What goes to L2 takes 170 cycles after the last tile, and each tile
before it 100.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.byte_conversion import ROUNDING_DOWN, ByteConversion
from tvm_pulp.schedules.microkernels.forms import both_forms
from tvm_pulp.schedules.microkernels.latent_block import BlockCode, block_bytes, block_values, share
from tvm_pulp.schedules.microkernels.latent_layout import LatentLayout, bytes_in_lanes

_WORKING = 6
"""Registers for values beside the spread ones."""


@dataclass(frozen=True)
class PackSettings:
    """What the code depends on.

    Attributes
    ----------
    bits : int
        Q.
    zero_point : int
        The integer of 0.
    reciprocal : float
        The float32 that values are multiplied by; None where the source are bytes for a table.
    non_negative : bool
        Whether no value is below 0: then nothing is clipped from below.
    """

    bits: int
    zero_point: int
    reciprocal: float | None
    non_negative: bool = False

    @property
    def largest(self) -> int:
        """The largest integer."""
        return 2**self.bits - 1


def pack_source(s: PackSettings, *, assembly: bool) -> str:
    """Return C for ``latents_pack``, a worker's share of a tile of float32 values."""
    assert s.reciprocal is not None
    bounds = f"{-s.zero_point}, {s.largest - s.zero_point}"
    one = f"""\
/* The integer of a value, see uint_q. */
static inline uint32_t latents_quantize(float value) {{
  return (uint32_t)(pulp_quantize(value, {s.reciprocal.hex()}f, {bounds}) + {s.zero_point});
}}"""
    return _source(s, "float", one, "latents_quantize(values[{}])", "", assembly)


def repack_source(s: PackSettings, table: list[int], *, assembly: bool) -> str:
    """Return C for ``latents_pack``, a worker's share of a tile of bytes, and ``latents_table``.

    Parameters
    ----------
    s
        Settings without a reciprocal.
    table
        The integer for each of the 256 bytes.
    assembly
        Whether the target has Xpulp.
    """
    numbers = [f"  {', '.join(str(v) for v in table[i : i + 16])}" for i in range(0, 256, 16)]
    rows = ",\n".join(numbers)
    one = f"""\
static const uint8_t latents_integers[256] __attribute__((aligned(4))) = {{
{rows}}};

/* A worker's share of the table's way to L1, word by word. */
static void latents_table(int core, uint8_t *table) {{
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, 64);
  for (int32_t i = pulp_chunk(core, PULP_CORES, 64); i < end; ++i)
    __builtin_memcpy(table + 4 * i, latents_integers + 4 * i, 4);
}}"""
    return _source(s, "uint8_t", one, "(uint32_t)table[values[{}]]", "table", assembly)


def _plain(layout: LatentLayout, item: str, value: str, declared: str) -> tuple[str, str]:
    """Return plain C for values behind the last block, and for blocks."""
    bits, whole = layout.bits, layout.whole * layout.bits
    rest = f"""\
/* Values behind the last block: a stream of bits. */
static void latents_pack_rest(const {item} *values, uint8_t *packed, int32_t count{declared}) {{
  uint32_t stream = 0;
  int32_t filled = 0;
  for (int32_t i = 0; i < count; ++i) {{
    stream |= {value.format("i")} << filled;
    for (filled += {bits}; filled >= 8; filled -= 8, stream >>= 8) *packed++ = (uint8_t)stream;
  }}
  if (filled) *packed = (uint8_t)stream;
}}"""
    spread = ""
    if layout.rest:
        taken = value.format(f"4 * ({layout.spread.start} + place / {bits}) + lane")
        spread = f"""
      for (int32_t bit = 0; bit < {layout.rest}; ++bit) {{
        const int32_t place = byte / 4 * {layout.rest} + bit;
        integers |= ({taken} >> place % {bits} & 1) << ({whole} + bit);
      }}"""
    blocks = f"""\
static void latents_pack_blocks(const {item} *values, uint8_t *packed, int32_t blocks{declared}) {{
  const int32_t groups = blocks * {block_values(bits) // layout.values};
  for (int32_t g = 0; g < groups; ++g, packed += {4 * layout.words}, values += {layout.values})
    for (int32_t byte = 0; byte < {4 * layout.words}; ++byte) {{
      const int32_t lane = byte % 4;
      uint32_t integers = 0;
      for (int32_t i = 0; i < {layout.whole}; ++i)
        integers |= {value.format(f"4 * (byte / 4 * {layout.whole} + i) + lane")} << {bits} * i;{spread}
      packed[byte] = (uint8_t)integers;
    }}
}}"""
    return rest, blocks


def _source(s: PackSettings, item: str, one: str, value: str, table: str, assembly: bool) -> str:
    """Put the parts together: one value, the rest in plain C, blocks in assembly, and a worker's share."""
    declared, passed = (", const uint8_t *table", ", table") if table else ("", "")
    values, size = block_values(s.bits), block_bytes(s.bits)
    rest, blocks = _plain(LatentLayout(s.bits), item, value, declared)
    include = ""
    if assembly:
        include = '#include "pulp_assembly.h"\n\n'
        blocks = both_forms(_Block(s).source(), blocks)
    return f"""\
{include}{one}

{rest}

{blocks}

/* The share of worker `core` in a tile: blocks of {values}; the last worker, which may have one less, does
 * the rest, which need not fill a byte. Worker 0 needs the time of `driving` blocks for the DMA. */
static void latents_pack(int core, const void *tile, uint8_t *packed, int32_t count,
                         int32_t driving{declared}) {{
  const {item} *values = tile;
{share(values)}
  if (number > 0)
    latents_pack_blocks(values + first * {values}, packed + first * {size}, number{passed});
  if (core == PULP_CORES - 1 && count > blocks * {values})
    latents_pack_rest(values + blocks * {values}, packed + blocks * {size},
                      count - blocks * {values}{passed});
}}"""


class _Block(BlockCode):
    """The assembly of ``latents_pack_blocks``."""

    def __init__(self, s: PackSettings) -> None:
        self.s = s
        self.layout = layout = LatentLayout(s.bits)
        super().__init__(
            _WORKING + max(1, len(layout.spread)) + (layout.whole > 1),
            () if s.reciprocal is None else ("a3",),
        )
        self.has_ones = s.reciprocal is not None and self.layout.whole == 1 and s.bits < 8
        self.item_bytes = 1 if s.reciprocal is None else 4
        self.conversion = None
        if s.reciprocal is not None:
            self.conversion = ByteConversion(s.bits, s.zero_point, s.reciprocal, s.non_negative)

    def source(self) -> str:
        """Return C with the function."""
        values = block_values(self.s.bits)
        item, table = ("float", "") if self.s.reciprocal is not None else ("uint8_t", ", const uint8_t *")
        declaration = f"void latents_pack_blocks(const {item} *, uint8_t *, int32_t{table})"
        around = ROUNDING_DOWN if self.s.reciprocal is not None else ("", "")
        steps = (self.item_bytes * values, block_bytes(self.s.bits))
        return self.function("latents_pack_blocks", declaration, steps, around)

    def write(self) -> None:
        """Append the instructions for a block."""
        if self.layout.rest == 1:
            self.group_in_a_loop()
            return
        for number in range(block_values(self.s.bits) // self.layout.values):
            self.group(number)

    def group(self, group: int) -> None:
        """Write the way of a group, the spread values first."""
        layout, bits = self.layout, self.s.bits
        first, pieces = group * layout.values, layout.pieces()
        spread = {number: self.spread(first + 4 * number) for number in layout.spread}
        for number in range(layout.words):
            word = self.four(first + 4 * layout.whole * number)
            for place in range(1, layout.whole):
                further = self.four(first + 4 * (layout.whole * number + place))
                self.add("P_MAC", word, further, self.constant(1 << bits * place), accumulates=True)
                self.release(further)
            for piece in (piece for piece in pieces if piece.word == number):
                self.join(word, spread[piece.value], (2**piece.count - 1) << piece.first, piece.shift)
            self.store(word, 4 * (group * layout.words + number))
            self.release(word)
        self.release(*spread.values())

    def group_in_a_loop(self) -> None:
        """Write the way of a group of 7 bits in code that stays in the cache: three words are like the next.

        The spread values move down, so that the next three of their bits are always the lowest ones.
        """
        words = self.layout.words
        spread = self.spread(4 * words)
        for first, count, alike in ((0, 1, 1), (1, words // 3, 3)):
            if first:
                self.section(count, 12 * self.item_bytes, 12)
            for bit in range(alike):
                word = self.four(4 * (first + bit))
                self.join(word, spread, 1 << bit, 7 - bit)
                self.store(word, 4 * (first + bit))
                self.release(word)
            self.add("srli", spread, spread, alike)
        self.release(spread)

    def spread(self, value: int) -> str:
        """Write the way of four values whose bits are spread, and return where they are."""
        register = self.four(value)
        if self.has_ones:
            self.add("xori", register, register, -1)
        return register

    def join(self, word: str, spread: str, mask: int, shift: int) -> None:
        """Write how some bits of spread values join whole ones."""
        part = self.take()
        self.add("and", part, spread, self.constant(bytes_in_lanes(mask)))
        # ones are there where integers of the conversion were: what is to be 0 is taken off
        name = "P_MSU" if self.has_ones else "P_MAC"
        self.add(name, word, part, self.constant(1 << shift), accumulates=True)
        self.release(part)

    def four(self, value: int) -> str:
        """Write the way of four values, the first one of that number in the block, to the bytes of a word."""
        registers = [self.take() for _ in range(4)]
        for lane, register in enumerate(registers):
            self.load(register, self.item_bytes, self.item_bytes * (value + lane))
        word, low, further, high = registers
        if self.s.reciprocal is None:
            for register in registers:
                self.add("P_LBU_AT", register, register, "a3")
            self.add("PV_PACKLO_B", word, low, word, accumulates=True)
            self.add("PV_PACKHI_B", word, high, further, accumulates=True)
        else:
            assert self.conversion is not None
            self.conversion.bytes(self, registers)
            if self.layout.whole > 1:
                self.add("and", word, word, self.constant(bytes_in_lanes(self.s.largest)))
        self.release(low, further, high)
        return word
