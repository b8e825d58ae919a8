"""Sizes of a kernel between latents and the replay store, and of its tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_pulp.schedules.dialect import ALIGNMENT, ceil_div
from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape

PACK, REPACK, UNPACK, GATHER = "pack_latents", "repack_latents", "unpack_latents", "gather_latents"

TABLE_BYTES = 256
"""Of the table of all bytes that repacking looks integers up in."""

_GRAIN = 32
"""A tile within a sample has a multiple of these values: they fill whole words, whatever the bits."""

_DMA_BYTES_A_CYCLE = 7.75
_CYCLES_A_TILE = 200.0
_CYCLES_A_TRANSFER = 30.0
_CYCLES_A_VALUE = {PACK: 4.3, REPACK: 3.3, UNPACK: 4.1, GATHER: 4.1}
_CYCLES_OF_PLAIN_C = 14.0


@dataclass(frozen=True)
class LatentsWorkload:
    """A kernel of one of the classes.

    Attributes
    ----------
    function : PrimFunc
        What is to be lowered.
    kind : str
        The operator class.
    samples, elements : int
        Samples that are moved, and values of each.
    bits : int
        Q.
    zero_point : int
        The integer of 0.
    scale : float
        The step, or its reciprocal for packing; 0 for repacking.
    non_negative : bool
        Whether no value is below 0.
    requantization : tuple of int
        Multiplier, shift, and the source's zero point, for repacking.
    values_in_l1, packed_in_l1 : bool
        Whether the unpacked values, or the packed ones, live in L1: workers access them where they are.
    """

    function: PrimFunc
    kind: str
    samples: int
    elements: int
    bits: int
    zero_point: int
    scale: float = 0.0
    non_negative: bool = False
    requantization: tuple[int, int, int] = (0, 0, 0)
    values_in_l1: bool = False
    packed_in_l1: bool = False

    @property
    def item_bytes(self) -> int:
        """Bytes of an unpacked value."""
        return 1 if self.kind == REPACK else 4

    @property
    def is_stream(self) -> bool:
        """Whether samples that lie side by side are one stream without gaps."""
        return self.elements * self.bits % 8 == 0

    @property
    def sample_bytes(self) -> int:
        """Bytes of a packed sample."""
        return ceil_div(self.elements * self.bits, 8)

    def extents(self) -> tuple[int, int]:
        """Return the extents of the tile loop's axes: rows, and values of a row; a stream is one row."""
        if self.is_stream and self.kind != GATHER:
            return 1, self.samples * self.elements
        return self.samples, self.elements

    def row_bytes(self) -> int:
        """Return the packed bytes of a row."""
        return ceil_div(self.extents()[1] * self.bits, 8)


@dataclass(frozen=True)
class LatentsTile:
    """Bound knobs: values of a row, and rows, in a tile."""

    values: int
    rows: int

    def packed_bytes(self, bits: int) -> int:
        """Return the bytes of a packed tile."""
        return ceil_div(self.rows * self.values * bits, 8)


def candidates(w: LatentsWorkload) -> list[LatentsTile]:
    """Return the tiles to choose from: parts of a row, or several whole rows."""
    rows, values = w.extents()
    tiles = []
    for count in range(1, ceil_div(values, 8 * _GRAIN) + 1):
        size = ceil_div(ceil_div(values, count), 8 * _GRAIN) * 8 * _GRAIN
        tiles.append(LatentsTile(min(size, values), 1))
    if w.is_stream:
        tiles += [LatentsTile(values, ceil_div(rows, count)) for count in range(1, rows)]
    return list(dict.fromkeys(tiles))


def tile_count(w: LatentsWorkload, tile: LatentsTile) -> int:
    """Return the number of tiles."""
    rows, values = w.extents()
    return ceil_div(rows, tile.rows) * ceil_div(values, tile.values)


def l1_bytes(w: LatentsWorkload, tile: LatentsTile) -> int:
    """Return the L1 of a tile and its packed form, two copies of each where there are several tiles."""
    copies = 2 if tile_count(w, tile) > 1 else 1
    total = sum(copies * aligned(size) for size in moved_bytes(w, tile))
    return total + (TABLE_BYTES if w.kind == REPACK else 0)


def moved_bytes(w: LatentsWorkload, tile: LatentsTile) -> tuple[int, int]:
    """Return the bytes of a tile, unpacked and packed, that have a place in L1 beside the tensors."""
    values = 0 if w.values_in_l1 else tile.rows * tile.values * w.item_bytes
    return values, 0 if w.packed_in_l1 else tile.packed_bytes(w.bits)


def aligned(size: int) -> int:
    """Round up to where the next buffer, or copy of it, may start."""
    return ceil_div(size, ALIGNMENT) * ALIGNMENT


def estimate_cycles(w: LatentsWorkload, tile: LatentsTile, cores: int, has_assembly: bool) -> float:
    """Estimate the cycles of a call: work and DMA of the tiles side by side, and what cannot overlap."""
    rows, values = w.extents()
    tiles = tile_count(w, tile)
    a_value = _CYCLES_A_VALUE[w.kind] + (w.zero_point > 0 and w.kind != REPACK)
    if not has_assembly:
        a_value = _CYCLES_OF_PLAIN_C
    group = 32 * cores
    last = values % tile.values or tile.values
    shares = (tiles - rows) * ceil_div(tile.values, group) + rows * ceil_div(last, group)
    if tile.rows > 1:
        shares = tiles * ceil_div(tile.rows * values, group)
    work = shares * 32 * a_value + tiles * _CYCLES_A_TILE
    loose = rows * values * w.item_bytes / _DMA_BYTES_A_CYCLE + tiles * _CYCLES_A_TRANSFER
    packed = rows * values * w.bits / 8 / _DMA_BYTES_A_CYCLE + max(tiles, rows) * _CYCLES_A_TRANSFER
    moves = [0.0 if w.values_in_l1 else loose, 0.0 if w.packed_in_l1 else packed]
    return max(work, *moves) + sum(moved_bytes(w, tile)) / _DMA_BYTES_A_CYCLE


def read(function: PrimFunc) -> LatentsWorkload | None:
    """Return the workload of a function of one of the classes, None for anything else."""
    attributes = function.attrs.get("pulp.latents") if function.attrs is not None else None
    kind = str(function.attrs.get("pulp.operator", "")) if function.attrs is not None else ""
    if attributes is None or kind not in (PACK, REPACK, UNPACK, GATHER):
        return None
    details = {str(key): value for key, value in attributes.items()}
    values = function.params[0] if kind in (PACK, REPACK) else function.params[-1]
    if buffer_dtype(values) not in (("uint8", "int8") if kind == REPACK else ("float32",)):
        return None
    samples, *inner = buffer_shape(values)
    scale = details.get("reciprocal" if kind == PACK else "scale", 0.0)
    return LatentsWorkload(
        function,
        kind,
        samples,
        math.prod(inner),
        int(details["bits"]),
        int(details["zero_point"]),
        float(getattr(scale, "value", scale)),
        bool(int(details.get("non_negative", 0))),
        (
            int(details.get("multiplier", 0)),
            int(details.get("shift", 0)),
            int(details.get("source_zero_point", 0)),
        ),
    )
