"""Quantised depthwise convolutions 3x3 with stride 2, channels innermost, any padding, in groups of four.

A tile of rows of the image lies in L1 with its padding around it, and is not rearranged: see
``microkernels/depthwise_quads.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import aligned, ceil_div, element, index, sequence, when
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.depthwise_quads import (
    DepthwiseQuads,
    depthwise_quads_source,
    quads_cycles,
)
from tvm_pulp.schedules.microkernels.unpack_weight import CYCLES_A_VALUE, packed_bytes
from tvm_pulp.schedules.padded_image import PaddedImage
from tvm_pulp.schedules.quantized_conv2d_workload import QuantizedConv2dSizes, QuantizedConv2dWorkload
from tvm_pulp.schedules.quantized_convolution import (
    ConvolutionModel,
    ConvolutionTemplate,
)
from tvm_pulp.schedules.quantized_convolution_build import ConvolutionBuilder
from tvm_pulp.schedules.quantized_depthwise_model import ITEM
from tvm_pulp.schedules.quantized_depthwise_model import read_workload as read_depthwise
from tvm_pulp.schedules.quantized_transfers import load_vectors
from tvm_pulp.schedules.tile_loop import TiledAxis
from tvm_pulp.target.tvm_names import Expr, PrimFunc, Stmt, Var, address_of

_CYCLES_A_TILE = 200.0
_CYCLES_A_LINE = 12.0
"""A row of the image is a transfer of its own, which core 0 starts."""
_DMA_BYTES_A_CYCLE = 8.0


def read_workload(function: PrimFunc) -> QuantizedConv2dWorkload | None:
    """Return the workload; None for other windows, strides, channels and requantisations."""
    workload = read_depthwise(function)
    if workload is None:
        return None
    s = workload.sizes
    window = s.kernel == (3, 3) and s.strides == (2, 2) and s.dilation == (1, 1)
    return workload if window and _quads(s).is_supported() else None


def _quads(s: QuantizedConv2dSizes) -> DepthwiseQuads:
    epilogue = replace(s.epilogue, multipliers=4 * s.channels)
    return DepthwiseQuads(s.channels, s.columns, s.pitch, epilogue)


@dataclass(frozen=True)
class DepthwiseQuadsBlocking:
    """Bound knobs: rows of results of a tile."""

    tile_y: int

    @staticmethod
    def of(s: QuantizedConv2dSizes, knobs: Mapping[str, int]) -> DepthwiseQuadsBlocking:
        """Return the blocking for knobs."""
        return DepthwiseQuadsBlocking(min(knobs["tile_y"], s.rows))

    def knobs(self) -> dict[str, int]:
        """Return the knobs."""
        return asdict(self)

    def tile_elements(self, s: QuantizedConv2dSizes) -> dict[str, int]:
        """Return the elements of a tile of each buffer in L1."""
        sizes = {
            "data": s.source_rows(self.tile_y) * s.pitch,
            "weight": s.channels * s.kernel[0] * s.chunk_of_channel,
            "weight_stored": packed_bytes(s.channels * s.kernel[0] * s.chunk_of_channel) if s.packed else 0,
            "bias": s.epilogue.vectors * s.channels,
            "result": self.tile_y * s.columns * s.channels,
        }
        return {name: aligned(size, ITEM[name]) for name, size in sizes.items() if size}

    def copies(self, s: QuantizedConv2dSizes) -> dict[str, int]:
        """Return the copies of each buffer: two of what changes from tile to tile."""
        several = 1 + (s.images * s.rows > self.tile_y)
        return dict.fromkeys(self.tile_elements(s), 1) | {"data": several, "result": several}


def l1_bytes(s: QuantizedConv2dSizes, b: DepthwiseQuadsBlocking) -> int:
    """Return the bytes of all tiles."""
    copies = b.copies(s)
    return sum(size * ITEM[name] * copies[name] for name, size in b.tile_elements(s).items())


def estimate_cycles(s: QuantizedConv2dSizes, b: DepthwiseQuadsBlocking, cores: int) -> float:
    """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
    total, lines = s.images * ceil_div(s.rows, b.tile_y), s.source_rows(b.tile_y)
    sizes = b.tile_elements(s)
    load = sizes["data"] / _DMA_BYTES_A_CYCLE + lines * _CYCLES_A_LINE
    store = sizes["result"] / _DMA_BYTES_A_CYCLE + 30
    work = work_cycles(s, b, cores) + total * lines * _CYCLES_A_LINE
    weights = sizes["weight_stored" if s.packed else "weight"] + 4 * sizes["bias"]
    first = load + weights / _DMA_BYTES_A_CYCLE + 60
    return max(work, total * load, total * store) + first + store


def work_cycles(s: QuantizedConv2dSizes, b: DepthwiseQuadsBlocking, cores: int) -> float:
    """Estimate the cycles of the work on all tiles, transfers apart."""
    tiles = ceil_div(s.rows, b.tile_y)
    rest = s.rows - (tiles - 1) * b.tile_y
    work = (tiles - 1) * quads_cycles(b.tile_y, _quads(s), cores) + quads_cycles(rest, _quads(s), cores)
    unpacking = b.tile_elements(s)["weight"] * CYCLES_A_VALUE / cores if s.packed else 0.0
    return s.images * (work + tiles * _CYCLES_A_TILE) + unpacking


@lru_cache(maxsize=1024)
def search(s: QuantizedConv2dSizes, cores: int, limit: int) -> DepthwiseQuadsBlocking | None:
    """Return the blocking with the lowest estimate that fits ``limit`` bytes of L1; None where none does."""
    choices = [b for b in map(DepthwiseQuadsBlocking, tile_sizes(s.rows, 1)) if l1_bytes(s, b) <= limit]
    return min(choices, key=lambda b: estimate_cycles(s, b, cores), default=None)


class DepthwiseQuadsTemplate(ConvolutionTemplate[DepthwiseQuadsBlocking]):
    """The template of functions with the attribute ``"pulp.quantized_depthwise"``, 3x3 with stride 2."""

    name = "quantized_depthwise_quads"
    attribute = "pulp.quantized_depthwise"
    model = ConvolutionModel(
        read_workload,
        search,
        DepthwiseQuadsBlocking.of,
        l1_bytes,
        estimate_cycles,
        work_cycles,
        channels=None,
        scratch="data",
        takes_tensors=lambda _, __: True,
    )

    def knobs(self, workload: QuantizedConv2dWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes to choose from."""
        return {"tile_y": tile_sizes(workload.sizes.rows, 1)}

    def build_blocking(
        self,
        workload: QuantizedConv2dWorkload,
        blocking: DepthwiseQuadsBlocking,
        features: ClusterFeatures,
        scratch: Collection[str] | None,
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _Builder(workload, blocking, features, scratch).build()


class _Builder(ConvolutionBuilder[DepthwiseQuadsBlocking]):
    def __init__(
        self,
        workload: QuantizedConv2dWorkload,
        blocking: DepthwiseQuadsBlocking,
        features: ClusterFeatures,
        scratch: Collection[str] | None,
    ) -> None:
        s = workload.sizes

        def axes(variables: Mapping[str, Var]) -> list[TiledAxis]:
            channel = TiledAxis(variables["channel"], s.channels, s.channels)
            row = TiledAxis(variables["row"], s.rows, blocking.tile_y)
            return [channel, TiledAxis(variables["image"], s.images, 1), row]

        super().__init__(workload, blocking, features, axes, scratch)
        self.image = PaddedImage(s, blocking.tile_y, features.cores, self.analyzer)
        self.pads_tiles = s.has_rows_of_padding and not self.image.pads_rows_once
        self.channels = TileAxis(index(0), index(s.channels), s.channels)
        periods = dict.fromkeys(self.elements, self.loop.total) | {"data": 1, "result": 1}
        self.allocate(periods, dict.fromkeys(periods, 1) if self.in_place else blocking.copies(s))

    def build(self) -> PrimFunc:
        s, b = self.s, self.b
        prepare = self._prepare if self.pads_tiles or s.packed or self.in_place else None
        starts = [index(copy * self.elements["data"]) for copy in range(self.copies["data"])]
        padding = self.image.write_once([address_of(element(self.buffers["data"], at)) for at in starts])
        every = 1 if self.pads_tiles or self.in_place else self.loop.total
        body = self.run(self._loads, self._compute, prepare, padding, every)
        sources = [depthwise_quads_source(_quads(s), assembly=self.features.has_xpulp)]
        if self.in_place:
            sources.append(self.image.copying(assembly=self.features.has_xpulp))
        source = "\n".join([*sources, self.image.micro_kernel()])
        tile = f"rows {b.tile_y}/{s.rows}; four channels of a column at a time"
        return self.finish(body, tile, source, "quantized_depthwise_quads")

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        s = self.s
        image, row = self.axis(tile, "image", "row")
        place = self.buffers["data"], self.start("data", tile)
        steps = self.image.load(slot, *place, self.data, image.offset, row)
        shape = (s.channels, 1, s.kernel[0] * s.chunk_of_channel)
        weights = self.load_weights(tile, slot, shape, self.channels)
        weights += load_vectors(
            slot, self.buffers["bias"], index(0), self.terms[0], s.channels, self.channels, self.analyzer
        )
        new = self.loop.when_new(tile, self.loop.total, sequence(weights))
        return [*steps, *([] if new is None else [new])]

    def _prepare(self, tile: Expr) -> Stmt:
        """Unpack weights, copy the rows of an image in L1, write the padding above and below."""
        image, row = self.axis(tile, "image", "row")
        steps = [self.unpack_weights(tile, self.s.kernel[0] * self.s.chunk_of_channel, self.channels)]
        if self.in_place:
            place = self.buffers["data"], self.start("data", tile)
            steps.append(self.image.copy(*place, self.data, image.offset, row))
        if self.pads_tiles:
            condition, write = self.image.write_rows(self.place("data", tile), row)
            steps.append(when(self.analyzer.simplify(condition), write))
        return sequence(*steps)

    def _compute(self, tile: Expr) -> Stmt:
        places = (self.place(name, tile) for name in ("data", "weight", "bias", "result"))
        return self.workers("depthwise_quads_tile", *places, self.axis(tile, "row")[0].size)
