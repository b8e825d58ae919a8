"""Weights of 4 bits to bytes: tiles of whole words, DMA both ways beside the work."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import (
    ALIGNMENT,
    TO_L2,
    L1Allocator,
    aligned,
    ceil_div,
    dma_1d,
    element,
    flat_argument,
    kernel_function,
    parallel,
    sequence,
)
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.unpack_weight import (
    CYCLES_A_VALUE,
    GROUP,
    packed_bytes,
    unpack_weight_source,
)
from tvm_pulp.schedules.quantized_transfers import load_packed
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop
from tvm_pulp.target.tvm_names import (
    Evaluate,
    Expr,
    PrimFunc,
    Stmt,
    Var,
    address_of,
    arith,
    call_extern,
)

_GRAIN = 4 * ALIGNMENT
"""A tile has a multiple of these values, so that its packed bytes fill whole lines of L1, too."""
_CYCLES_OF_PLAIN_C = 12.0
_CYCLES_A_TILE = 150.0
_DMA_BYTES_A_CYCLE = 8.0


@dataclass(frozen=True)
class UnpackWeightWorkload:
    """A kernel of the class, and the number of values."""

    function: PrimFunc
    values: int


class UnpackWeightTemplate:
    """The template of functions with the attribute ``"pulp.unpack_weight"``."""

    name = "unpack_weight"

    def match(self, function: PrimFunc) -> UnpackWeightWorkload | None:
        """Return the workload; None for anything else."""
        if function.attrs is None or "pulp.unpack_weight" not in function.attrs:
            return None
        return UnpackWeightWorkload(function, int(function.attrs["pulp.unpack_weight"]["values"]))

    def knobs(self, workload: UnpackWeightWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes to choose from."""
        sizes = tile_sizes(workload.values, _GRAIN)
        return {"tile_values": [size for size in sizes if size % _GRAIN == 0 or size == workload.values]}

    def default(self, workload: UnpackWeightWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1; None where none do."""
        choices = [{"tile_values": size} for size in self.knobs(workload, features)["tile_values"]]
        fit = [knobs for knobs in choices if self.l1_bytes(workload, knobs) <= features.kernel_l1_bytes]
        return min(fit, key=lambda knobs: self.estimate_cycles(workload, knobs, features), default=None)

    def l1_bytes(self, workload: UnpackWeightWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        size = knobs["tile_values"]
        copies = 2 if size < workload.values else 1
        return sum(copies * aligned(item) for item in (size, packed_bytes(size)))

    def estimate_cycles(
        self, workload: UnpackWeightWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
        size = knobs["tile_values"]
        a_value = CYCLES_A_VALUE if features.has_xpulp else _CYCLES_OF_PLAIN_C
        work = ceil_div(size, 2 * GROUP * features.cores) * 2 * GROUP * a_value + _CYCLES_A_TILE
        move = size / _DMA_BYTES_A_CYCLE
        return ceil_div(workload.values, size) * max(work, move) + 1.5 * move

    def build(
        self, workload: UnpackWeightWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _build(workload, knobs["tile_values"], features)


def _build(w: UnpackWeightWorkload, tile_values: int, features: ClusterFeatures) -> PrimFunc:
    analyzer, l1, value = arith.Analyzer(), L1Allocator(), Var("value", "int32")
    loop = TileLoop([TiledAxis(value, w.values, tile_values)], [], analyzer)
    packed, weight = arguments = [flat_argument(parameter) for parameter in w.function.params]
    copies, values, bytes_ = min(loop.total, 2), aligned(tile_values), aligned(packed_bytes(tile_values))
    weight_l1, declare_weight = l1.allocate("weight_l1", values * copies, "int8")
    packed_l1, declare_packed = l1.allocate("packed_l1", bytes_ * copies, "uint8")

    def loads(tile: Expr, slot: Expr) -> list[Stmt]:
        place, start = loop.at(tile)[value], loop.copy_start(tile, 1, bytes_)
        return [load_packed(slot, packed_l1, start, packed, place.offset, place.size, analyzer)]

    def stores(tile: Expr, slot: Expr) -> list[Stmt]:
        place, start = loop.at(tile)[value], loop.copy_start(tile, 1, values)
        return [dma_1d(slot, weight_l1, start, weight, place.offset, place.size, TO_L2)]

    def compute(tile: Expr) -> Stmt:
        worker = Var("worker", "int32")
        places = [
            address_of(element(packed_l1, loop.copy_start(tile, 1, bytes_))),
            address_of(element(weight_l1, loop.copy_start(tile, 1, values))),
        ]
        call = call_extern("int32", "unpack_weight_tile", worker, *places, loop.at(tile)[value].size)
        return parallel(worker, features.cores, Evaluate(call))

    return kernel_function(
        w.function,
        arguments,
        sequence(declare_weight, declare_packed, loop.run(loads, stores, compute)),
        l1,
        features.cores,
        {
            "pulp.schedule": "unpack_weight",
            "pulp.tile": f"values {tile_values}/{w.values}",
            "pulp.micro_kernels": [unpack_weight_source(assembly=features.has_xpulp)],
        },
    )
