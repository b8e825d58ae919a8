"""Sums of two tensors of bytes, each with its multiplier: tiles of values, DMA both ways beside the work."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import ALIGNMENT, ceil_div, flat_argument, index, kernel_function, sequence
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.linear_sum import BLOCK, LinearSumSettings, linear_sum_source
from tvm_pulp.schedules.row_tiles import RowTensor, RowTiles, call_workers
from tvm_pulp.target.tvm_names import Expr, PrimFunc, Stmt, buffer_shape

_TENSORS = ("left", "right", "result")
_GRAIN = 4 * ALIGNMENT
"""A tile has a multiple of these values."""
_DRIVING_BLOCKS = 4
"""Blocks that take as long as worker 0 drives the DMA for a tile."""
_CYCLES_OF_PLAIN_C = 16.0
_CYCLES_A_TILE = 150.0
_DMA_BYTES_A_CYCLE = 8.0


@dataclass(frozen=True)
class LinearSumWorkload:
    """A kernel of the class, the number of values and its arithmetic."""

    function: PrimFunc
    values: int
    settings: LinearSumSettings


class LinearSumTemplate:
    """The template of functions with the attribute ``"pulp.linear_sum"`` where nothing is broadcast."""

    name = "linear_sum"

    def match(self, function: PrimFunc) -> LinearSumWorkload | None:
        """Return the workload; None for anything else."""
        if function.attrs is None or "pulp.linear_sum" not in function.attrs:
            return None
        shapes = [buffer_shape(parameter) for parameter in function.params]
        if any(shape != shapes[-1] for shape in shapes):
            return None
        numbers = {str(name): int(value) for name, value in function.attrs["pulp.linear_sum"].items()}
        return LinearSumWorkload(function, math.prod(shapes[-1]), LinearSumSettings(**numbers))

    def knobs(self, workload: LinearSumWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes to choose from."""
        sizes = tile_sizes(workload.values, _GRAIN)
        return {"tile_values": [size for size in sizes if size % _GRAIN == 0 or size == workload.values]}

    def default(self, workload: LinearSumWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1; None where none do."""
        choices = [{"tile_values": size} for size in self.knobs(workload, features)["tile_values"]]
        fit = [knobs for knobs in choices if self.l1_bytes(workload, knobs) <= features.kernel_l1_bytes]
        return min(fit, key=lambda knobs: self.estimate_cycles(workload, knobs, features), default=None)

    def l1_bytes(self, workload: LinearSumWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return _tiles(workload, knobs).l1.peak

    def estimate_cycles(
        self, workload: LinearSumWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
        size = knobs["tile_values"]
        a_value = workload.settings.instructions if features.has_xpulp else _CYCLES_OF_PLAIN_C
        work = ceil_div(size, BLOCK * features.cores) * BLOCK * a_value + _CYCLES_A_TILE
        load, save = 2 * size / _DMA_BYTES_A_CYCLE, size / _DMA_BYTES_A_CYCLE
        return ceil_div(workload.values, size) * max(work, load) + load + save

    def build(
        self, workload: LinearSumWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        tiles = _tiles(workload, knobs)
        driving = index(_DRIVING_BLOCKS if tiles.loop.total > 1 else 0)

        def compute(tile: Expr) -> Stmt:
            pointers = [tiles.pointer(name, tile) for name in _TENSORS]
            return call_workers(features.cores, "linear_sum_tile", [*pointers, tiles.size(tile), driving])

        return kernel_function(
            workload.function,
            [tensor.argument for tensor in tiles.tensors.values()],
            sequence(tiles.declarations, tiles.run(compute)),
            tiles.l1,
            features.cores,
            {
                "pulp.schedule": "linear_sum",
                "pulp.tile": f"values {knobs['tile_values']}/{workload.values}",
                "pulp.micro_kernels": [linear_sum_source(workload.settings, assembly=features.has_xpulp)],
            },
        )


def _tiles(workload: LinearSumWorkload, knobs: dict[str, int]) -> RowTiles:
    tensors = {
        name: RowTensor(flat_argument(parameter), 1, name == "result")
        for name, parameter in zip(_TENSORS, workload.function.params, strict=True)
    }
    return RowTiles(tensors, workload.values, knobs["tile_values"])
