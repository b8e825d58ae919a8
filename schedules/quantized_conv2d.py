"""Quantised convolutions, channels innermost: any window, stride and padding, without groups.

No im2col: a tile of rows of the image lies in L1 with its padding.
"""

from __future__ import annotations

from dataclasses import replace

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
    when,
)
from tvm_pulp.schedules.matmul_build import rests
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.dot_panel import Epilogue
from tvm_pulp.schedules.microkernels.quantized_conv2d import quantized_conv2d_source
from tvm_pulp.schedules.padded_image import PaddedImage
from tvm_pulp.schedules.quantized_conv2d_model import (
    BLOCKS,
    BUFFER_AXES,
    QuantizedConv2dBlocking,
    QuantizedConv2dWorkload,
    estimate_cycles,
    l1_bytes,
    loop_axes,
    read_workload,
    search,
)
from tvm_pulp.schedules.quantized_transfers import load_segments, load_vectors
from tvm_pulp.schedules.tile_loop import TileLoop
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import (
    EQ,
    Evaluate,
    Expr,
    PrimFunc,
    Stmt,
    Var,
    address_of,
    arith,
    buffer_dtype,
    call_extern,
    tirx,
)


class QuantizedConv2dTemplate:
    """The template of functions with the attribute ``"pulp.quantized_conv2d"``."""

    name = "quantized_conv2d"

    def match(self, function: PrimFunc) -> QuantizedConv2dWorkload | None:
        """Return the workload, None for anything else."""
        if function.attrs is None or "pulp.quantized_conv2d" not in function.attrs:
            return None
        return read_workload(function)

    def knobs(self, workload: QuantizedConv2dWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes, register blocks and loop orders to choose from."""
        return {
            "tile_y": tile_sizes(workload.sizes.rows, 1),
            "tile_n": tile_sizes(workload.sizes.outputs, 4),
            "block_pixels": list(BLOCKS),
            "order": [0, 1],
        }

    def default(self, workload: QuantizedConv2dWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1; None where none do."""
        found = search(workload.sizes, features.cores, features.kernel_l1_bytes)
        return None if found is None else found.knobs()

    def l1_bytes(self, workload: QuantizedConv2dWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return l1_bytes(workload.sizes, QuantizedConv2dBlocking.of(workload.sizes, knobs))

    def estimate_cycles(
        self, workload: QuantizedConv2dWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call, see ``quantized_conv2d_model``."""
        return estimate_cycles(
            workload.sizes, QuantizedConv2dBlocking.of(workload.sizes, knobs), features.cores
        )

    def build(
        self, workload: QuantizedConv2dWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _Builder(workload, QuantizedConv2dBlocking.of(workload.sizes, knobs), features).build()


class _Builder:
    def __init__(
        self, workload: QuantizedConv2dWorkload, blocking: QuantizedConv2dBlocking, features: ClusterFeatures
    ) -> None:
        self.function, self.s, self.b, self.features = workload.function, workload.sizes, blocking, features
        self.analyzer = arith.Analyzer()
        self.variables = {name: Var(name, "int32") for name in ("image", "row", "channel")}
        self.loop = TileLoop(loop_axes(self.s, blocking, self.variables), [], self.analyzer)
        self.l1 = L1Allocator()
        self.image = PaddedImage(self.s, blocking.tile_y, features.cores, self.analyzer)

    def build(self) -> PrimFunc:
        s, b, loop = self.s, self.b, self.loop
        arguments = [flat_argument(p) for p in self.function.params]
        self.data, self.weight, *self.vectors, self.result = arguments
        self.elements = b.tile_elements(s)
        types = {"data": "uint8", "weight": "int8", "bias": "int32", "result": buffer_dtype(self.result)}
        self.periods, self.buffers, self.copies, declarations = {}, {}, {}, []
        for name, elements in self.elements.items():
            self.periods[name] = loop.period([self.variables[axis] for axis in BUFFER_AXES[name]])
            self.copies[name] = 2 if self.periods[name] < loop.total else 1
            self.buffers[name], declaration = self.l1.allocate(
                f"{name}_l1", elements * self.copies[name], types[name]
            )
            declarations.append(declaration)
        prepare = self._prepare if s.has_rows_of_padding else None
        starts = [index(copy * self.elements["data"]) for copy in range(self.copies["data"])]
        sides = self.image.write_sides([address_of(element(self.buffers["data"], at)) for at in starts])
        body = loop.run(self._loads, self._stores, self._compute, prepare, meanwhile=sides)
        return kernel_function(
            self.function,
            arguments,
            sequence(declarations, body),
            self.l1,
            self.features.cores,
            {
                "pulp.schedule": "quantized_conv2d",
                "pulp.tile": f"rows {b.tile_y}/{s.rows}, channels {b.tile_n}/{s.outputs}; "
                f"register block {b.block_pixels}x{b.block[1]}",
                "pulp.micro_kernels": [self._micro_kernel()],
            },
        )

    def _micro_kernel(self) -> str:
        s, b = self.s, self.b
        work = quantized_conv2d_source(
            width=s.columns,
            row_stride=s.strides[0] * s.pitch,
            block=b.block,
            column_rests=rests(s.outputs, b.tile_n, b.block[1]),
            d=b.distances(s),
            e=self._epilogue(),
            assembly=self.features.has_xpulp,
        )
        return f"{work}\n{self.image.micro_kernel()}"

    def _epilogue(self) -> Epilogue:
        words = self.s.outputs % 4 == 0 and self.b.tile_n % 4 == 0
        return replace(self.s.epilogue, multipliers=4 * self.b.bias_elements, words=words)

    def _start(self, name: str, tile: Expr) -> Expr:
        return self.loop.copy_start(tile, self.periods[name], self.elements[name])

    def _place(self, name: str, tile: Expr) -> Expr:
        return address_of(element(self.buffers[name], self._start(name, tile)))

    def _workers(self, name: str, *arguments: Expr) -> Stmt:
        worker = Var("worker", "int32")
        return parallel(worker, self.features.cores, Evaluate(call_extern("int32", name, worker, *arguments)))

    def _prepare(self, tile: Expr) -> Stmt:
        """Write the padding above and below, where a tile has some."""
        row = self.loop.at(tile)[self.variables["row"]]
        condition, write = self.image.write_rows(self._place("data", tile), row)
        if self.periods["data"] > 1:
            condition = tirx.all(condition, EQ(tirx.floormod(tile, self.periods["data"]), 0))
        return when(self.analyzer.simplify(condition), write)

    def _load_image(self, tile: Expr, slot: Expr) -> list[Stmt]:
        axes = self.loop.at(tile)
        image, row = (axes[self.variables[name]] for name in ("image", "row"))
        start = self._start("data", tile)
        return self.image.load(slot, self.buffers["data"], start, self.data, image.offset, row)

    # pipeline

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        s, b = self.s, self.b
        channel = self.loop.at(tile)[self.variables["channel"]]
        segments = b.segments(s)
        shape = (s.outputs, segments, s.kernel[0] * s.chunk // segments)
        steps = {
            "data": self._load_image(tile, slot),
            "weight": load_segments(
                slot, self.buffers["weight"], self._start("weight", tile), self.weight, shape, channel,
                self.analyzer,
            ),
        }  # fmt: skip
        if self.vectors:
            steps["bias"] = load_vectors(
                slot, self.buffers["bias"], self._start("bias", tile), self.vectors, s.outputs, channel,
                b.bias_elements, self.analyzer,
            )  # fmt: skip
        new = [self.loop.when_new(tile, self.periods[name], sequence(step)) for name, step in steps.items()]
        return [step for step in new if step is not None]

    def _stores(self, tile: Expr, slot: Expr) -> list[Stmt]:
        s, axes = self.s, self.loop.at(tile)
        image, row, channel = (axes[self.variables[name]] for name in ("image", "row", "channel"))
        box = Box(
            (s.images, s.rows, s.columns, s.outputs),
            (image.offset, row.offset, index(0), channel.offset),
            (image.size, row.size, index(s.columns), channel.size),
        )
        start = self._start("result", tile)
        return [transfer(slot, self.buffers["result"], start, self.result, box, TO_L2, self.analyzer)]

    def _compute(self, tile: Expr) -> Stmt:
        axes = self.loop.at(tile)
        sizes = (axes[self.variables[name]].size for name in ("row", "channel"))
        places = {name: self._place(name, tile) for name in self.buffers}
        bias = places.get("bias", index(0))
        return self._workers(
            "quantized_conv2d_tile", places["data"], places["weight"], bias, places["result"], *sizes
        )
