"""Pooling of bytes with their channels innermost: tiles of rows, DMA both ways beside the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    aligned,
    ceil_div,
    element,
    flat_argument,
    index,
    kernel_function,
    sequence,
)
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.quantized_pool import (
    PoolArithmetic,
    QuantizedPoolSettings,
    quantized_pool_source,
)
from tvm_pulp.schedules.padded_image import source_rows
from tvm_pulp.schedules.row_tiles import call_workers
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import Expr, PrimFunc, Stmt, Var, address_of, arith, buffer_shape

_OPERATORS = ("quantized_max_pool2d", "quantized_avg_pool2d")
_CYCLES_A_WINDOW, _CYCLES_A_PART = 4.0, 60.0
_CYCLES_A_TILE = 150.0
_CYCLES_OF_PLAIN_C = 5.0
_DMA_BYTES_A_CYCLE = 8.0


@dataclass(frozen=True)
class QuantizedPoolWorkload:
    """A kernel of the classes; `source_rows` reads its windows from it.

    Attributes
    ----------
    function : PrimFunc
        With a buffer for data and one for results.
    images : int
        Of the batch.
    padding : four int
        Top, left, bottom, right.
    settings : QuantizedPoolSettings
        All else.
    """

    function: PrimFunc
    images: int
    padding: tuple[int, int, int, int]
    settings: QuantizedPoolSettings

    @property
    def height(self) -> int:
        """Rows of an image."""
        return self.settings.image[0]

    @property
    def strides(self) -> tuple[int, int]:
        """Of rows and columns."""
        return self.settings.strides

    def source_rows(self, rows: int) -> int:
        """Return the rows of an image, with its padding, that some rows of results need."""
        return (rows - 1) * self.strides[0] + self.settings.window[0]


class QuantizedPoolTemplate:
    """The template of pooled bytes: whole words of channels, averages with one divisor that fits 32 bits."""

    name = "quantized_pool"

    def match(self, function: PrimFunc) -> QuantizedPoolWorkload | None:
        """Return the workload; None for anything else."""
        attributes = function.attrs or {}
        if "pulp.quantized_pool2d" not in attributes:
            return None
        pool, averages = attributes["pulp.quantized_pool2d"], _averages(function)
        window, strides, dilation = (_pair(pool[key]) for key in ("kernel", "strides", "dilation"))
        top, left, bottom, right = padding = tuple(int(n) for n in pool["padding"])
        images, height, width, channels = buffer_shape(function.params[0])
        if dilation != (1, 1) or channels % 4 or max(top, bottom) >= window[0]:
            return None
        if max(left, right) >= window[1] or (
            averages and ("pulp.scaled_sum" not in attributes or any(padding))
        ):
            return None
        arithmetic = None
        if averages:
            numbers = {str(name): int(value) for name, value in attributes["pulp.scaled_sum"].items()}
            arithmetic = PoolArithmetic(**numbers)
        pooled = _pair(buffer_shape(function.params[-1])[1:3])
        settings = QuantizedPoolSettings((height, width), pooled, channels, window, strides, left, arithmetic)
        if not (averages or settings.is_written_out):
            return None
        return QuantizedPoolWorkload(function, images, (top, left, bottom, right), settings)

    def knobs(self, workload: QuantizedPoolWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return numbers of rows of a tile to choose from."""
        return {"tile_y": tile_sizes(workload.settings.pooled[0], 1)}

    def default(self, workload: QuantizedPoolWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1; None where none do."""
        choices = [{"tile_y": size} for size in self.knobs(workload, features)["tile_y"]]
        fit = [knobs for knobs in choices if self.l1_bytes(workload, knobs) <= features.kernel_l1_bytes]
        return min(fit, key=lambda knobs: self.estimate_cycles(workload, knobs, features), default=None)

    def l1_bytes(self, workload: QuantizedPoolWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return _copies(workload, knobs["tile_y"]) * sum(_tile_bytes(workload, knobs["tile_y"]))

    def estimate_cycles(
        self, workload: QuantizedPoolWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
        s, rows = workload.settings, knobs["tile_y"]
        taps = s.window[0] * s.window[1]
        maxima = 2 * taps
        if s.walks(s.window[1]):
            maxima = s.strides[1] * (2 * s.window[0] - 1) + 4
        a_word = (maxima if s.arithmetic is None else 4 * taps + 15) + _CYCLES_A_WINDOW * 4 / s.channels
        if not features.has_xpulp:
            a_word = 4 * (taps + 2) * _CYCLES_OF_PLAIN_C
        words, parts = rows * s.pooled[1] * s.channels // 4, _parts(s, rows, features.cores)
        if s.is_written_out:
            units = rows * parts
            busy = ceil_div(units, features.cores)
            work = busy * (words / units * a_word + _CYCLES_A_PART)
        else:
            work = ceil_div(words, features.cores) * a_word + _CYCLES_A_PART
        load, save = (size / _DMA_BYTES_A_CYCLE for size in _tile_bytes(workload, rows))
        tiles = workload.images * ceil_div(s.pooled[0], rows)
        return tiles * max(work + _CYCLES_A_TILE, load) + load + save

    def build(
        self, workload: QuantizedPoolWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _build(workload, knobs["tile_y"], features)


def _averages(function: PrimFunc) -> bool:
    return str(function.attrs["pulp.operator"]) == _OPERATORS[1]


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _parts(s: QuantizedPoolSettings, rows: int, cores: int) -> int:
    """Return into how many parts rows are split, so that workers have as much to do, or nearly."""
    for parts in (1, 2, 4):
        if parts < s.pooled[1] and rows * parts / (ceil_div(rows * parts, cores) * cores) > 0.9:
            return parts
    return min(cores, s.pooled[1])


def _tile_bytes(w: QuantizedPoolWorkload, rows: int) -> tuple[int, int]:
    """Return the bytes of a tile of data and of results, up to where the next one may start."""
    s = w.settings
    sizes = (
        min(w.source_rows(rows), s.image[0]) * s.image[1] * s.channels,
        rows * s.pooled[1] * s.channels,
    )
    data, results = (aligned(size) for size in sizes)
    return data, results


def _copies(w: QuantizedPoolWorkload, rows: int) -> int:
    return min(2, w.images * ceil_div(w.settings.pooled[0], rows))


def _build(w: QuantizedPoolWorkload, tile_y: int, features: ClusterFeatures) -> PrimFunc:
    s, analyzer, l1 = w.settings, arith.Analyzer(), L1Allocator()
    image, row = Var("image", "int32"), Var("row", "int32")
    loop = TileLoop([TiledAxis(image, w.images, 1), TiledAxis(row, s.pooled[0], tile_y)], [], analyzer)
    data, result = arguments = [flat_argument(parameter) for parameter in w.function.params]
    sizes = _tile_bytes(w, tile_y)
    copies = min(2, loop.total)
    data_l1, declare_data = l1.allocate("data_l1", copies * sizes[0], "uint8")
    result_l1, declare_result = l1.allocate("result_l1", copies * sizes[1], "uint8")

    def box(lines: int, pitch: int, tile: Expr, low: Expr, size: Expr) -> Box:
        shape = (w.images, lines, pitch)
        return Box(shape, (loop.at(tile)[image].offset, low, index(0)), (index(1), size, index(pitch)))

    def loads(tile: Expr, slot: Expr) -> list[Stmt]:
        _, _, low, valid = source_rows(w, loop.at(tile)[row], analyzer)
        moved = box(s.image[0], s.image[1] * s.channels, tile, low, valid)
        start = loop.copy_start(tile, 1, sizes[0])
        return [transfer(slot, data_l1, start, data, moved, TO_L1, analyzer)]

    def stores(tile: Expr, slot: Expr) -> list[Stmt]:
        rows = loop.at(tile)[row]
        moved = box(s.pooled[0], s.pooled[1] * s.channels, tile, rows.offset, rows.size)
        start = loop.copy_start(tile, 1, sizes[1])
        return [transfer(slot, result_l1, start, result, moved, TO_L2, analyzer)]

    def compute(tile: Expr) -> Stmt:
        rows = loop.at(tile)[row]
        first, _, low, valid = source_rows(w, rows, analyzer)
        above = analyzer.simplify(low - first)
        places = [
            address_of(element(buffer, loop.copy_start(tile, 1, size)))
            for buffer, size in zip((data_l1, result_l1), sizes, strict=True)
        ]
        return call_workers(features.cores, "quantized_pool_tile", [*places, rows.size, above, valid])

    parts = _parts(s, tile_y, features.cores)
    return kernel_function(
        w.function,
        arguments,
        sequence(declare_data, declare_result, loop.run(loads, stores, compute)),
        l1,
        features.cores,
        {
            "pulp.schedule": "quantized_pool",
            "pulp.tile": f"rows {tile_y}/{s.pooled[0]}",
            "pulp.micro_kernels": [quantized_pool_source(s, parts, assembly=features.has_xpulp)],
        },
    )
