"""Tiles of a quantised depthwise convolution, an estimate of its cycles, and the search for tiles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

from tvm_pulp.schedules.dialect import aligned, ceil_div
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.byte_planes import MOST_CHANNELS, BytePlanes
from tvm_pulp.schedules.microkernels.quantized_depthwise_shape import DepthwiseShape, row_cycles
from tvm_pulp.schedules.microkernels.unpack_weight import CYCLES_A_VALUE, packed_bytes
from tvm_pulp.schedules.quantized_conv2d_workload import (
    QuantizedConv2dSizes,
    QuantizedConv2dWorkload,
    read_sizes,
)
from tvm_pulp.schedules.tile_loop import TiledAxis
from tvm_pulp.target.tvm_names import PrimFunc, Var

_CYCLES_A_TILE = 400.0
_CYCLES_A_RUN = 80.0
_CYCLES_A_CHANNEL = 28.0
_CYCLES_A_WORD = 18.0
_DMA_BYTES_A_CYCLE = 8.0
_CYCLES_A_LOADED_LINE = 1.1
"""At least, of a 2D transfer."""
_CYCLES_A_STORED_LINE = 1.2
"""Beside its bytes."""


def read_workload(function: PrimFunc) -> QuantizedConv2dWorkload | None:
    """Return the workload; None for windows that the strips do not serve."""
    sizes = read_sizes(function, "pulp.quantized_depthwise")
    if sizes is None or not (sizes.filled and channel_tiles(sizes)):
        return None
    return QuantizedConv2dWorkload(function, sizes)


@dataclass(frozen=True)
class QuantizedDepthwiseBlocking:
    """Bound knobs: rows of results and channels of a tile."""

    tile_y: int
    tile_c: int

    @staticmethod
    def of(s: QuantizedConv2dSizes, knobs: Mapping[str, int]) -> QuantizedDepthwiseBlocking:
        """Return the blocking for knobs."""
        return QuantizedDepthwiseBlocking(min(knobs["tile_y"], s.rows), knobs["tile_c"])

    def knobs(self) -> dict[str, int]:
        """Return the knobs."""
        return asdict(self)

    def shape(self, s: QuantizedConv2dSizes) -> DepthwiseShape:
        """Return what the micro-kernel depends on."""
        shape = _shape(s, self.tile_c)
        tiles = {min(self.tile_y, s.rows), s.rows % self.tile_y or self.tile_y}
        rows = {number for tile in tiles for number in shape.rows_of_classes(tile)}
        return replace(shape, rests=tuple(sorted({number % shape.rows_of_sums for number in rows})))

    def planes(self, s: QuantizedConv2dSizes) -> BytePlanes:
        """Return what the image's rearrangement depends on."""
        shape = _shape(s, self.tile_c)
        every = (s.strides[1], s.dilation[1]) if s.dilation[1] > 1 else (1, 1)
        return BytePlanes(self.tile_c, s.width, s.filled, s.left, shape.words, s.zero_point, *every)

    def slack(self, s: QuantizedConv2dSizes) -> int:
        """Return the bytes behind the image that the last group of four channels reaches."""
        return ceil_div(self.tile_c, 4) * 4 - self.tile_c

    def tile_elements(self, s: QuantizedConv2dSizes) -> dict[str, int]:
        """Return the elements of a tile of each buffer in L1."""
        rows = s.source_rows(self.tile_y)
        words = rows * _shape(s, self.tile_c).words_of_row
        sizes = {
            "data": min(rows, s.height) * s.width * self.tile_c + self.slack(s),
            "planes": words * ceil_div(self.tile_c, 4) * 4,
            "weight": s.channels * s.kernel[0] * s.chunk_of_channel,
            "weight_stored": packed_bytes(s.channels * s.kernel[0] * s.chunk_of_channel) if s.packed else 0,
            "bias": s.epilogue.vectors * s.channels,
            "result": self.tile_y * s.columns * self.tile_c,
        }
        return {name: aligned(size, ITEM[name]) for name, size in sizes.items() if size}


ITEM = {"data": 1, "planes": 4, "weight": 1, "weight_stored": 1, "bias": 4, "result": 1}
"""Bytes of an element of each buffer."""


def _shape(s: QuantizedConv2dSizes, channels: int) -> DepthwiseShape:
    words = ceil_div(ceil_div(s.padded_width, s.dilation[1]), 4)
    return DepthwiseShape(s.kernel, s.strides, s.dilation, channels, s.columns, words)


def channel_tiles(s: QuantizedConv2dSizes) -> list[int]:
    """Return the channels that a tile may have: all of them, or divisors that are multiples of four."""
    divisors = [c for c in range(4, s.channels, 4) if s.channels % c == 0]
    return [c for c in (*divisors, s.channels) if c <= MOST_CHANNELS and _shape(s, c).is_supported()]


def loop_axes(
    s: QuantizedConv2dSizes, b: QuantizedDepthwiseBlocking, variables: Mapping[str, Var]
) -> list[TiledAxis]:
    """Return the axes of the tile loop, outermost first."""
    return [
        TiledAxis(variables["channel"], s.channels, b.tile_c),
        TiledAxis(variables["image"], s.images, 1),
        TiledAxis(variables["row"], s.rows, b.tile_y),
    ]


def _tiles(s: QuantizedConv2dSizes, b: QuantizedDepthwiseBlocking) -> tuple[int, int, int]:
    """Return the number of tiles of rows, of channels, and of all."""
    rows, channels = ceil_div(s.rows, b.tile_y), s.channels // b.tile_c
    return rows, channels, s.images * rows * channels


def copies(s: QuantizedConv2dSizes, b: QuantizedDepthwiseBlocking) -> dict[str, int]:
    """Return the copies of each buffer: two of the results, which leave while the next tile is computed.

    The image is rearranged before the next one arrives, so that one copy of it will do; weights and biases of
    all channels arrive with the first tile.
    """
    total = _tiles(s, b)[2]
    return dict.fromkeys(b.tile_elements(s), 1) | {"result": min(total, 2)}


def l1_bytes(s: QuantizedConv2dSizes, b: QuantizedDepthwiseBlocking) -> int:
    """Return the bytes of all tiles."""
    number = copies(s, b)
    return sum(size * ITEM[name] * number[name] for name, size in b.tile_elements(s).items())


def estimate_cycles(s: QuantizedConv2dSizes, b: QuantizedDepthwiseBlocking, cores: int) -> float:
    """Estimate the cycles of a call: rearranging a tile, then work and DMA side by side."""
    total = _tiles(s, b)[2]
    work = work_cycles(s, b, cores)
    sizes = {name: size * ITEM[name] for name, size in b.tile_elements(s).items()}
    load = sizes["data"] / _DMA_BYTES_A_CYCLE + 30
    store = sizes["result"] / _DMA_BYTES_A_CYCLE + 30
    if b.tile_c < s.channels:  # a pixel is a line
        load = max(load, _CYCLES_A_LOADED_LINE * sizes["data"] / b.tile_c)
        store += _CYCLES_A_STORED_LINE * sizes["result"] / b.tile_c
    weights = (sizes["weight_stored" if s.packed else "weight"] + sizes["bias"]) / _DMA_BYTES_A_CYCLE + 60
    return max(work, total * load, total * store) + load + store + weights


def work_cycles(s: QuantizedConv2dSizes, b: QuantizedDepthwiseBlocking, cores: int) -> float:
    """Estimate the cycles of the work on all tiles, transfers apart."""
    row_tiles, _, total = _tiles(s, b)
    shape = b.shape(s)
    last = s.rows - (row_tiles - 1) * b.tile_y
    compute = 0.0
    for rows, count in ((b.tile_y, row_tiles - 1), (last, 1)):
        words = ceil_div(s.source_rows(rows) * shape.words_of_row * ceil_div(b.tile_c, 4), cores)
        work = words * _CYCLES_A_WORD * (1.5 if b.tile_c % 4 else 1.0)
        classes = list(itertools.product(shape.columns_of_classes, shape.rows_of_classes(rows)))
        strips = [(width, height) for columns, height in classes for width in shape.strips(columns)]
        mean = sum(_channel_cycles(s, shape, *strip) for strip in strips) / len(strips)
        runs = 2 if len(classes) == 1 else len(strips) / cores + len(strips) / len(classes)
        work += ceil_div(len(strips) * b.tile_c, cores) * mean + runs * _CYCLES_A_RUN
        compute += count * work
    compute *= total / row_tiles
    compute += total * _CYCLES_A_TILE
    if s.packed:
        compute += b.tile_elements(s)["weight"] * CYCLES_A_VALUE / cores
    return compute


def _channel_cycles(s: QuantizedConv2dSizes, shape: DepthwiseShape, width: int, rows: int) -> float:
    """Return the cycles of a strip of a channel: loads, products and requantisation of its rows."""
    e = s.epilogue
    if not shape.keeps_sums:
        return _CYCLES_A_CHANNEL + rows * row_cycles(shape, width, e.cycles + 1.0, adds_bias=e.adds_bias)
    words = shape.window_row(width).words
    image_row = words + (words - 1)
    each = 1.0 + e.cycles + e.adds_bias
    each += e.own_shifts * max(0, shape.rows_of_sums - 2)  # sums that move
    stride, _ = shape.steps
    row = image_row * stride + s.kernel[0] * width + width * each + 2
    return _CYCLES_A_CHANNEL + rows * row + (s.kernel[0] - stride) * (image_row + width)


@lru_cache(maxsize=1024)
def search(s: QuantizedConv2dSizes, cores: int, limit: int) -> QuantizedDepthwiseBlocking | None:
    """Return the blocking with the lowest estimate that fits ``limit`` bytes of L1; None where none does."""
    best, least = None, math.inf
    for tile_y, tile_c in itertools.product(tile_sizes(s.rows, 1), channel_tiles(s)):
        b = QuantizedDepthwiseBlocking(tile_y, tile_c)
        if l1_bytes(s, b) <= limit:
            cycles = estimate_cycles(s, b, cores)
            if cycles < least:
                best, least = b, cycles
    return best
