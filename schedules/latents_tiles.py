"""Tiles of a kernel between latents and the replay store: sizes to choose from, their L1 and their cycles."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from tvm_pulp.schedules.dialect import aligned, ceil_div
from tvm_pulp.schedules.latents_workload import GATHER, PACK, REPACK, UNPACK, LatentsWorkload
from tvm_pulp.schedules.microkernels.latent_block import block_values
from tvm_pulp.schedules.microkernels.latent_layout import LatentLayout

TABLE_BYTES = 256
"""Of the table of all bytes that repacking looks integers up in."""

_GRAIN = 32
"""A tile within a sample has a multiple of these values: they fill whole words, whatever the bits."""

_DRIVING_CYCLES = 120.0
"""That worker 0 needs to start a transfer and to wait for one."""

_CORES = 8
"""Workers that sizes of tiles are shared out to without a rest."""

_DMA_BYTES_A_CYCLE = 7.75
_CYCLES_A_TILE = {PACK: 150.0, REPACK: 130.0, UNPACK: 130.0, GATHER: 130.0}
_CYCLES_A_TILE_APART = {PACK: 100.0, REPACK: 130.0, UNPACK: 130.0, GATHER: 130.0}
"""Of tiles of different sizes."""
_CYCLES_A_TRANSFER = 60.0
_CYCLES_TO_START_ONE = 30.0
"""That worker 0 needs for each of several transfers before it waits for the first."""
_CYCLES_A_VALUE = {PACK: 3.6, REPACK: 3.0, UNPACK: 3.3, GATHER: 3.3}
_CYCLES_A_SPREAD_VALUE = {PACK: 0.2, REPACK: 0.45, UNPACK: 0.5, GATHER: 0.5}
_CYCLES_OF_PLAIN_C = 14.0

_PARTS = (1, 2, 4, 8)
"""What a first or last tile may be of the others, as a divisor."""
_MORE_TILES = (14, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256)
"""Numbers of tiles to choose from, beside those up to 12."""


@dataclass(frozen=True)
class LatentsTile:
    """Bound knobs.

    Attributes
    ----------
    values, rows : int
        Values of a row, and rows, in a tile.
    first : int
        The first tile is this part of the others: the work starts as soon as it is there.
    ahead : int
        Tiles by which loads run ahead of the work.
    ends : tuple of int
        Where tiles of different sizes end in the only row, whose packed values all have a place in L1.
    """

    values: int
    rows: int
    first: int = 1
    ahead: int = 1
    ends: tuple[int, ...] = ()

    def packed_bytes(self, bits: int) -> int:
        """Return the bytes of a packed tile."""
        return ceil_div(self.rows * self.values * bits, 8)

    def lacks(self, rows: int, values: int) -> tuple[int, int]:
        """Return how many rows, and values of a row, the first of all tiles lacks."""
        if self.ends:
            return 0, 0
        if self.rows < rows and self.values >= values:
            return self.rows - ceil_div(self.rows, self.first), 0
        is_cut = rows == 1 and self.values < values and self.first > 1
        return 0, max(self.values - _evenly(self.values / self.first), 0) if is_cut else 0


def _evenly(values: float, driving: int = 0) -> int:
    """Round up so that values fill words and blocks that are shared out evenly, less ``driving`` shares."""
    return (math.ceil(values / _GRAIN / _CORES) * _CORES - driving) * _GRAIN


def candidates(w: LatentsWorkload) -> list[LatentsTile]:
    """Return the tiles to choose from: parts of a row, or several whole rows.

    Of some that are parts of the only row the last one is small: little is left to be stored after the work.
    """
    rows, values = w.extents()
    counts = [count for count in (*range(1, 13), *_MORE_TILES) if (count - 1) * _CORES * _GRAIN < values]
    tiles = [LatentsTile(min(_evenly(values / count), values), 1) for count in counts]
    if rows == 1:
        for count, first, last in itertools.product(counts[1:], _PARTS, _PARTS):
            size = values / (count - 2 + 1 / first + 1 / last)
            sizes = {_evenly(size), _evenly(size, sum(driving_shares(w, 1)))}
            tiles += [LatentsTile(s, 1, first, ahead) for s in sizes for ahead in (1, 2) if 0 < s < values]
    if w.is_stream:
        several = {ceil_div(rows, count) for count in (*range(1, 13), *_MORE_TILES) if count < rows}
        tiles += [
            LatentsTile(values, size, first, ahead)
            for size, first, ahead in itertools.product(sorted(several), _PARTS, (1, 2))
        ]
    tiles += [LatentsTile(int(max(np.diff([0, *ends]))), 1, 1, len(ends), ends) for ends in _ends(w)]
    return list(dict.fromkeys(tiles))


def _ends(w: LatentsWorkload) -> list[tuple[int, ...]]:
    """Return where tiles of different sizes may end, of floats in L1.

    The small ones are waited for; a tile is as large as the DMA can move beside the work on its neighbour.
    """
    rows, values = w.extents()
    if rows > 1 or not w.values_in_l1 or w.packed_in_l1:
        return []
    found = []
    for count, growth in itertools.product((2, 3, 4), (2, 3, 4, 5, 6, 8)):
        sizes = [growth**number for number in range(count)]
        sizes = sizes[::-1] if w.kind in (PACK, REPACK) else sizes
        ends = [_evenly(values * part / sum(sizes)) for part in itertools.accumulate(sizes)]
        ends[-1] = values
        if sorted(set(ends)) == ends:
            found.append(tuple(ends))
    return found


def tile_count(w: LatentsWorkload, tile: LatentsTile) -> int:
    """Return the number of tiles."""
    if tile.ends:
        return len(tile.ends)
    rows, values = w.extents()
    few, less = tile.lacks(rows, values)
    return ceil_div(rows + few, tile.rows) * ceil_div(values + less, tile.values)


def l1_bytes(w: LatentsWorkload, tile: LatentsTile) -> int:
    """Return the L1 of a tile and its packed form, several copies of each where there are several tiles."""
    if tile.ends:
        return aligned(w.row_bytes()) + (TABLE_BYTES if w.kind == REPACK else 0)
    copies = min(tile_count(w, tile), tile.ahead + 1)
    total = sum(copies * aligned(size) for size in moved_bytes(w, tile))
    return total + (TABLE_BYTES if w.kind == REPACK else 0)


def driving_shares(w: LatentsWorkload, rows: int) -> tuple[int, int]:
    """Return how long a worker drives the loads, and the stores, of a tile, in the time for 32 values."""
    transfers = rows if w.kind == GATHER else 1
    of_values, of_packed = int(not w.values_in_l1), transfers * (not w.packed_in_l1)
    loads, stores = (of_values, of_packed) if w.kind in (PACK, REPACK) else (of_packed, of_values)
    share = _DRIVING_CYCLES / _GRAIN / cycles_a_value(w)
    return round(loads * share), round(stores * share)


def driving_blocks(w: LatentsWorkload, tile: LatentsTile) -> tuple[int, int]:
    """Return the same in the time for blocks of the assembly."""
    loads, stores = driving_shares(w, tile.rows)
    in_share = _GRAIN // block_values(w.bits)
    return loads * in_share, stores * in_share


def moved_bytes(w: LatentsWorkload, tile: LatentsTile) -> tuple[int, int]:
    """Return the bytes of a tile, unpacked and packed, that have a place in L1 beside the tensors."""
    values = 0 if w.values_in_l1 else tile.rows * tile.values * w.item_bytes
    return values, 0 if w.packed_in_l1 else tile.packed_bytes(w.bits)


def cycles_a_value(w: LatentsWorkload) -> float:
    """Return the cycles of a worker for a value, in assembly."""
    below = w.zero_point > 0 and w.kind != REPACK
    spread = _CYCLES_A_SPREAD_VALUE[w.kind] if LatentLayout(w.bits).rest else 0.0
    return _CYCLES_A_VALUE[w.kind] + spread + (0.5 if w.kind == PACK else 1.0) * below


def estimate_cycles(w: LatentsWorkload, tile: LatentsTile, cores: int, has_assembly: bool) -> float:
    """Estimate the cycles of a call: follow the tiles through loads, work and stores side by side."""
    rows, values = w.extents()
    few, less = tile.lacks(rows, values)
    a_value = cycles_a_value(w) if has_assembly else _CYCLES_OF_PLAIN_C
    loads_loose = w.kind in (PACK, REPACK)
    driving = driving_shares(w, tile.rows) if has_assembly and not tile.ends else (0, 0)
    widths = [int(size) for size in np.diff([0, *tile.ends])] or _sizes(values, tile.values, less)
    sizes = list(itertools.product(_sizes(rows, tile.rows, few), widths))
    loaded = [0.0]  # when the DMA has done all loads so far
    stored: list[float] = []
    done = [0.0]  # when the work on each tile ended
    starts = [0.0] * tile.ahead  # when the work that loads run beside began
    for number, (height, width) in enumerate(sizes):
        loose = 0.0 if w.values_in_l1 else height * width * w.item_bytes / _DMA_BYTES_A_CYCLE
        packed = 0.0 if w.packed_in_l1 else height * width * w.bits / 8 / _DMA_BYTES_A_CYCLE
        load, store = (loose, packed) if loads_loose else (packed, loose)
        if w.kind == GATHER and load:
            load += _CYCLES_A_TRANSFER * (height - 1)
        loaded.append(max(loaded[-1], starts[-tile.ahead] + _CYCLES_A_TRANSFER * (load > 0)) + load)
        start = max(loaded[-1], done[-1])
        if tile.ends and load:
            start = max(start, _CYCLES_A_TRANSFER + _CYCLES_TO_START_ONE * len(sizes))
        if len(stored) > tile.ahead:
            start = max(start, stored[-tile.ahead - 1])
        starts.append(start)
        beside = 0
        if len(sizes) > 1:
            beside = (number + tile.ahead < len(sizes)) * driving[0] + (number > 0) * driving[1]
        shares = ceil_div(ceil_div(height * width, _GRAIN) + beside, cores)
        between = (_CYCLES_A_TILE_APART if tile.ends else _CYCLES_A_TILE)[w.kind]
        done.append(start + shares * _GRAIN * a_value + between)
        stored.append(max([*stored[-1:], done[-1] + _CYCLES_A_TRANSFER * (store > 0)]) + store)
    return stored[-1]


def _sizes(extent: int, tile: int, lacks: int) -> list[int]:
    """Return the extents of all tiles of an axis."""
    ends = [min(end - lacks, extent) for end in range(tile, extent + lacks + tile, tile)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]
