"""Matrix products of bytes: quantised linear layers and 1x1 convolutions, ``data · weightᵀ``.

Tiles of rows and columns in L1, the sum whole; ping-pong buffers with DMA both ways beside the work. A sum
too long for the panels' immediate operands lies in L1 in segments, one behind the other for all rows of a
tile: the DMA puts it so.
"""

from __future__ import annotations

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import (
    TO_L2,
    L1Allocator,
    element,
    flat_argument,
    index,
    kernel_function,
    parallel,
    sequence,
)
from tvm_pulp.schedules.matmul_build import rests
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.quantized_matmul import quantized_matmul_source
from tvm_pulp.schedules.quantized_matmul_model import (
    BLOCKS,
    QuantizedMatmulBlocking,
    QuantizedMatmulWorkload,
    estimate_cycles,
    l1_bytes,
    read_workload,
    search,
)
from tvm_pulp.schedules.quantized_transfers import load_segments, load_vectors
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import (
    Evaluate,
    Expr,
    PrimFunc,
    Stmt,
    Var,
    address_of,
    arith,
    buffer_dtype,
    call_extern,
)


class QuantizedMatmulTemplate:
    """The template of functions with the attribute ``"pulp.quantized_matmul"``."""

    name = "quantized_matmul"

    def match(self, function: PrimFunc) -> QuantizedMatmulWorkload | None:
        """Return the workload; None for anything else, for sums of part words and for rare shifts."""
        if function.attrs is None or "pulp.quantized_matmul" not in function.attrs:
            return None
        return read_workload(function)

    def knobs(self, workload: QuantizedMatmulWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes, register blocks and loop orders to choose from."""
        return {
            "tile_m": tile_sizes(workload.m, 1),
            "tile_n": tile_sizes(workload.n, 4),
            "block_rows": list(BLOCKS),
            "order": [0, 1],
        }

    def default(self, workload: QuantizedMatmulWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1; None where none do."""
        found = search(workload, features.cores, features.kernel_l1_bytes)
        return None if found is None else found.knobs()

    def l1_bytes(self, workload: QuantizedMatmulWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return l1_bytes(workload, QuantizedMatmulBlocking.of(workload, knobs))

    def estimate_cycles(
        self, workload: QuantizedMatmulWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call, see ``quantized_matmul_model``."""
        return estimate_cycles(workload, QuantizedMatmulBlocking.of(workload, knobs), features.cores)

    def build(
        self, workload: QuantizedMatmulWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _Builder(workload, QuantizedMatmulBlocking.of(workload, knobs), features).build()


class _Builder:
    def __init__(
        self, workload: QuantizedMatmulWorkload, blocking: QuantizedMatmulBlocking, features: ClusterFeatures
    ) -> None:
        self.w, self.b, self.features = workload, blocking, features
        self.analyzer = arith.Analyzer()
        self.row, self.column = Var("row", "int32"), Var("column", "int32")
        axes = [
            TiledAxis(self.row, workload.m, blocking.tile_m),
            TiledAxis(self.column, workload.n, blocking.tile_n),
        ]
        self.loop = TileLoop(axes[::-1] if blocking.order else axes, [], self.analyzer)
        self.l1 = L1Allocator()
        self.segments = workload.segments
        self.chunk = workload.k // self.segments

    def build(self) -> PrimFunc:
        w, b, loop = self.w, self.b, self.loop
        arguments = [flat_argument(p) for p in w.function.params]
        self.data, self.weight, *self.vectors, self.result = arguments
        self.periods = {
            "data": loop.period([self.row]),
            "weight": loop.period([self.column]),
            "bias": loop.period([self.column]),
            "result": loop.period([self.row, self.column]),
        }
        self.elements = b.tile_elements(w)
        types = {
            "data": buffer_dtype(self.data),
            "weight": "int8",
            "bias": "int32",
            "result": buffer_dtype(self.result),
        }
        self.buffers, declarations = {}, []
        for name, elements in self.elements.items():
            copies = 2 if self.periods[name] < loop.total else 1
            self.buffers[name], declaration = self.l1.allocate(f"{name}_l1", elements * copies, types[name])
            declarations.append(declaration)
        body = loop.run(self._loads, self._stores, self._compute)
        return kernel_function(
            w.function,
            arguments,
            sequence(declarations, body),
            self.l1,
            self.features.cores,
            {
                "pulp.schedule": "quantized_matmul",
                "pulp.tile": f"m {b.tile_m}/{w.m}, n {b.tile_n}/{w.n}; register block {b.block_rows}x4",
                "pulp.micro_kernels": [self._micro_kernel()],
            },
        )

    def _micro_kernel(self) -> str:
        w, b = self.w, self.b
        rows, columns = b.block
        return quantized_matmul_source(
            block=b.block,
            row_rests=rests(w.m, b.tile_m, rows),
            column_rests=rests(w.n, b.tile_n, columns),
            along_rows=b.along_rows(w, self.features.cores),
            d=b.distances(w),
            e=w.epilogue(4 * b.bias_elements),
            signed=buffer_dtype(w.function.params[0]) == "int8",
            assembly=self.features.has_xpulp,
        )

    def _start(self, name: str, tile: Expr) -> Expr:
        return self.loop.copy_start(tile, self.periods[name], self.elements[name])

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        axes = self.loop.at(tile)
        row, column = axes[self.row], axes[self.column]
        steps: dict[str, list[Stmt]] = {}
        for name, source, axis, extent in (
            ("data", self.data, row, self.w.m),
            ("weight", self.weight, column, self.w.n),
        ):
            shape = (extent, self.segments, self.chunk)
            steps[name] = load_segments(
                slot, self.buffers[name], self._start(name, tile), source, shape, axis, self.analyzer
            )
        if self.vectors:
            steps["bias"] = load_vectors(
                slot, self.buffers["bias"], self._start("bias", tile), self.vectors, self.w.n, column,
                self.b.bias_elements, self.analyzer,
            )  # fmt: skip
        new = [self.loop.when_new(tile, self.periods[name], sequence(step)) for name, step in steps.items()]
        return [step for step in new if step is not None]

    def _stores(self, tile: Expr, slot: Expr) -> list[Stmt]:
        axes = self.loop.at(tile)
        row, column = axes[self.row], axes[self.column]
        box = Box((self.w.m, self.w.n), (row.offset, column.offset), (row.size, column.size))
        start = self._start("result", tile)
        return [transfer(slot, self.buffers["result"], start, self.result, box, TO_L2, self.analyzer)]

    def _compute(self, tile: Expr) -> Stmt:
        axes = self.loop.at(tile)
        worker = Var("worker", "int32")
        places = {
            name: address_of(element(buffer, self._start(name, tile)))
            for name, buffer in self.buffers.items()
        }
        call = call_extern(
            "int32", "quantized_matmul_tile", worker, places["data"], places["weight"],
            places.get("bias", index(0)), places["result"], axes[self.row].size, axes[self.column].size,
        )  # fmt: skip
        return parallel(worker, self.features.cores, Evaluate(call))
