"""Quantised depthwise convolutions, channels innermost: windows up to 3x3, strides up to 2, any padding.

A tile of rows of the image arrives in L1, is rearranged, with padding, to words of four columns of a channel
(``microkernels/byte_planes.py``), and makes room for the next one while the windows are computed.
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
    when,
)
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.image_padding import padding_source
from tvm_pulp.schedules.microkernels.quantized_depthwise import quantized_depthwise_source
from tvm_pulp.schedules.padded_image import source_rows
from tvm_pulp.schedules.quantized_depthwise_model import (
    QuantizedDepthwiseBlocking,
    QuantizedDepthwiseWorkload,
    channel_tiles,
    copies,
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
    call_extern,
    tirx,
)

_TYPES = {"data": "uint8", "planes": "uint32", "weight": "int8", "bias": "int32", "result": "uint8"}


class QuantizedDepthwiseTemplate:
    """The template of functions with the attribute ``"pulp.quantized_depthwise"``."""

    name = "quantized_depthwise"

    def match(self, function: PrimFunc) -> QuantizedDepthwiseWorkload | None:
        """Return the workload, None for anything else and for large windows."""
        if function.attrs is None or "pulp.quantized_depthwise" not in function.attrs:
            return None
        return read_workload(function)

    def knobs(self, workload: QuantizedDepthwiseWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes to choose from."""
        return {"tile_y": tile_sizes(workload.sizes.rows, 1), "tile_c": channel_tiles(workload.sizes)}

    def default(
        self, workload: QuantizedDepthwiseWorkload, features: ClusterFeatures
    ) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1; None where none do."""
        found = search(workload.sizes, features.cores, features.kernel_l1_bytes)
        return None if found is None else found.knobs()

    def l1_bytes(self, workload: QuantizedDepthwiseWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return l1_bytes(workload.sizes, QuantizedDepthwiseBlocking.of(workload.sizes, knobs))

    def estimate_cycles(
        self, workload: QuantizedDepthwiseWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call, see ``quantized_depthwise_model``."""
        blocking = QuantizedDepthwiseBlocking.of(workload.sizes, knobs)
        return estimate_cycles(workload.sizes, blocking, features.cores)

    def build(
        self, workload: QuantizedDepthwiseWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _Builder(workload, QuantizedDepthwiseBlocking.of(workload.sizes, knobs), features).build()


class _Builder:
    def __init__(
        self,
        workload: QuantizedDepthwiseWorkload,
        blocking: QuantizedDepthwiseBlocking,
        features: ClusterFeatures,
    ) -> None:
        self.function, self.s, self.b, self.features = workload.function, workload.sizes, blocking, features
        self.analyzer = arith.Analyzer()
        s = self.s
        self.channel, self.batch, self.row = (Var(name, "int32") for name in ("channel", "image", "row"))
        axes = [
            TiledAxis(self.channel, s.channels, blocking.tile_c),
            TiledAxis(self.batch, s.images, 1),
            TiledAxis(self.row, s.rows, blocking.tile_y),
        ]
        self.loop = TileLoop(axes, [], self.analyzer)
        self.l1 = L1Allocator()
        self.shape = blocking.shape(s)
        self.planes = blocking.planes(s)

    def build(self) -> PrimFunc:
        s, b, loop = self.s, self.b, self.loop
        arguments = [flat_argument(p) for p in self.function.params]
        self.data, self.weight, *self.vectors, self.result = arguments
        self.elements, number = b.tile_elements(s), copies(s, b)
        whole = loop.total
        self.periods = {"data": whole, "planes": whole, "result": 1}
        self.buffers, declarations = {}, []
        for name, elements in self.elements.items():
            size = elements * number[name]
            self.buffers[name], declaration = self.l1.allocate(f"{name}_l1", size, _TYPES[name])
            declarations.append(declaration)
        meanwhile = [self._pad(index(0))] if self.pads_once else []
        body = loop.run(self._loads, self._stores, self._compute, self._prepare, meanwhile=meanwhile)
        epilogue = replace(s.epilogue, multipliers=4 * b.bias_elements(s))
        source = quantized_depthwise_source(
            self.shape, self.planes, epilogue, assembly=self.features.has_xpulp
        )
        if s.has_rows_of_padding:
            pitch = self.planes.pitch
            source += "\n" + padding_source(s.zero_point, pitch, 0, pitch, 0, 0, True)
        return kernel_function(
            self.function,
            arguments,
            sequence(declarations, body),
            self.l1,
            self.features.cores,
            {
                "pulp.schedule": "quantized_depthwise",
                "pulp.tile": f"rows {b.tile_y}/{s.rows}, channels {b.tile_c}/{s.channels}",
                "pulp.micro_kernels": [source],
            },
        )

    def _start(self, name: str, tile: Expr) -> Expr:
        return self.loop.copy_start(tile, self.periods[name], self.elements[name])

    def _place(self, name: str, tile: Expr) -> Expr:
        return address_of(element(self.buffers[name], self._start(name, tile)))

    def _workers(self, name: str, *arguments: Expr) -> Stmt:
        worker = Var("worker", "int32")
        return parallel(worker, self.features.cores, Evaluate(call_extern("int32", name, worker, *arguments)))

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        s, b = self.s, self.b
        axes = self.loop.at(tile)
        channel = axes[self.channel]
        _, _, low, valid = source_rows(s, axes[self.row], self.analyzer)
        box = Box(
            (s.images, s.height, s.width, s.channels),
            (axes[self.batch].offset, low, index(0), channel.offset),
            (index(1), valid, index(s.width), channel.size),
        )
        image = transfer(slot, self.buffers["data"], index(0), self.data, box, TO_L1, self.analyzer)
        if not self.analyzer.can_prove(valid > 0):
            image = when(valid > 0, image)
        everything = TileAxis(index(0), index(s.channels), s.channels)
        shape = (s.channels, 1, s.kernel[0] * s.chunk_of_channel)
        weights = load_segments(
            slot, self.buffers["weight"], index(0), self.weight, shape, everything, self.analyzer
        )
        weights += load_vectors(
            slot, self.buffers["bias"], index(0), self.vectors, s.channels, everything, b.bias_elements(s),
            self.analyzer,
        )  # fmt: skip
        new = self.loop.when_new(tile, self.loop.total, sequence(weights))
        return [image, *([] if new is None else [new])]

    @property
    def pads_once(self) -> bool:
        """Whether all tiles have the same rows, whose padding stays."""
        return self.s.has_rows_of_padding and self.b.tile_y >= self.s.rows

    def _pad(self, tile: Expr) -> Stmt:
        """Write the padding above and below, where a tile has some."""
        first, rows, low, valid = source_rows(self.s, self.loop.at(tile)[self.row], self.analyzer)
        before, after = (self.analyzer.simplify(e) for e in (low - first, low + valid - first))
        write = self._workers("quantized_pad_rows", self._place("planes", tile), before, after, rows)
        return when(self.analyzer.simplify(tirx.any(before > 0, after < rows)), write)

    def _prepare(self, tile: Expr) -> Stmt:
        """Write the padding of a tile, and rearrange the image."""
        first, _, low, valid = source_rows(self.s, self.loop.at(tile)[self.row], self.analyzer)
        padding = self._pad(tile) if self.s.has_rows_of_padding and not self.pads_once else None
        start = self.analyzer.simplify((low - first) * (self.planes.pitch // 4))
        planes = address_of(element(self.buffers["planes"], start))
        return sequence(padding, self._workers("byte_planes", self._place("data", tile), planes, valid))

    def _compute(self, tile: Expr) -> Stmt:
        axes = self.loop.at(tile)
        channel = axes[self.channel].offset
        taps = self.s.kernel[0] * self.s.chunk_of_channel
        weight, bias = (
            address_of(element(self.buffers[name], self.analyzer.simplify(channel * step)))
            for name, step in (("weight", taps), ("bias", 1))
        )
        planes, result = (self._place(name, tile) for name in ("planes", "result"))
        return self._workers("quantized_depthwise_tile", planes, weight, bias, result, axes[self.row].size)

    def _stores(self, tile: Expr, slot: Expr) -> list[Stmt]:
        s, axes = self.s, self.loop.at(tile)
        image, row, channel = (axes[variable] for variable in (self.batch, self.row, self.channel))
        box = Box(
            (s.images, s.rows, s.columns, s.channels),
            (image.offset, row.offset, index(0), channel.offset),
            (image.size, row.size, index(s.columns), channel.size),
        )
        start = self._start("result", tile)
        return [transfer(slot, self.buffers["result"], start, self.result, box, TO_L2, self.analyzer)]
