"""Quantised depthwise convolutions, channels innermost: any window that registers serve, stride and padding.

A tile of rows of the image arrives in L1, is rearranged, with padding, to words of four columns of a channel
(``microkernels/byte_planes.py``), and makes room for the next one while the windows are computed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import (
    TO_L1,
    element,
    index,
    sequence,
    when,
)
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.image_padding import padding_source
from tvm_pulp.schedules.microkernels.quantized_depthwise import quantized_depthwise_source
from tvm_pulp.schedules.padded_image import source_rows
from tvm_pulp.schedules.quantized_conv2d_workload import QuantizedConv2dWorkload
from tvm_pulp.schedules.quantized_convolution import (
    ConvolutionModel,
    ConvolutionTemplate,
)
from tvm_pulp.schedules.quantized_convolution_build import ConvolutionBuilder
from tvm_pulp.schedules.quantized_depthwise_model import (
    QuantizedDepthwiseBlocking,
    channel_tiles,
    copies,
    estimate_cycles,
    l1_bytes,
    loop_axes,
    read_workload,
    search,
    work_cycles,
)
from tvm_pulp.schedules.quantized_transfers import load_vectors
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import (
    Expr,
    PrimFunc,
    Stmt,
    address_of,
    tirx,
)


class QuantizedDepthwiseTemplate(ConvolutionTemplate[QuantizedDepthwiseBlocking]):
    """The template of functions with the attribute ``"pulp.quantized_depthwise"``, but very wide windows."""

    name = "quantized_depthwise"
    attribute = "pulp.quantized_depthwise"
    model = ConvolutionModel(
        read_workload,
        search,
        QuantizedDepthwiseBlocking.of,
        l1_bytes,
        estimate_cycles,
        work_cycles,
        channels="tile_c",
        scratch="planes",
        takes_tensors=lambda s, b: not b.slack(s),
    )

    def knobs(self, workload: QuantizedConv2dWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes to choose from."""
        return {"tile_y": tile_sizes(workload.sizes.rows, 1), "tile_c": channel_tiles(workload.sizes)}

    def build_blocking(
        self,
        workload: QuantizedConv2dWorkload,
        blocking: QuantizedDepthwiseBlocking,
        features: ClusterFeatures,
        scratch: Collection[str] | None,
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _Builder(workload, blocking, features, scratch).build()


class _Builder(ConvolutionBuilder[QuantizedDepthwiseBlocking]):
    def __init__(
        self,
        workload: QuantizedConv2dWorkload,
        blocking: QuantizedDepthwiseBlocking,
        features: ClusterFeatures,
        scratch: Collection[str] | None,
    ) -> None:
        super().__init__(
            workload, blocking, features, lambda v: loop_axes(workload.sizes, blocking, v), scratch
        )
        self.shape, self.planes = blocking.shape(self.s), blocking.planes(self.s)
        periods = dict.fromkeys(self.elements, self.loop.total) | {"result": 1}
        self.allocate(periods, copies(self.s, blocking))

    def build(self) -> PrimFunc:
        s, b = self.s, self.b
        meanwhile = [self._pad(index(0))] if self.pads_once else []
        body = self.run(self._loads, self._compute, self._prepare, meanwhile)
        epilogue = replace(s.epilogue, multipliers=4 * s.channels)
        source = quantized_depthwise_source(
            self.shape, self.planes, epilogue, assembly=self.features.has_xpulp
        )
        if s.has_rows_of_padding:
            pitch = self.planes.pitch
            source += "\n" + padding_source(s.zero_point, pitch, 0, pitch, 0, 0, True)
        tile = f"rows {b.tile_y}/{s.rows}, channels {b.tile_c}/{s.channels}"
        return self.finish(body, tile, source, "quantized_depthwise")

    def _all_channels(self) -> TileAxis:
        return TileAxis(index(0), index(self.s.channels), self.s.channels)

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        s = self.s
        image_axis, row, channel = self.axis(tile, "image", "row", "channel")
        _, _, low, valid = source_rows(s, row, self.analyzer)
        box = Box(
            (s.images, s.height, s.width, s.channels),
            (image_axis.offset, low, index(0), channel.offset),
            (index(1), valid, index(s.width), channel.size),
        )
        image = transfer(slot, self.buffers["data"], index(0), self.data, box, TO_L1, self.analyzer)
        if not self.analyzer.can_prove(valid > 0):
            image = when(valid > 0, image)
        everything = self._all_channels()
        shape = (s.channels, 1, s.kernel[0] * s.chunk_of_channel)
        weights = self.load_weights(tile, slot, shape, everything)
        weights += load_vectors(
            slot, self.buffers["bias"], index(0), self.terms[0], s.channels, everything, self.analyzer
        )
        new = self.loop.when_new(tile, self.loop.total, sequence(weights))
        return [image, *([] if new is None else [new])]

    @property
    def pads_once(self) -> bool:
        """Whether all tiles have the same rows, whose padding stays."""
        return self.s.has_rows_of_padding and self.b.tile_y >= self.s.rows

    def _pad(self, tile: Expr) -> Stmt:
        """Write the padding above and below, where a tile has some."""
        first, rows, low, valid = source_rows(self.s, self.axis(tile, "row")[0], self.analyzer)
        before, after = (self.analyzer.simplify(e) for e in (low - first, low + valid - first))
        write = self.workers("quantized_pad_rows", self.place("planes", tile), before, after, rows)
        return when(self.analyzer.simplify(tirx.any(before > 0, after < rows)), write)

    def _prepare(self, tile: Expr) -> Stmt:
        """Unpack the weights, write the padding of a tile, and rearrange the image."""
        values = self.s.kernel[0] * self.s.chunk_of_channel
        unpacking = self.unpack_weights(tile, values, self._all_channels())
        first, _, low, valid = source_rows(self.s, self.axis(tile, "row")[0], self.analyzer)
        padding = self._pad(tile) if self.s.has_rows_of_padding and not self.pads_once else None
        start = self.analyzer.simplify((low - first) * (self.planes.pitch // 4))
        planes = address_of(element(self.buffers["planes"], start))
        return sequence(
            unpacking, padding, self.workers("byte_planes", self.place("data", tile), planes, valid)
        )

    def _compute(self, tile: Expr) -> Stmt:
        row, channel = self.axis(tile, "row", "channel")
        taps = self.s.kernel[0] * self.s.chunk_of_channel
        weight, bias = (
            address_of(element(self.buffers[name], self.analyzer.simplify(channel.offset * step)))
            for name, step in (("weight", taps), ("bias", 1))
        )
        planes, result = (self.place(name, tile) for name in ("planes", "result"))
        return self.workers("quantized_depthwise_tile", planes, weight, bias, result, row.size)
