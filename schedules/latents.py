"""Latents to and from the replay store: quantise and pack, repack, unpack and dequantise, gather.

A tile begins with a byte, and in L1 with a word: it has a multiple of 32 values, or whole samples. Where
every sample ends with a whole byte, samples side by side are one long stream.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tvm_pulp.schedules.latents_build import LatentsBuilder
from tvm_pulp.schedules.latents_workload import (
    LatentsTile,
    LatentsWorkload,
    candidates,
    estimate_cycles,
    l1_bytes,
    read,
)
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc

if TYPE_CHECKING:
    from tvm_pulp.schedules.base import ClusterFeatures


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
        }

    def default(self, workload: LatentsWorkload, features: ClusterFeatures) -> dict[str, int]:
        """Return the tile with the lowest estimate of all that fit L1."""
        fitting = [t for t in candidates(workload) if l1_bytes(workload, t) <= features.kernel_l1_bytes]
        if not fitting:
            raise UserError(
                f"the latents of kernel '{workload.function.attrs['global_symbol']}' do not fit L1 "
                f"({features.kernel_l1_bytes} bytes) with any tile size"
            )
        return asdict(min(fitting, key=lambda tile: self._estimate(workload, tile, features)))

    def l1_bytes(self, workload: LatentsWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return l1_bytes(workload, _tile(workload, knobs))

    def estimate_cycles(
        self, workload: LatentsWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call, see ``latents_workload``."""
        return self._estimate(workload, _tile(workload, knobs), features)

    def build(self, workload: LatentsWorkload, knobs: dict[str, int], features: ClusterFeatures) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return LatentsBuilder(workload, _tile(workload, knobs), features).build()

    @staticmethod
    def _estimate(workload: LatentsWorkload, tile: LatentsTile, features: ClusterFeatures) -> float:
        return estimate_cycles(workload, tile, features.cores, features.has_xpulp)


def _tile(workload: LatentsWorkload, knobs: dict[str, int]) -> LatentsTile:
    """Return the tile for knobs: several rows only where each is whole."""
    rows, values = workload.extents()
    tile = LatentsTile(min(knobs["values"], values), min(knobs["rows"], rows))
    whole = tile.values == values and workload.is_stream
    return tile if whole else LatentsTile(tile.values, 1)
