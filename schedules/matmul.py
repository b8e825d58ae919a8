"""Matrix multiplication: linear layers and 1x1 convolutions, forward, data gradient and weight gradient.

``C[b] = op(A[b]) · op(B[b])``, or the sum of that over the batch. Tiles of A, B and C in L1, ping-pong
buffers with DMA both ways beside the work, register blocks shared out over the workers.

Every tile lies in L1 with the row length of a full tile, so that the micro-kernel's distances are constants:
for the last tile of an axis that runs along rows the rows start earlier, as far as a full tile reaches.
"""

from __future__ import annotations

from dataclasses import asdict

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.matmul_build import MatmulBuilder
from tvm_pulp.schedules.matmul_model import (
    block_sizes,
    estimate_cycles,
    is_valid,
    search,
    split_sizes,
    tile_sizes,
)
from tvm_pulp.schedules.matmul_workload import LOOP_ORDERS, Blocking, MatmulSizes, MatmulWorkload
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape


class MatmulTemplate:
    """The template of the matmul class: functions with the attribute ``"pulp.matmul"``."""

    name = "matmul"

    def match(self, function: PrimFunc) -> MatmulWorkload | None:
        """Return the workload of a float32 matmul, None for anything else."""
        attributes = function.attrs.get("pulp.matmul") if function.attrs is not None else None
        if attributes is None or len(function.params) != 3:
            return None
        if any(buffer_dtype(parameter) != "float32" for parameter in function.params):
            return None
        value = {str(key): int(number) for key, number in attributes.items()}
        batch = value.get("batch", 1)
        sizes = MatmulSizes(
            m=value["m"],
            n=value["n"],
            k=value["k"],
            transpose_a=bool(value.get("transpose_a", 0)),
            transpose_b=bool(value.get("transpose_b", 0)),
            batch=batch,
            batch_a=bool(value.get("batch_a", 0)) and batch > 1,
            batch_b=bool(value.get("batch_b", 0)) and batch > 1,
            reduce_batch=bool(value.get("reduce_batch", 0)) and batch > 1,
        )
        workload = MatmulWorkload(function, sizes)
        _check_shapes(workload)
        return workload

    def knobs(self, workload: MatmulWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes, register blocks and loop orders to choose from."""
        w = workload.sizes
        return {
            "tile_m": tile_sizes(w.m, 4),
            "tile_n": tile_sizes(w.n, 4),
            "tile_k": tile_sizes(w.k, 1),
            "tile_batch": tile_sizes(w.batch, 1),
            "block_rows": block_sizes(w.m),
            "block_columns": block_sizes(w.n, w.m),
            "order": list(range(len(LOOP_ORDERS))),
            "copies": [2, 3],
            "split_k": split_sizes(w, features.cores),
        }

    def default(self, workload: MatmulWorkload, features: ClusterFeatures) -> dict[str, int]:
        """Return the knobs with the lowest estimate of all that fit L1."""
        found = search(workload.sizes, features.cores, features.kernel_l1_bytes)
        if found is None:
            raise UserError(
                f"matmul '{workload.name}' does not fit L1 ({features.kernel_l1_bytes} bytes) with any "
                "tile size"
            )
        return asdict(found)

    def l1_bytes(self, workload: MatmulWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return Blocking.of(workload.sizes, knobs).l1_bytes(workload.sizes)

    def is_valid(self, workload: MatmulWorkload, knobs: dict[str, int], l1_bytes: int) -> bool:
        """Tell whether the tiles fit ``l1_bytes`` and the micro-kernel's immediate operands reach."""
        return is_valid(workload.sizes, Blocking.of(workload.sizes, knobs), l1_bytes)

    def estimate_cycles(
        self, workload: MatmulWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call, see ``matmul_model``."""
        return estimate_cycles(workload.sizes, Blocking.of(workload.sizes, knobs), features.cores)

    def build(self, workload: MatmulWorkload, knobs: dict[str, int], features: ClusterFeatures) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return MatmulBuilder(workload, Blocking.of(workload.sizes, knobs), features).build()


def _check_shapes(workload: MatmulWorkload) -> None:
    w = workload.sizes
    have = [1, 1, 1]
    for position, parameter in enumerate(workload.function.params):
        for extent in buffer_shape(parameter):
            have[position] *= extent
    want = list(w.elements)
    if have != want:
        raise UserError(
            f"matmul '{workload.name}' has arguments of {have} elements where its attributes say {want}"
        )
