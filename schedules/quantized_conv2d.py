"""Quantised convolutions, channels innermost: any window, stride, padding, dilation; groups of whole words.

No im2col: a tile of rows of the image lies in L1 with its padding.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import (
    element,
    index,
    sequence,
    when,
)
from tvm_pulp.schedules.matmul_kernels import rests
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.dot_panel import Epilogue
from tvm_pulp.schedules.microkernels.quantized_conv2d import quantized_conv2d_source, stationary_conv2d_source
from tvm_pulp.schedules.microkernels.window_panel import window_conv2d_source
from tvm_pulp.schedules.padded_image import PaddedImage
from tvm_pulp.schedules.quantized_conv2d_model import (
    BUFFER_AXES,
    STATIONARY,
    QuantizedConv2dBlocking,
    copies,
    estimate_cycles,
    l1_bytes,
    loop_axes,
    output_tiles,
    search,
    work_cycles,
)
from tvm_pulp.schedules.quantized_conv2d_workload import (
    BLOCK_OUTPUTS,
    BLOCKS,
    SHARING_BLOCKS,
    SHARING_OUTPUTS,
    WINDOW_OUTPUTS,
    QuantizedConv2dWorkload,
    read_workload,
)
from tvm_pulp.schedules.quantized_convolution import (
    ConvolutionModel,
    ConvolutionTemplate,
)
from tvm_pulp.schedules.quantized_convolution_build import ConvolutionBuilder
from tvm_pulp.schedules.quantized_transfers import load_vectors
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
    model = ConvolutionModel(
        read_workload,
        search,
        QuantizedConv2dBlocking.of,
        l1_bytes,
        estimate_cycles,
        work_cycles,
        channels="tile_n",
        scratch="data",
        takes_tensors=lambda s, _: s.segments == 1,
    )

    def knobs(self, workload: QuantizedConv2dWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes, register blocks and loop orders to choose from."""
        return {
            "tile_y": tile_sizes(workload.sizes.rows, 1),
            "tile_n": output_tiles(workload.sizes),
            "block_pixels": sorted({*BLOCKS, *SHARING_BLOCKS, STATIONARY}),
            "block_outputs": [BLOCK_OUTPUTS, SHARING_OUTPUTS, WINDOW_OUTPUTS],
            "order": [0, 1],
        }

    def build_blocking(
        self,
        workload: QuantizedConv2dWorkload,
        blocking: QuantizedConv2dBlocking,
        features: ClusterFeatures,
        scratch: Collection[str] | None,
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _Builder(workload, blocking, features, scratch).build()


class _Builder(ConvolutionBuilder[QuantizedConv2dBlocking]):
    def __init__(
        self,
        workload: QuantizedConv2dWorkload,
        blocking: QuantizedConv2dBlocking,
        features: ClusterFeatures,
        scratch: Collection[str] | None,
    ) -> None:
        super().__init__(
            workload, blocking, features, lambda v: loop_axes(workload.sizes, blocking, v), scratch
        )
        self.image = PaddedImage(self.s, blocking.tile_y, features.cores, self.analyzer)
        self.pads_tiles = self.s.has_rows_of_padding and not self.image.pads_rows_once
        periods = {
            name: self.loop.period([self.variables[axis] for axis in BUFFER_AXES[name]])
            for name in self.elements
        }
        if self.in_place:
            self.allocate(periods, dict.fromkeys(periods, 1))
        else:
            self.allocate(periods, copies(self.s, self.loop.total, periods))

    def build(self) -> PrimFunc:
        s, b = self.s, self.b
        prepares = self.pads_tiles or s.packed or self.in_place or b.keeps_windows
        prepare = self._prepare if prepares else None
        starts = [index(copy * self.elements["data"]) for copy in range(self.copies["data"])]
        padding = self.image.write_once([address_of(element(self.buffers["data"], at)) for at in starts])
        every = 1 if self.pads_tiles or self.in_place else self.periods["weight"]
        body = self.run(self._loads, self._compute, prepare, padding, every)
        block = f"register block {b.block_pixels}x{b.block[1]}"
        if b.keeps_windows or b.block_pixels == STATIONARY:
            block = f"{'windows' if b.keeps_windows else 'weights'} stay in registers"
        tile = f"rows {b.tile_y}/{s.rows}, channels {b.tile_n}/{s.outputs}; {block}"
        return self.finish(body, tile, self._micro_kernel(), "quantized_conv2d")

    def _micro_kernel(self) -> str:
        copying = self.image.copying(assembly=self.features.has_xpulp) if self.in_place else ""
        return f"{self._panels()}\n{copying}\n{self.image.micro_kernel()}"

    def _panels(self) -> str:
        s, b = self.s, self.b
        if b.keeps_windows:
            return window_conv2d_source(
                s.stationary_panel(b.tile_n),
                width=s.columns,
                row_stride=s.strides[0] * s.pitch,
                assembly=self.features.has_xpulp,
            )
        if b.block_pixels == STATIONARY:
            return stationary_conv2d_source(
                s.stationary_panel(b.tile_n),
                width=s.columns,
                row_stride=s.strides[0] * s.pitch,
                assembly=self.features.has_xpulp,
            )
        return quantized_conv2d_source(
            width=s.columns,
            row_stride=s.strides[0] * s.pitch,
            block=b.block,
            column_rests=rests(s.outputs_of_group, b.tile_n, b.block[1]),
            d=b.distances(s),
            e=self._epilogue(),
            assembly=self.features.has_xpulp,
        )

    def _epilogue(self) -> Epilogue:
        words = self.s.outputs % 4 == 0 and self.b.tile_n % 4 == 0
        return replace(self.s.epilogue, multipliers=4 * self.b.tile_n, words=words)

    def _prepare(self, tile: Expr) -> Stmt:
        """Unpack or arrange weights, copy the rows of an image in L1, write the padding above and below."""
        s = self.s
        return sequence(
            self.unpack_weights(tile, s.kernel[0] * s.chunk, self.axis(tile, "channel")[0]),
            self._arrange_columns(tile) if self.b.keeps_windows else None,
            self._copy_image(tile) if self.in_place else None,
            self._pad_rows(tile) if self.pads_tiles else None,
        )

    def _arrange_columns(self, tile: Expr) -> Stmt | None:
        """Put side by side what belongs to each channel, where it is new."""
        places = [self.place(name, tile) for name in ("weight", "bias", "columns")]
        call = self.workers("arrange_columns", *places, self.axis(tile, "channel")[0].size)
        return self.loop.when_new(tile, self.periods["columns"], call)

    def _pad_rows(self, tile: Expr) -> Stmt:
        """Write the padding above and below, where a tile has some."""
        row = self.loop.at(tile)[self.variables["row"]]
        condition, write = self.image.write_rows(self.place("data", tile), row)
        if self.periods["data"] > 1:
            condition = tirx.all(condition, EQ(tirx.floormod(tile, self.periods["data"]), 0))
        return when(self.analyzer.simplify(condition), write)

    def _copy_image(self, tile: Expr) -> Stmt | None:
        image, row = self.axis(tile, "image", "row")
        return self.image.copy(self.buffers["data"], self.start("data", tile), self.data, image.offset, row)

    def _load_image(self, tile: Expr, slot: Expr) -> list[Stmt]:
        axes = self.loop.at(tile)
        image, row = (axes[self.variables[name]] for name in ("image", "row"))
        start = self.start("data", tile)
        return self.image.load(slot, self.buffers["data"], start, self.data, image.offset, row)

    # pipeline

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        s = self.s
        channel = self.loop.at(tile)[self.variables["channel"]]
        shape = (s.outputs, s.segments, s.kernel[0] * s.chunk // s.segments)
        # the long transfer first: the image's rows, one by one, start while it runs
        steps = {"weight": self.load_weights(tile, slot, shape, channel)}
        for terms in self.terms:
            steps["bias"] = load_vectors(
                slot, self.buffers["bias"], self.start("bias", tile), terms, s.outputs, channel, self.analyzer
            )
        steps["data"] = self._load_image(tile, slot)
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
            places["columns" if self.b.keeps_windows else "weight"],
            places.get("bias", index(0)),
            places["result"],
            row.size,
            channel.size,
        )
