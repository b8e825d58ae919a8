"""Batch normalisation in training mode with its activation, forward and backward: one read, one write.

Where the elements of some channels fit L1 (*resident*), a tile holds all of them, and the sweeps for
statistics and results run over the tile. Else (*streamed*) a channel passes through L1 in parts, once a
sweep.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.batch_norm_build import BatchNormBuilder, NormTiles, NormWorkload
from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.batch_norm_streams import (
    CLIP,
    NONE,
    RELU,
    NormSizes,
    cycles_an_element,
)
from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape

_DMA_BYTES_A_CYCLE = 8.0
_CYCLES_A_TILE = 170.0
_CYCLES_A_SWEEP = 90.0
_CYCLES_A_CHANNEL = 160.0
_CYCLES_A_BARRIER = 40.0
_CYCLES_A_SEGMENT = 14.0
_CYCLES_A_LINE = 1.0


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
        candidates += [
            NormTiles(1, 1, 1, images, pixels)
            for images in knobs["tile_images"]
            for pixels in knobs["tile_pixels"]
            if images == 1 or pixels == s.pixels
        ]
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
        """Tell whether the tiles fit ``l1_bytes``; a streamed channel has no place of its own for results."""
        if knobs["streamed"] and (knobs["separate"] or workload.sizes.channels > 1):
            return False
        return self.l1_bytes(workload, knobs) <= l1_bytes

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


def _estimate(s: NormSizes, t: NormTiles, cores: int) -> float:
    """Work and DMA of each tile side by side, plus what cannot overlap."""
    sweeps = cycles_an_element(s, resident=not t.streamed)
    tensors = 2 if s.backward else 1
    counts = t.counts(s)
    elements = t.tile_channels * t.tile_images * t.tile_pixels
    lines = t.tile_images * (t.tile_channels if t.tile_pixels < s.pixels else 1)
    move = 4 * elements / _DMA_BYTES_A_CYCLE + _CYCLES_A_LINE * lines + 30
    if t.streamed:
        share = ceil_div(elements, cores)
        steps = [max(share * cycles + _CYCLES_A_SWEEP + _CYCLES_A_TILE, tensors * move) for cycles in sweeps]
        parts = math.prod(counts) / s.channels
        return s.channels * (parts * sum(steps) + _CYCLES_A_CHANNEL) + (tensors + 1) * move
    teams = cores // t.parts
    share = ceil_div(s.images * s.pixels, t.parts)
    segments = s.images // t.parts if s.images % t.parts == 0 else s.images
    one = sum(share * cycles + segments * _CYCLES_A_SEGMENT + _CYCLES_A_SWEEP for cycles in sweeps)
    tile = ceil_div(t.tile_channels, teams) * (one + _CYCLES_A_CHANNEL) + _CYCLES_A_TILE
    if t.parts > 1:
        tile += (len(sweeps) - 1) * _CYCLES_A_BARRIER
    return math.prod(counts) * max(tile, tensors * move) + (tensors + 1) * move
