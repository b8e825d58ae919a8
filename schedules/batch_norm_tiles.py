"""The knobs of a batch normalisation: what a tile holds, how a channel passes through L1."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.batch_norm import STATE_OF_A_PIECE, STATE_OF_A_WORKER
from tvm_pulp.schedules.microkernels.batch_norm_overlapped import FEWEST_ELEMENTS
from tvm_pulp.schedules.microkernels.batch_norm_share import Relief
from tvm_pulp.schedules.microkernels.batch_norm_streams import Kept, NormSizes, cycles_an_element
from tvm_pulp.schedules.microkernels.stream_definition import LANES
from tvm_pulp.schedules.overlapped_loop import copies
from tvm_pulp.schedules.piece_order import MOST_SLOTS, PieceOrder
from tvm_pulp.target.tvm_names import PrimFunc

_CYCLES_OF_WAITS, _CYCLES_A_TRANSFER = (150.0, 80.0), (100.0, 76.0)
"""Cycles that core 0 spends on the DMA in a step over a piece, and for each transfer that starts: where all
steps share their code, and where each has its own."""


def _largest_divisor(extent: int, most: int) -> int:
    return max(divisor for divisor in range(1, min(extent, most) + 1) if extent % divisor == 0)


@dataclass(frozen=True)
class NormWorkload:
    """A function that the template takes, and its sizes."""

    function: PrimFunc
    sizes: NormSizes


@dataclass(frozen=True)
class NormTiles:
    """The knobs: what a tile holds of the data ``[images][channels][pixels]``.

    Attributes
    ----------
    tile_channels, tile_images, tile_pixels : int
        A tile's size; of a resident one all images and pixels, of a streamed one a single channel.
    parts : int
        Workers that share a channel of a resident tile; all of them share a streamed one.
    streamed : int
        Whether a channel passes through L1 in pieces, once a sweep.
    separate : int
        Whether the results of a resident tile have L1 of their own, so that the tile stays as it is: for
        tensors that live in L1.
    slots, kept : int
        Of a streamed channel, see `PieceOrder`.
    overlapped : int
        Forward, whether the sweep for results runs a channel, or a tile of several, behind that for sums, in
        the same steps. A tile then holds a piece of a channel, all of the same size, or some channels.
    """

    tile_channels: int
    parts: int
    streamed: int
    tile_images: int
    tile_pixels: int
    separate: int = 0
    slots: int = 0
    kept: int = 0
    overlapped: int = 0

    def valid(self, s: NormSizes) -> NormTiles:
        """Return the tiles with what the mode prescribes."""
        if self.overlapped and not s.backward:
            if self.tile_channels > 1 and s.channels % self.tile_channels == 0:
                return NormTiles(self.tile_channels, self.parts, 0, s.images, s.pixels, overlapped=1)
            images = _largest_divisor(s.images, self.tile_images)
            pixels = _largest_divisor(s.pixels, self.tile_pixels)
            if images * pixels >= FEWEST_ELEMENTS:
                return NormTiles(1, 1, 0, images, pixels, overlapped=1)
            return replace(self, overlapped=0).valid(s)
        if not self.streamed:
            return NormTiles(self.tile_channels, self.parts, 0, s.images, s.pixels, self.separate)
        slots = min(max(self.slots, 3), MOST_SLOTS)
        tiles = NormTiles(1, 1, 1, self.tile_images, self.tile_pixels, 0, slots)
        return replace(tiles, kept=min(self.kept, tiles.order(s).pieces, slots))

    def counts(self, s: NormSizes) -> tuple[int, int, int]:
        """Return the number of tiles along channels, images and pixels."""
        return (
            ceil_div(s.channels, self.tile_channels),
            ceil_div(s.images, self.tile_images),
            ceil_div(s.pixels, self.tile_pixels),
        )

    def order(self, s: NormSizes) -> PieceOrder:
        """Return the order in which streamed channels pass through L1."""
        channels, images, pixels = self.counts(s)
        return PieceOrder(channels, images * pixels, self.kept, self.slots)

    def keeps(self, s: NormSizes) -> Kept:
        """Return which elements stay in L1 between the sweeps."""
        if not self.streamed or self.kept == self.order(s).pieces:
            return Kept.ALL
        return Kept.SOME if self.kept else Kept.NONE

    def elements(self) -> int:
        """Return the elements of a tile, rounded up so that each copy is aligned."""
        return ceil_div(self.tile_channels * self.tile_images * self.tile_pixels, 4) * 4

    def state_elements(self, cores: int) -> int:
        """Return the floats of L1 beside the tiles."""
        if self.overlapped and self.tile_channels == 1:
            return STATE_OF_A_PIECE * cores
        if self.streamed:
            return STATE_OF_A_WORKER * cores
        return (1 + self.overlapped) * 2 * self.tile_channels * self.parts

    def pieces(self, s: NormSizes) -> int:
        """Return the tiles of a channel, or of some."""
        _, images, pixels = self.counts(s)
        return images * pixels

    def has_whole_rounds(self, s: NormSizes) -> bool:
        """Tell whether the elements of each piece, a channel's last one too, are whole rounds of loops."""
        images, pixels = (
            (tile, extent % tile or tile)
            for tile, extent in ((self.tile_images, s.images), (self.tile_pixels, s.pixels))
        )
        return all(i * p % LANES == 0 for i in images for p in pixels)

    def relief(self, s: NormSizes) -> Relief:
        """Return by how much core 0 is spared work in the steps of a streamed channel."""
        order = self.order(s)
        apart = order.has_few_steps
        sums, results, kept_results = cycles_an_element(s, self.keeps(s))
        if self.keeps(s) is Kept.SOME:
            results = (results + kept_results) / 2

        def rounds(steps: range, cycles_an_element: float) -> int:
            transfers = [order.transfers(own, read_only=s.backward) for own in steps]
            each = sum(transfers) / max(1, len(transfers))
            cycles = _CYCLES_OF_WAITS[apart] + _CYCLES_A_TRANSFER[apart] * each
            return round(cycles / (LANES * cycles_an_element))

        def sweep(first: int, cycles_an_element: float) -> tuple[int, int]:
            others = range(first + 1, first + order.pieces)
            return rounds(range(first, first + 1), cycles_an_element), rounds(others, cycles_an_element)

        return Relief(sweep(0, sums), sweep(order.pieces, results))

    def copies(self, s: NormSizes) -> tuple[int, int]:
        """Return the copies of a tile that is only read, and of one that is overwritten and stored.

        While one is worked on in place, the one before it leaves and the next one comes.
        """
        if self.streamed:
            return self.slots, self.slots
        if self.overlapped:
            return copies(self.pieces(s))
        steps = math.prod(self.counts(s))
        return min(steps, 2), min(steps, 3)

    def l1_bytes(self, s: NormSizes, cores: int) -> int:
        """Return the L1 that all copies need."""
        read, overwritten = self.copies(s)
        tensors = 2 if s.backward else 1
        copies = read * (tensors + 1) if self.separate else read * (tensors - 1) + overwritten
        return 16 * (copies * ceil_div(self.elements(), 4) + ceil_div(self.state_elements(cores), 4))
