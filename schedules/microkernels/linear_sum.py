"""``clip((ml * l + mr * r + offset) >> shift, low, high)`` of bytes, four of each operand from a word.

Two words become two of pairs, ``(l0, l1, r0, r1)`` and ``(l2, l3, r2, r3)``: each is summed by dot products.
Multipliers of 8 bits meet the bytes of a pair themselves, zeros the others. With 16 bits, the bytes that are
even and those that are odd are made half words. More bits are two such products, the upper one shifted up.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.forms import both_forms
from tvm_pulp.schedules.microkernels.latent_block import BlockCode, share

BLOCK = 8
"""Values of a pass of the loop in assembly: few, as a network's layer finds the instruction cache cold."""

_NAME = "linear_sum_blocks"
_WORKING = 9
_EVEN_BYTES = 0x00FF00FF
_HIGH_HALVES = 0x00030001
"""Selectors: the high halves of the old register, and of the other one."""
_LOW_BITS = 12
"""Bits of the lower product where multipliers have more than 16."""
_BYTE_BITS = 9
"""What P_CLIPU calls 0 to 255."""


@dataclass(frozen=True)
class LinearSumSettings:
    """What the code depends on; sums have 32 bits with signs.

    Attributes
    ----------
    left, right : int
        Multipliers.
    offset : int
        With the zero points and what rounds.
    shift : int
        0 to 30.
    low, high : int
        Least and greatest result, within 0 to 255.
    """

    left: int
    right: int
    offset: int
    shift: int
    low: int
    high: int

    @property
    def has_signs(self) -> bool:
        """Whether a multiplier is negative."""
        return min(self.left, self.right) < 0

    @property
    def bits(self) -> int:
        """Bits of the multipliers, 8, 16 or 32, with signs if one is negative."""
        for bits in (8, 16):
            least, most = (-(1 << bits) >> 1, (1 << bits) >> 1) if self.has_signs else (0, 1 << bits)
            if all(least <= multiplier < most for multiplier in (self.left, self.right)):
                return bits
        return 32

    @property
    def instructions(self) -> float:
        """Instructions a value of the assembly: see `_Block`."""
        extracts = {8: 0, 16: 1, 32: 3}[self.bits]
        return 4.75 + extracts + (0 if (self.low, self.high) == (0, 255) else 1)


def linear_sum_source(s: LinearSumSettings, *, assembly: bool) -> str:
    """Return C for ``linear_sum_tile``, a worker's share of a tile.

    Parameters
    ----------
    s
        The settings.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    blocks = f"""\
static void {_NAME}(const uint8_t *left, uint8_t *result, int32_t blocks, const uint8_t *right) {{
  linear_sum_some(left, right, result, {BLOCK} * blocks);
}}"""
    include = ""
    if assembly:
        include = '#include "pulp_assembly.h"\n\n'
        blocks = both_forms(_Block(s).source(), blocks)
    return f"""\
{include}static void linear_sum_some(const uint8_t *left, const uint8_t *right, uint8_t *result,
                                     int32_t count) {{
  for (int32_t i = 0; i < count; ++i) {{
    const int32_t value = (left[i] * {s.left} + right[i] * {s.right} + {s.offset}) >> {s.shift};
    result[i] = (uint8_t)pulp_min(pulp_max(value, {s.low}), {s.high});
  }}
}}

{blocks}

/* The share of worker `core` in a tile: blocks of {BLOCK}; the last worker, which may have one less, does the
 * rest. Worker 0 needs the time of `driving` blocks for the DMA. */
static void linear_sum_tile(int core, const uint8_t *left, const uint8_t *right, uint8_t *result,
                            int32_t count, int32_t driving) {{
{share(BLOCK)}
  if (number > 0)
    {_NAME}(left + {BLOCK} * first, result + {BLOCK} * first, number, right + {BLOCK} * first);
  if (core == PULP_CORES - 1 && count > {BLOCK} * blocks)
    linear_sum_some(left + {BLOCK} * blocks, right + {BLOCK} * blocks, result + {BLOCK} * blocks,
                    count - {BLOCK} * blocks);
}}"""


class _Block(BlockCode):
    """The assembly of a block: left in a0, result in a1, right in a3."""

    def __init__(self, s: LinearSumSettings) -> None:
        super().__init__(_WORKING, sources=("a0", "a3"))
        self.s = s

    def source(self) -> str:
        """Return C with the function."""
        declaration = f"void {_NAME}(const uint8_t *, uint8_t *, int32_t, const uint8_t *)"
        return self.function(_NAME, declaration, (BLOCK, BLOCK), ("", ""))

    def write(self) -> None:
        """Append the instructions for a block."""
        words, loaded = BLOCK // 4, [self._loaded(0)]
        for word in range(words):
            if word + 1 < words:
                loaded.append(self._loaded(word + 1))
            left, right = loaded[word]
            low = self.take()
            self.add("PV_PACK_H", low, right, left)
            self.add("PV_SHUFFLE2_H", left, right, self.constant(_HIGH_HALVES), accumulates=True)
            self.release(right)
            results = [result for pairs in (low, left) for result in self._two(pairs)]
            self.add("PV_PACKLO_B", results[0], results[1], results[0], accumulates=True)
            self.add("PV_PACKHI_B", results[0], results[3], results[2], accumulates=True)
            self.store(results[0], 4 * word)
            self.release(*results)

    def _loaded(self, word: int) -> tuple[str, str]:
        left, right = self.take(), self.take()
        self.load(left, 4, 4 * word, 0)
        self.load(right, 4, 4 * word, 1)
        return left, right

    def _two(self, pairs: str) -> tuple[str, str]:
        """Append the way of two pairs, in a register, to their results in two."""
        s, even, odd = self.s, self.take(), self.take()
        if s.bits == 8:
            name = "PV_DOTUSP_B" if s.has_signs else "PV_DOTUP_B"
            weights = (s.left & 0xFF) | (s.right & 0xFF) << 16
            self.add(name, even, pairs, self.constant(weights))
            self.add(name, odd, pairs, self.constant(weights << 8))
            self.release(pairs)
        else:
            self.add("and", even, pairs, self.constant(_EVEN_BYTES))
            self.add("PV_SRL_SC_H", odd, pairs, self.constant(8))
            self.release(pairs)
            even, odd = self._sum(even), self._sum(odd)
        for total in (even, odd):
            self.add("P_ADDN", total, total, self.constant(s.offset & 0xFFFFFFFF), s.shift)
            if (s.low, s.high) == (0, 255):
                self.add("P_CLIPU", total, total, _BYTE_BITS)
            else:
                self.add("P_MAX", total, total, self.constant(s.low))
                self.add("P_MIN", total, total, self.constant(s.high))
        return even, odd

    def _sum(self, pair: str) -> str:
        """Append the sum of a pair of half words, and return its register."""
        s = self.s
        if s.bits == 16:
            name = "PV_DOTSP_H" if s.has_signs else "PV_DOTUP_H"
            self.add(name, pair, pair, self._halves(s.left, s.right))
            return pair
        upper, rest = (s.left >> _LOW_BITS, s.right >> _LOW_BITS), (1 << _LOW_BITS) - 1
        total = self.take()
        self.add("PV_DOTSP_H", total, pair, self._halves(*upper))
        self.add("slli", total, total, _LOW_BITS)
        self.add("PV_SDOTSP_H", total, pair, self._halves(s.left & rest, s.right & rest), accumulates=True)
        self.release(pair)
        return total

    def _halves(self, low: int, high: int) -> str:
        return self.constant((low & 0xFFFF) | (high & 0xFFFF) << 16)
