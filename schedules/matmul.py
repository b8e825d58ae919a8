"""Matrix multiplication: linear layers and 1x1 convolutions, forward, data gradient and weight gradient.

``C[b] = op(A[b]) · op(B[b])``, or the sum of that over the batch. Tiles of A, B and C in L1, ping-pong
buffers with DMA both ways beside the work, register blocks shared out over the workers.

Every tile lies in L1 with the row length of a full tile, so that the micro-kernel's distances are constants:
for the last tile of an axis that runs along rows the rows start earlier, as far as a full tile reaches.
"""

from __future__ import annotations

import math
from dataclasses import asdict

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.epilogue import INPUTS, read_epilogue
from tvm_pulp.schedules.matmul_build import MatmulBuilder
from tvm_pulp.schedules.matmul_model import FLOAT32, estimate_cycles, tile_sizes
from tvm_pulp.schedules.matmul_search import (
    block_columns,
    block_sizes,
    copy_counts,
    even_columns,
    search,
    split_sizes,
)
from tvm_pulp.schedules.matmul_workload import LOOP_ORDERS, Blocking, MatmulSizes, MatmulWorkload
from tvm_pulp.schedules.outer_product_build import OuterProductBuilder
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape


class MatmulTemplate:
    """The template of the matmul class: functions with the attribute ``"pulp.matmul"``.

    The products of another type are a class of their own with another type, model and builder.
    """

    name = "matmul"
    dtype = "float32"
    model = FLOAT32
    builder: type[MatmulBuilder] = MatmulBuilder

    def match(self, function: PrimFunc) -> MatmulWorkload | None:
        """Return the workload of a matmul of the template's type, None for anything else."""
        attributes = function.attrs.get("pulp.matmul") if function.attrs is not None else None
        if attributes is None:
            return None
        epilogue = None
        if "pulp.epilogue" in function.attrs:
            epilogue = read_epilogue(function, int(attributes["m"]))
            if epilogue is None:
                return None
        elif len(function.params) != 3:
            return None
        if any(buffer_dtype(parameter) != self.dtype for parameter in function.params):
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
            epilogue=None if epilogue is None else epilogue.sizes,
        )
        workload = MatmulWorkload(function, sizes, epilogue)
        _check_shapes(workload)
        return workload

    def knobs(self, workload: MatmulWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes, register blocks and loop orders to choose from."""
        w = workload.sizes
        return {
            "tile_m": tile_sizes(w.m, 4),
            "tile_n": sorted({*tile_sizes(w.n, 4), *even_columns(w, features.cores)}, reverse=True),
            "tile_k": tile_sizes(w.k, 1),
            "tile_batch": tile_sizes(w.batch, 1),
            "block_rows": block_sizes(w.m),
            "block_columns": block_columns(w, self.model),
            "order": list(range(len(LOOP_ORDERS))),
            "copies": copy_counts(w),
            "split_k": split_sizes(w, features.cores, self.model),
        }

    def default(self, workload: MatmulWorkload, features: ClusterFeatures) -> dict[str, int]:
        """Return the knobs with the lowest estimate of all that fit L1."""
        found = search(workload.sizes, features.cores, features.kernel_l1_bytes, self.model)
        if found is None:
            raise UserError(
                f"matmul '{workload.name}' does not fit L1 ({features.kernel_l1_bytes} bytes) with any "
                "tile size"
            )
        return asdict(found)

    def l1_bytes(self, workload: MatmulWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return self._blocking(workload, knobs).l1_bytes(workload.sizes)

    def is_valid(self, workload: MatmulWorkload, knobs: dict[str, int], l1_bytes: int) -> bool:
        """Tell whether the tiles fit ``l1_bytes`` and the micro-kernel's immediate operands reach."""
        return self.model.is_valid(workload.sizes, self._blocking(workload, knobs), l1_bytes)

    def estimate_cycles(
        self, workload: MatmulWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call, see ``matmul_model``."""
        blocking = self._blocking(workload, knobs)
        return estimate_cycles(workload.sizes, blocking, features.cores, self.model.work)

    def build(self, workload: MatmulWorkload, knobs: dict[str, int], features: ClusterFeatures) -> PrimFunc:
        """Return the function in the cluster dialect."""
        blocking = self._blocking(workload, knobs)
        builder = OuterProductBuilder if blocking.is_outer_product(workload.sizes) else self.builder
        return builder(workload, blocking, features).build()

    def _blocking(self, workload: MatmulWorkload, knobs: dict[str, int]) -> Blocking:
        return self.model.blocking.of(workload.sizes, knobs)


def _check_shapes(workload: MatmulWorkload) -> None:
    w = workload.sizes
    tensors = list(workload.function.params)
    if workload.epilogue is not None:
        tensors[INPUTS:] = [workload.epilogue.result]
    have = [math.prod(buffer_shape(tensor)) for tensor in tensors]
    want = list(w.elements)
    if have != want:
        raise UserError(
            f"matmul '{workload.name}' has arguments of {have} elements where its attributes say {want}"
        )
