"""How integers of few bits lie in the replay store: groups that fill whole words, four byte lanes in each.

A group of ``4 L`` values, ``L = 8 / gcd(8, Q)``, takes ``L Q / 8`` words. Byte i of all its words is lane i:
it has values ``i, i + 4, i + 8, ...``, so that one instruction works on four values at once. Each byte of a
lane has ``8 // Q`` *whole* values, in order and from its low bit on. The values left at the end of the lane
are *spread*: their bits, one after the other, are what the bytes have left above the whole values.

An example: of eight values of 7 bits a lane has seven as they are, and a bit of the eighth above each. Values
behind the last group of a sample are a stream of bits: bit b is bit ``b % 8`` of byte ``b // 8``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """Bits of a spread value that lie together.

    Attributes
    ----------
    value : int
        Number of the value in its lane.
    first, count : int
        The bits of the value.
    word : int
        Where they are, in the group.
    at : int
        The first one's place in the byte.
    """

    value: int
    first: int
    count: int
    word: int
    at: int

    @property
    def shift(self) -> int:
        """By how much the bits lie higher than in the value."""
        return self.at - self.first


@dataclass(frozen=True)
class LatentLayout:
    """The layout for a number of bits, Q."""

    bits: int

    @property
    def lane_values(self) -> int:
        """Values of a lane, L."""
        return 8 // math.gcd(8, self.bits)

    @property
    def values(self) -> int:
        """Values of a group."""
        return 4 * self.lane_values

    @property
    def words(self) -> int:
        """Words of a group, and so bytes of a lane."""
        return self.lane_values * self.bits // 8

    @property
    def whole(self) -> int:
        """Whole values in each byte."""
        return 8 // self.bits

    @property
    def rest(self) -> int:
        """Bits of each byte that are left for spread values."""
        return 8 - self.whole * self.bits

    @property
    def spread(self) -> range:
        """Numbers, in their lane, of the values that are spread."""
        return range(self.whole * self.words, self.lane_values)

    def pieces(self) -> list[Piece]:
        """Return where the bits of all spread values are, in the order of their bits."""
        found = []
        bit = 0
        while bit < self.rest * self.words:
            value, first = divmod(bit, self.bits)
            word, start = divmod(bit, self.rest)
            count = min(self.bits - first, self.rest - start)
            at = self.whole * self.bits + start
            found.append(Piece(self.spread[value], first, count, word, at))
            bit += count
        return found


def bytes_in_lanes(byte: int) -> int:
    """Return a word of four equal bytes."""
    return byte * 0x01010101
