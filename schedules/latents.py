"""Latents to and from the replay store: quantise and pack, repack, unpack and dequantise, gather.

A tile begins with a byte, and in L1 with a word: it has a multiple of 32 values, or whole samples. Where
every sample ends with a whole byte, samples side by side are one long stream.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from tvm_pulp.schedules.latents_build import LatentsBuilder
from tvm_pulp.schedules.latents_tiles import LatentsTile, candidates, estimate_cycles, l1_bytes
from tvm_pulp.schedules.latents_workload import GATHER, PACK, REPACK, LatentsWorkload, read
from tvm_pulp.schedules.resident import resident_bytes
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc

if TYPE_CHECKING:
    from tvm_pulp.schedules.base import ClusterFeatures

_WORD_BYTES = 4


class LatentsTemplate:
    """The template of the classes with the attribute ``"pulp.latents"``."""

    name = "latents"

    def match(self, function: PrimFunc) -> LatentsWorkload | None:
        """Return the workload of a kernel between latents and the store, None for anything else."""
        return read(function)

    def knobs(self, workload: LatentsWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes to choose from; rows count only where a tile has whole rows."""
        tiles = candidates(workload)
        return {
            "values": sorted({tile.values for tile in tiles}, reverse=True),
            "rows": sorted({tile.rows for tile in tiles}, reverse=True),
            "first": sorted({tile.first for tile in tiles}),
            "ahead": sorted({tile.ahead for tile in tiles}),
        }

    def default(self, workload: LatentsWorkload, features: ClusterFeatures) -> dict[str, int]:
        """Return the tile with the lowest estimate of all that fit L1."""
        tile = self._best(workload, features, features.kernel_l1_bytes)
        if tile is None:
            raise UserError(
                f"the latents of kernel '{workload.function.attrs['global_symbol']}' do not fit L1 "
                f"({features.kernel_l1_bytes} bytes) with any tile size"
            )
        return {name: getattr(tile, name) for name in ("values", "rows", "first", "ahead")}

    def l1_bytes(self, workload: LatentsWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return l1_bytes(workload, _tile(workload, knobs))

    def estimate_cycles(
        self, workload: LatentsWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call, see ``latents_tiles``."""
        return self._estimate(workload, _tile(workload, knobs), features)

    def build(self, workload: LatentsWorkload, knobs: dict[str, int], features: ClusterFeatures) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return LatentsBuilder(workload, _tile(workload, knobs), features).build()

    def build_in_place(
        self, workload: LatentsWorkload, features: ClusterFeatures, resident: Collection[int]
    ) -> PrimFunc | None:
        """Return the function for parameters in L1, see ``schedules.resident``.

        None where no tile fits beside them, where samples are chosen from a store in L1, or where rows of a
        packed tensor in L1 do not begin with a word.
        """
        last = len(workload.function.params) - 1
        values, packed = (0, last) if workload.kind in (PACK, REPACK) else (last, 0)
        placed = replace(workload, values_in_l1=values in resident, packed_in_l1=packed in resident)
        if placed.packed_in_l1:
            rows, _ = placed.extents()
            if placed.kind == GATHER or (rows > 1 and placed.row_bytes() % _WORD_BYTES):
                return None
        left = features.kernel_l1_bytes - resident_bytes(workload.function, resident)
        tile = self._best(placed, features, left)
        return None if tile is None else LatentsBuilder(placed, tile, features).build()

    def _best(self, workload: LatentsWorkload, features: ClusterFeatures, limit: int) -> LatentsTile | None:
        """Return the tile with the lowest estimate of all that fit a number of bytes."""
        fitting = [tile for tile in candidates(workload) if l1_bytes(workload, tile) <= limit]
        return min(fitting, key=lambda tile: self._estimate(workload, tile, features), default=None)

    @staticmethod
    def _estimate(workload: LatentsWorkload, tile: LatentsTile, features: ClusterFeatures) -> float:
        return estimate_cycles(workload, tile, features.cores, features.has_xpulp)


def _tile(workload: LatentsWorkload, knobs: dict[str, int]) -> LatentsTile:
    """Return the tile for knobs: several rows only where each is whole."""
    rows, values = workload.extents()
    tile = LatentsTile(
        min(knobs["values"], values), min(knobs["rows"], rows), knobs.get("first", 1), knobs.get("ahead", 1)
    )
    whole = tile.values == values and workload.is_stream
    return tile if whole else replace(tile, rows=1)
