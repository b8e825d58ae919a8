"""Quantised convolutions, channels innermost: any window, stride, padding, dilation; groups of whole words.

No im2col: a tile of rows of the image lies in L1 with its padding.
"""

from __future__ import annotations

from dataclasses import replace

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import (
    element,
    index,
    sequence,
    when,
)
from tvm_pulp.schedules.matmul_build import rests
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.dot_panel import Epilogue
from tvm_pulp.schedules.microkernels.quantized_conv2d import quantized_conv2d_source, stationary_conv2d_source
from tvm_pulp.schedules.padded_image import PaddedImage
from tvm_pulp.schedules.quantized_conv2d_model import (
    BUFFER_AXES,
    STATIONARY,
    QuantizedConv2dBlocking,
    estimate_cycles,
    l1_bytes,
    loop_axes,
    output_tiles,
    search,
)
from tvm_pulp.schedules.quantized_conv2d_workload import BLOCKS, QuantizedConv2dWorkload, read_workload
from tvm_pulp.schedules.quantized_convolution import (
    ConvolutionBuilder,
    ConvolutionModel,
    ConvolutionTemplate,
)
from tvm_pulp.schedules.quantized_transfers import load_segments, load_vectors
from tvm_pulp.target.tvm_names import (
    EQ,
    Expr,
    PrimFunc,
    Stmt,
    address_of,
    tirx,
)


class QuantizedConv2dTemplate(ConvolutionTemplate[QuantizedConv2dBlocking]):
    """The template of functions with the attribute ``"pulp.quantized_conv2d"``."""

    name = "quantized_conv2d"
    attribute = "pulp.quantized_conv2d"
    model = ConvolutionModel(read_workload, search, QuantizedConv2dBlocking.of, l1_bytes, estimate_cycles)

    def knobs(self, workload: QuantizedConv2dWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes, register blocks and loop orders to choose from."""
        return {
            "tile_y": tile_sizes(workload.sizes.rows, 1),
            "tile_n": output_tiles(workload.sizes),
            "block_pixels": [*BLOCKS, STATIONARY],
            "order": [0, 1],
        }

    def build(
        self, workload: QuantizedConv2dWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _Builder(workload, QuantizedConv2dBlocking.of(workload.sizes, knobs), features).build()


class _Builder(ConvolutionBuilder[QuantizedConv2dBlocking]):
    def __init__(
        self, workload: QuantizedConv2dWorkload, blocking: QuantizedConv2dBlocking, features: ClusterFeatures
    ) -> None:
        super().__init__(workload, blocking, features, lambda v: loop_axes(workload.sizes, blocking, v))
        self.image = PaddedImage(self.s, blocking.tile_y, features.cores, self.analyzer)
        periods = {
            name: self.loop.period([self.variables[axis] for axis in BUFFER_AXES[name]])
            for name in self.elements
        }
        copies = {name: 2 if same_for < self.loop.total else 1 for name, same_for in periods.items()}
        self.allocate(periods, copies)

    def build(self) -> PrimFunc:
        s, b = self.s, self.b
        prepare = self._prepare if s.has_rows_of_padding and not self.image.pads_rows_once else None
        starts = [index(copy * self.elements["data"]) for copy in range(self.copies["data"])]
        padding = self.image.write_once([address_of(element(self.buffers["data"], at)) for at in starts])
        body = self.loop.run(self._loads, self.stores, self._compute, prepare, meanwhile=padding)
        block = "weights stay in registers"
        if b.block_pixels != STATIONARY:
            block = f"register block {b.block_pixels}x{b.block[1]}"
        tile = f"rows {b.tile_y}/{s.rows}, channels {b.tile_n}/{s.outputs}; {block}"
        return self.finish(body, tile, self._micro_kernel(), "quantized_conv2d")

    def _micro_kernel(self) -> str:
        s, b = self.s, self.b
        if b.block_pixels == STATIONARY:
            work = stationary_conv2d_source(
                s.stationary_panel(b.tile_n),
                width=s.columns,
                row_stride=s.strides[0] * s.pitch,
                assembly=self.features.has_xpulp,
            )
            return f"{work}\n{self.image.micro_kernel()}"
        work = quantized_conv2d_source(
            width=s.columns,
            row_stride=s.strides[0] * s.pitch,
            block=b.block,
            column_rests=rests(s.outputs_of_group, b.tile_n, b.block[1]),
            d=b.distances(s),
            e=self._epilogue(),
            assembly=self.features.has_xpulp,
        )
        return f"{work}\n{self.image.micro_kernel()}"

    def _epilogue(self) -> Epilogue:
        words = self.s.outputs % 4 == 0 and self.b.tile_n % 4 == 0
        return replace(self.s.epilogue, multipliers=4 * self.b.bias_elements, words=words)

    def _prepare(self, tile: Expr) -> Stmt:
        """Write the padding above and below, where a tile has some."""
        row = self.loop.at(tile)[self.variables["row"]]
        condition, write = self.image.write_rows(self.place("data", tile), row)
        if self.periods["data"] > 1:
            condition = tirx.all(condition, EQ(tirx.floormod(tile, self.periods["data"]), 0))
        return when(self.analyzer.simplify(condition), write)

    def _load_image(self, tile: Expr, slot: Expr) -> list[Stmt]:
        axes = self.loop.at(tile)
        image, row = (axes[self.variables[name]] for name in ("image", "row"))
        start = self.start("data", tile)
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
                slot, self.buffers["weight"], self.start("weight", tile), self.weight, shape, channel,
                self.analyzer,
            ),
        }  # fmt: skip
        if self.vectors:
            steps["bias"] = load_vectors(
                slot, self.buffers["bias"], self.start("bias", tile), self.vectors, s.outputs, channel,
                b.bias_elements, self.analyzer,
            )  # fmt: skip
        new = [self.loop.when_new(tile, self.periods[name], sequence(step)) for name, step in steps.items()]
        return [step for step in new if step is not None]

    def _compute(self, tile: Expr) -> Stmt:
        axes = self.loop.at(tile)
        row, channel = (axes[self.variables[name]] for name in ("row", "channel"))
        places = {name: self.place(name, tile) for name in self.buffers}
        group = tirx.floordiv(channel.offset, self.s.outputs_of_group)
        image = self.start("data", tile) + group * self.s.inputs
        return self.workers(
            "quantized_conv2d_tile",
            address_of(element(self.buffers["data"], self.analyzer.simplify(image))),
            places["weight"],
            places.get("bias", index(0)),
            places["result"],
            row.size,
            channel.size,
        )
