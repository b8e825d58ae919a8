"""Batch normalisation in training mode with its activation, forward and backward: one read, one write.

Where the elements of some channels fit L1 (*resident*), a tile holds all of them, and the sweeps for
statistics and results run over the tile. *Overlapped*, forward, the sweep for results runs a channel or tile
behind, in one loop with that for statistics. Else (*streamed*) a channel passes through L1 in pieces, twice
but for those that stay from the first sweep to the second.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.batch_norm_build import BatchNormBuilder
from tvm_pulp.schedules.batch_norm_tiles import NormTiles, NormWorkload
from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.batch_norm_overlapped import MOST_CORES
from tvm_pulp.schedules.microkernels.batch_norm_streams import (
    CLIP,
    NONE,
    RELU,
    Kept,
    NormSizes,
    both_sweeps,
    cycles_an_element,
)
from tvm_pulp.schedules.microkernels.stream_definition import instructions
from tvm_pulp.schedules.piece_order import MOST_SLOTS
from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape

_DMA_BYTES_A_CYCLE = 8.0
_CYCLES_A_TILE = 170.0
_CYCLES_A_STEP = 260.0
_CYCLES_A_STEP_APART = (190.0, 130.0)
"""Of a step over a piece, forward and backward, where steps have code of their own."""
_CYCLES_A_JOINED_STEP = 200.0
_CYCLES_A_SWEEP = 90.0
_CYCLES_A_CHANNEL = 160.0
_CYCLES_A_JOIN = 120.0
"""Of the statistics of the workers' shares, forward; a part of the former."""
_CYCLES_A_BARRIER = 40.0
_CYCLES_A_SEGMENT = 14.0
_CYCLES_A_KNOWN_SEGMENT = 6.0
_CYCLES_A_LINE = 1.0
_CONTENTION = 1.02
"""Of two workers that share a FPU, in the loop of two sweeps."""
_SIZES_OF_PIECES = 8
"""Sizes of pieces that an estimate is made for."""


@dataclass(frozen=True)
class _Estimate:
    cycles: float
    tiles: NormTiles


class BatchNormTemplate:
    """The template of functions with the attribute ``"pulp.batch_norm"``."""

    name = "batch_norm"

    def match(self, function: PrimFunc) -> NormWorkload | None:
        """Return the workload, None for anything else and for a gradient without that of the data."""
        attributes = function.attrs.get("pulp.batch_norm") if function.attrs is not None else None
        if attributes is None:
            return None
        backward = bool(attributes["backward"])
        parameters = list(function.params)
        if any(buffer_dtype(parameter) != "float32" for parameter in parameters):
            return None
        shape = buffer_shape(parameters[0])
        large = sum(buffer_shape(parameter) == shape for parameter in parameters)
        if large != (3 if backward else 2) or shape == (shape[1],):
            return None
        rectifies, limit, epsilon = (float(attributes[name]) for name in ("rectifies", "limit", "epsilon"))
        sizes = NormSizes(
            images=shape[0],
            channels=shape[1],
            pixels=math.prod(shape[2:]),
            activation=(CLIP if limit else RELU) if rectifies else NONE,
            limit=limit,
            epsilon=epsilon,
            backward=backward,
            biased=len(parameters) == (10 if backward else 9),
        )
        return NormWorkload(function, sizes)

    def knobs(self, workload: NormWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return the tile sizes to choose from."""
        s = workload.sizes
        return {
            "tile_channels": _channel_tiles(s.channels),
            "parts": [p for p in _parts(features.cores) if s.images % p == 0 or s.pixels >= p],
            "streamed": [0, 1],
            "tile_images": tile_sizes(s.images, 1),
            "tile_pixels": tile_sizes(s.pixels, 4),
            "separate": [0, 1],
            "slots": list(range(3, MOST_SLOTS + 1)),
            "kept": list(range(MOST_SLOTS + 1)),
            "overlapped": [0] if s.backward or features.cores > MOST_CORES else [0, 1],
        }

    def default(self, workload: NormWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1."""
        knobs = self.knobs(workload, features)
        s = workload.sizes
        candidates = [
            NormTiles(channels, parts, 0, s.images, s.pixels)
            for channels in knobs["tile_channels"]
            for parts in knobs["parts"]
        ]
        candidates += _streamed_tiles(s, knobs, features)
        if 1 in knobs["overlapped"]:
            candidates += _overlapped_tiles(s, knobs)
        best: _Estimate | None = None
        for tiles in candidates:
            if tiles.l1_bytes(s, features.cores) > features.kernel_l1_bytes:
                continue
            found = _Estimate(_estimate(s, tiles, features.cores), tiles)
            if best is None or found.cycles < best.cycles:
                best = found
        return None if best is None else asdict(best.tiles)

    def l1_bytes(self, workload: NormWorkload, knobs: dict[str, int], cores: int = 8) -> int:
        """Return the L1 that the tiles need."""
        return NormTiles(**knobs).valid(workload.sizes).l1_bytes(workload.sizes, cores)

    def is_valid(self, workload: NormWorkload, knobs: dict[str, int], l1_bytes: int) -> bool:
        """Tell whether whole tensors as tiles fit ``l1_bytes``; a streamed channel passes through slots."""
        return (
            not knobs["streamed"]
            and not knobs.get("overlapped")
            and self.l1_bytes(workload, knobs) <= l1_bytes
        )

    def estimate_cycles(
        self, workload: NormWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call."""
        return _estimate(workload.sizes, NormTiles(**knobs).valid(workload.sizes), features.cores)

    def build(self, workload: NormWorkload, knobs: dict[str, int], features: ClusterFeatures) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return BatchNormBuilder(workload, NormTiles(**knobs).valid(workload.sizes), features).build()


def _parts(cores: int) -> list[int]:
    """Return the numbers of workers that may share a channel."""
    return [parts for parts in range(1, cores + 1) if cores % parts == 0]


def _channel_tiles(channels: int) -> list[int]:
    return sorted({min(channels, c) for c in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, channels)})


def _streamed_tiles(s: NormSizes, knobs: dict[str, list[int]], features: ClusterFeatures) -> list[NormTiles]:
    """Return the ways to stream channels: the largest pieces of which three fit L1, and what may be kept."""
    sizes = [
        NormTiles(1, 1, 1, images, pixels)
        for images in knobs["tile_images"]
        for pixels in knobs["tile_pixels"]
        if images == 1 or pixels == s.pixels
    ]
    found: list[NormTiles] = []
    pieces = 0
    for tiles in sorted(sizes, key=lambda t: -t.elements()):
        slots = [n for n in knobs["slots"] if replace(tiles, slots=n).l1_bytes(s, features.cores)
                 <= features.kernel_l1_bytes]  # fmt: skip
        if not slots:
            continue
        kept = {replace(tiles, slots=slots[-1], kept=n).valid(s) for n in knobs["kept"]}
        found += sorted(kept, key=lambda t: t.kept)
        pieces += 1
        if pieces == _SIZES_OF_PIECES:
            break
    return found


def _overlapped_tiles(s: NormSizes, knobs: dict[str, list[int]]) -> list[NormTiles]:
    """Return the tiles of two sweeps at once: pieces of a channel, or some channels."""
    sizes = [
        NormTiles(1, 1, 0, images, pixels, overlapped=1)
        for images in knobs["tile_images"]
        for pixels in knobs["tile_pixels"]
        if images == 1 or pixels == s.pixels
    ]
    sizes += [
        NormTiles(channels, parts, 0, s.images, s.pixels, overlapped=1)
        for channels in knobs["tile_channels"]
        for parts in knobs["parts"]
        if s.channels // 2 >= channels > 1
    ]
    found = dict.fromkeys(tiles.valid(s) for tiles in sizes)
    return [tiles for tiles in found if tiles.overlapped]


def _estimate(s: NormSizes, t: NormTiles, cores: int) -> float:
    """Work and DMA of each tile side by side, plus what cannot overlap."""
    sums, results, kept_results = cycles_an_element(s, t.keeps(s))
    tensors = 2 if s.backward else 1
    elements = t.tile_channels * t.tile_images * t.tile_pixels
    lines = t.tile_images * (t.tile_channels if t.tile_pixels < s.pixels else 1)
    move = 4 * elements / _DMA_BYTES_A_CYCLE + _CYCLES_A_LINE * lines + 30
    if t.streamed:
        order = t.order(s)
        kept = order.kept / order.pieces
        share = ceil_div(elements, cores)
        a_step = _CYCLES_A_STEP_APART[s.backward] if order.has_few_steps else _CYCLES_A_STEP
        work = [share * cycles + a_step for cycles in (sums, kept * kept_results + (1 - kept) * results)]
        cycles = order.cycles(move, move, (work[0], work[1]), (tensors - 1) * move)
        return cycles + s.channels * _CYCLES_A_CHANNEL
    if t.overlapped:
        return _overlapped_cycles(s, t, cores, move)
    tiles = math.prod(t.counts(s))
    teams = cores // t.parts
    share = ceil_div(s.images * s.pixels, t.parts)
    around = s.images * _CYCLES_A_SEGMENT
    if s.images % t.parts == 0:
        around = s.images // t.parts * _CYCLES_A_KNOWN_SEGMENT
    one = sum(share * cycles + around + _CYCLES_A_SWEEP for cycles in (sums, results))
    one += _CYCLES_A_CHANNEL if s.backward or t.parts > 1 else _CYCLES_A_CHANNEL - _CYCLES_A_JOIN
    tile = ceil_div(t.tile_channels, teams) * one + _CYCLES_A_TILE
    if t.parts > 1:
        tile += _CYCLES_A_BARRIER
    return tiles * max(tile, tensors * move) + (tensors + 1) * move


def _overlapped_cycles(s: NormSizes, t: NormTiles, cores: int, move: float) -> float:
    """Estimate the cycles of steps of two sweeps at once, from those that a tile needs to move."""
    sums, results, _ = cycles_an_element(s, Kept.ALL)
    both = instructions(both_sweeps(s)) * _CONTENTION
    elements = t.tile_channels * t.tile_images * t.tile_pixels
    around, share = 0.0, ceil_div(elements, cores)
    if t.tile_channels > 1:
        channels = ceil_div(t.tile_channels, cores // t.parts)
        segments = s.images * _CYCLES_A_SEGMENT
        if s.images % t.parts == 0:
            segments = s.images // t.parts * _CYCLES_A_KNOWN_SEGMENT
        around = _CYCLES_A_TILE + channels * (segments + _CYCLES_A_SWEEP + _CYCLES_A_CHANNEL)
        share = channels * ceil_div(s.images * s.pixels, t.parts)
    pieces = t.pieces(s)
    if t.tile_channels == 1:
        around = _CYCLES_A_JOINED_STEP + _CYCLES_A_JOIN / pieces
    steps = ((sums, pieces), (both, math.prod(t.counts(s)) - pieces), (results, pieces))
    return sum(number * max(share * cycles + around, move) for cycles, number in steps) + 2 * move
