"""Matrix products of bytes: ``data · weightᵀ``, as in linear layers and 1x1 convolutions, and other layouts.

Tiles of rows and columns in L1, the sum whole; ping-pong buffers with DMA both ways beside the work. A sum
too long for the panels' immediate operands lies in L1 in segments, one behind the other for all rows of a
tile: the DMA puts it so. Of an operand whose sums run down its columns, and of rows of
part words, workers rearrange each tile first, and they unpack weights of 4 bits.
"""

from __future__ import annotations

from dataclasses import replace

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    element,
    flat_argument,
    index,
    kernel_function,
    parallel,
    sequence,
)
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.matmul_kernels import rests
from tvm_pulp.schedules.microkernels.quantized_matmul import quantized_matmul_source
from tvm_pulp.schedules.microkernels.stationary_panel import stationary_matmul_source
from tvm_pulp.schedules.microkernels.transpose_bytes import gather_words_source, transpose_bytes_source
from tvm_pulp.schedules.microkernels.transposing_panel import ROWS
from tvm_pulp.schedules.microkernels.unpack_weight import unpack_weight_source
from tvm_pulp.schedules.quantized_matmul_model import (
    BLOCKS,
    COLUMN,
    MATRIX,
    ROW,
    STATIONARY,
    QuantizedMatmulBlocking,
    axes_of_buffers,
    estimate_cycles,
    l1_bytes,
    search,
    tiled_axes,
    tiles_of,
)
from tvm_pulp.schedules.quantized_matmul_workload import QuantizedMatmulWorkload, read_workload
from tvm_pulp.schedules.quantized_transfers import load_packed, load_segments, load_vectors
from tvm_pulp.schedules.tile_loop import TileLoop
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
        """Return the workload; None for anything else and for rare shifts."""
        if function.attrs is None or "pulp.quantized_matmul" not in function.attrs:
            return None
        return read_workload(function)

    def knobs(self, workload: QuantizedMatmulWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes, register blocks and loop orders to choose from."""
        return {
            "tile_m": tiles_of(workload, "data", [1]),
            "tile_n": tiles_of(workload, "weight", [4]),
            "block_rows": [*BLOCKS, STATIONARY],
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
        self.loop = TileLoop(tiled_axes(workload, blocking), [], self.analyzer)
        self.l1 = L1Allocator()
        self.segments = workload.segments
        self.chunk = workload.k // self.segments
        self.prepared = blocking.prepared(workload, features.cores)
        self.transposing = blocking.transposing_panel(
            workload, features.cores, signed=buffer_dtype(workload.function.params[0]) == "int8"
        )
        self.single = {each for name in workload.stored for each in (name, _stored(name))}

    def build(self) -> PrimFunc:
        w, b, loop = self.w, self.b, self.loop
        arguments = [flat_argument(p) for p in w.function.params]
        self.data, self.weight, *self.terms, self.result = arguments
        self.periods = {name: loop.period(axes) for name, axes in axes_of_buffers().items()}
        self.elements = b.tile_elements(w)
        types = {
            "data": buffer_dtype(self.data),
            "weight": "int8",
            "bias": "int32",
            "result": buffer_dtype(self.result),
        }
        types |= {_stored(name): types[name] for name in w.rearranged}
        if w.packed:
            types[_stored("weight")] = "uint8"
        self.buffers, declarations = {}, []
        for name, elements in self.elements.items():
            copies = 1 if name in self.single or self.periods[name] == loop.total else 2
            self.buffers[name], declaration = self.l1.allocate(f"{name}_l1", elements * copies, types[name])
            declarations.append(declaration)
        body = loop.run(
            self._loads,
            self._stores,
            self._compute,
            self._prepare if self.prepared else None,
            prepare_every=min((self.periods[name] for name in self.prepared), default=1),
        )
        return kernel_function(
            w.function,
            arguments,
            sequence(declarations, body),
            self.l1,
            self.features.cores,
            {
                "pulp.schedule": "quantized_matmul",
                "pulp.tile": f"m {b.tile_m}/{w.m}, n {b.tile_n}/{w.n}; {self._shape()}",
                "pulp.micro_kernels": [*self._rearrangements(), self._micro_kernel()],
            },
        )

    def _shape(self) -> str:
        if self.b.block_rows == STATIONARY:
            return "weights stay in registers"
        return f"register block {self.b.block_rows}x4"

    def _rearrangements(self) -> list[str]:
        w, sources = self.w, []
        tiles = {"data": (w.m, self.b.tile_m), "weight": (w.n, self.b.tile_n)}
        transposed = [tiles[name] for name in self.prepared if name in w.columns]
        if transposed:
            left = set().union(*(rests(*sizes, 4) for sizes in transposed))
            sources.append(transpose_bytes_source(w.k, left, assembly=self.features.has_xpulp))
        if len(w.rearranged) > len(w.columns):
            sources.append(gather_words_source(w.k, assembly=self.features.has_xpulp))
        if w.packed:
            sources.append(unpack_weight_source(assembly=self.features.has_xpulp))
        return sources

    def _micro_kernel(self) -> str:
        w, b = self.w, self.b
        signed = buffer_dtype(w.function.params[0]) == "int8"
        if b.block_rows == STATIONARY:
            panel = w.stationary_panel(b.tile_n, signed=signed)
            return stationary_matmul_source(panel, assembly=self.features.has_xpulp)
        rows, columns = b.block
        return quantized_matmul_source(
            block=b.block,
            row_rests={(w.m - ROWS) % rows} if self.transposing else rests(w.m, b.tile_m, rows),
            column_rests=rests(w.n, b.tile_n, columns),
            along_rows=b.along_rows(w, self.features.cores),
            d=b.distances(w, self.features.cores),
            e=replace(w.epilogue_of, multipliers=4 * b.tile_n, words=not (w.n % 4 or b.tile_n % 4)),
            signed=signed,
            assembly=self.features.has_xpulp,
            transposing=self.transposing,
        )

    def _start(self, name: str, tile: Expr) -> Expr:
        if name in self.single:
            return index(0)
        return self.loop.copy_start(tile, self.periods[name], self.elements[name])

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        axes = self.loop.at(tile)
        row, column = axes[ROW], axes[COLUMN]
        steps: dict[str, list[Stmt]] = {}
        for name, source, axis, extent in (
            ("data", self.data, row, self.w.m),
            ("weight", self.weight, column, self.w.n),
        ):
            if name == "weight" and self.w.packed:
                place, k = self.buffers[_stored(name)], self.w.k
                steps[name] = [
                    load_packed(slot, place, index(0), source, axis.offset * k, axis.size * k, self.analyzer)
                ]
                continue
            rows = self._in_batch(axes, axis, extent)
            if name in self.w.rearranged:
                k, batch = self.w.k, self.w.batch
                box = Box((batch * extent, k), (rows.offset, index(0)), (rows.size, index(k)))
                if name in self.w.columns:
                    sums = self._in_batch(axes, TileAxis(index(0), index(k), k), k)
                    box = Box((batch * k, extent), (sums.offset, axis.offset), (sums.size, axis.size))
                place = self.buffers[_stored(name)]
                steps[name] = [transfer(slot, place, index(0), source, box, TO_L1, self.analyzer)]
                continue
            shape = (self.w.batch * extent, self.segments, self.chunk)
            steps[name] = load_segments(
                slot, self.buffers[name], self._start(name, tile), source, shape, rows, self.analyzer
            )
        for terms in self.terms:
            steps["bias"] = load_vectors(
                slot, self.buffers["bias"], self._start("bias", tile), terms, self.w.n, column, self.analyzer
            )
        new = [self.loop.when_new(tile, self.periods[name], sequence(step)) for name, step in steps.items()]
        return [step for step in new if step is not None]

    def _stores(self, tile: Expr, slot: Expr) -> list[Stmt]:
        axes = self.loop.at(tile)
        row, column = axes[ROW], axes[COLUMN]
        rows = self._in_batch(axes, row, self.w.m)
        box = Box((self.w.batch * self.w.m, self.w.n), (rows.offset, column.offset), (row.size, column.size))
        start = self._start("result", tile)
        return [transfer(slot, self.buffers["result"], start, self.result, box, TO_L2, self.analyzer)]

    def _in_batch(self, axes: dict[Var, TileAxis], axis: TileAxis, extent: int) -> TileAxis:
        """Return a tile's part of the `extent` rows of a matrix, counted over all matrices of the batch."""
        return replace(axis, offset=self.analyzer.simplify(axes[MATRIX].offset * extent + axis.offset))

    def _prepare(self, tile: Expr) -> Stmt:
        """Rearrange or unpack what is new of operands that do not lie as the panels read them."""
        axes = self.loop.at(tile)
        steps = []
        for name in self.prepared:
            size = axes[ROW if name == "data" else COLUMN].size
            places = [self._place(each, tile) for each in (_stored(name), name)]
            if name in self.w.rearranged:
                kernel = "transpose_bytes" if name in self.w.columns else "gather_words"
                call = self._workers(kernel, *places, size, index(self.b.pitch(name)))
            else:
                count = self.analyzer.simplify(size * self.w.k)
                call = self._workers("unpack_weight_tile", *places, count)
            steps.append(self.loop.when_new(tile, self.periods[name], call))
        return sequence(*steps)

    def _compute(self, tile: Expr) -> Stmt:
        axes = self.loop.at(tile)
        bias = self._place("bias", tile) if self.terms else index(0)
        operands = ["data", *([_stored("weight")] if self.transposing else []), "weight"]
        sizes = (axes[ROW].size, axes[COLUMN].size)
        places = [self._place(name, tile) for name in operands]
        result = self._place("result", tile)
        return self._workers("quantized_matmul_tile", *places, bias, result, *sizes)

    def _place(self, name: str, tile: Expr) -> Expr:
        return address_of(element(self.buffers[name], self._start(name, tile)))

    def _workers(self, name: str, *arguments: Expr) -> Stmt:
        worker = Var("worker", "int32")
        return parallel(worker, self.features.cores, Evaluate(call_extern("int32", name, worker, *arguments)))


def _stored(name: str) -> str:
    """Return the name of an operand as it lies in L2, before it is rearranged or unpacked."""
    return f"{name}_stored"
