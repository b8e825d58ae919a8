"""Tiles of a quantised convolution, an estimate of its cycles, and the search for tiles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

from tvm_pulp.schedules.dialect import aligned, ceil_div
from tvm_pulp.schedules.dot_panel_model import block_cycles
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.dot_panel import DotDistances, longest_distance
from tvm_pulp.schedules.microkernels.shared_columns import shares_columns
from tvm_pulp.schedules.microkernels.stationary_panel import stationary_cycles
from tvm_pulp.schedules.microkernels.unpack_weight import CYCLES_A_VALUE, begins_words, packed_bytes
from tvm_pulp.schedules.microkernels.window_panel import PIXELS, column_words, window_cycles
from tvm_pulp.schedules.quantized_conv2d_workload import (
    BLOCK_OUTPUTS,
    BLOCKS,
    SHARING_BLOCKS,
    SHARING_OUTPUTS,
    WINDOW_OUTPUTS,
    QuantizedConv2dSizes,
)
from tvm_pulp.schedules.tile_loop import TiledAxis, period
from tvm_pulp.target.tvm_names import Var

STATIONARY = 0
"""In place of pixels of a register block: the weights stay in registers, see ``stationary_panel``."""
_CYCLES_A_TILE = 200.0
_CYCLES_A_PANEL = 100.0
_CYCLES_A_SIZE = 200.0
"""Of a second size of register blocks in a tile: its code is not in the instruction cache."""
_DMA_BYTES_A_CYCLE = 8.0
_CYCLES_A_COLUMN = 120.0
"""Of putting side by side what belongs to a channel, see ``window_panel``."""
_CYCLES_A_LINE = 12.0
"""A row of the image is a transfer of its own."""


@dataclass(frozen=True)
class QuantizedConv2dBlocking:
    """Bound knobs: rows and output channels of a tile, pixels of the register block, order of the tile loops.

    Order 0 has the channels inside, so that an image tile stays; order 1 has them outside, so that the
    weights stay. With `STATIONARY` pixels the weights stay in registers. Blocks of `SHARING_OUTPUTS`
    channels load each column of the image once for all windows, see ``shared_columns``; with
    `WINDOW_OUTPUTS` the windows stay in registers, see ``window_panel``.
    """

    tile_y: int
    tile_n: int
    block_pixels: int
    block_outputs: int
    order: int

    @staticmethod
    def of(s: QuantizedConv2dSizes, knobs: Mapping[str, int]) -> QuantizedConv2dBlocking:
        """Return the blocking for knobs, clipped to the workload's extents and the instructions' reach."""
        reach = next(b for b in BLOCKS if s.strides[1] * s.channels <= longest_distance(b))
        tile_y, tile_n = min(knobs["tile_y"], s.rows), min(knobs["tile_n"], s.outputs_of_group)
        pixels = knobs["block_pixels"]
        if knobs["block_outputs"] == WINDOW_OUTPUTS and s.can_keep_windows(tile_n):
            return QuantizedConv2dBlocking(tile_y, tile_n, PIXELS, WINDOW_OUTPUTS, knobs["order"])
        if pixels == STATIONARY and not s.can_be_stationary(tile_n):
            pixels = BLOCKS[-1]
        b = QuantizedConv2dBlocking(tile_y, tile_n, min(pixels, s.columns), BLOCK_OUTPUTS, knobs["order"])
        sharing = replace(b, block_outputs=SHARING_OUTPUTS)
        if knobs["block_outputs"] == SHARING_OUTPUTS and pixels and sharing.can_share(s):
            return sharing
        return replace(b, block_pixels=min(b.block_pixels, reach))

    def knobs(self) -> dict[str, int]:
        """Return the knobs."""
        return asdict(self)

    @property
    def block(self) -> tuple[int, int]:
        """Pixels and output channels of the register block."""
        return self.block_pixels, min(self.block_outputs, self.tile_n)

    @property
    def keeps_windows(self) -> bool:
        """Whether windows stay in registers."""
        return self.block_outputs == WINDOW_OUTPUTS

    @property
    def shares(self) -> bool:
        """Whether the windows of a block share columns of the image."""
        return self.block_outputs == SHARING_OUTPUTS and self.block_pixels != STATIONARY

    def can_share(self, s: QuantizedConv2dSizes) -> bool:
        """Tell whether the windows of a block can share columns, with its sizes."""
        whole_words = s.inputs % 4 == 0 and s.kernel[1] > 1
        return whole_words and shares_columns(*self.block, self.distances(s))

    def distances(self, s: QuantizedConv2dSizes) -> DotDistances:
        """Return the path of the sum."""
        whole, (rows, columns), row = s.segments == 1, s.kernel, s.dilation[0] * s.pitch
        if self.shares:
            return self._sharing_distances(s)
        if s.taps_apart:
            chunk, segments, turns, tap = s.inputs, columns, rows, s.dilation[1] * s.channels
            a_skip, a_turn = tap - chunk, row - columns * tap if rows > 1 else 0
        else:
            chunk, segments, turns, a_skip, a_turn = s.chunk, rows, 1, row - s.chunk, 0
        column, b_skip = (rows * s.chunk, 0) if whole else (chunk, (self.tile_n - 1) * chunk)
        a_row, depth = s.strides[1] * s.channels, chunk // 4
        return DotDistances(a_row, column, depth, segments, a_skip, b_skip, turns, a_turn)

    def _sharing_distances(self, s: QuantizedConv2dSizes) -> DotDistances:
        """Return the path of a sum whose steps take a word of each tap of a row of the window."""
        (rows, taps), row = s.kernel, s.dilation[0] * s.pitch
        # the weights of all rows of a channel lie together, or those of all channels of a row, or of a tap
        column, tap, next_row = rows * s.chunk, s.inputs, s.chunk
        if s.segments > 1:
            column, next_row = s.chunk, self.tile_n * s.chunk
            if s.taps_apart:
                column, tap = s.inputs, self.tile_n * s.inputs
        return DotDistances(
            s.strides[1] * s.channels, column, s.inputs // 4, rows, row - s.inputs, next_row - s.inputs,
            taps=taps, a_tap=s.dilation[1] * s.channels, b_tap=tap,
        )  # fmt: skip

    def tile_elements(self, s: QuantizedConv2dSizes) -> dict[str, int]:
        """Return the elements of a tile of each buffer in L1."""
        sizes = {
            "data": s.source_rows(self.tile_y) * s.pitch + s.slack,
            "weight": self.tile_n * s.kernel[0] * s.chunk,
            "weight_stored": packed_bytes(self.tile_n * s.kernel[0] * s.chunk) if s.packed else 0,
            "bias": s.epilogue.vectors * self.tile_n if s.epilogue.requantize else 0,
            "result": self.tile_y * s.columns * self.tile_n,
        }
        if self.keeps_windows:
            sizes["columns"] = self.tile_n * column_words(s.stationary_panel(self.tile_n))
        return {name: aligned(size, _item(s, name)) for name, size in sizes.items() if size}


_AXES = {name: Var(name, "int32") for name in ("image", "row", "channel")}
BUFFER_AXES = {
    "data": ("image", "row"),
    "weight": ("channel",),
    "weight_stored": ("channel",),
    "bias": ("channel",),
    "columns": ("channel",),
    "result": ("image", "row", "channel"),
}
"""Axes that the box of each buffer depends on."""


def loop_axes(
    s: QuantizedConv2dSizes, b: QuantizedConv2dBlocking, variables: Mapping[str, Var]
) -> list[TiledAxis]:
    """Return the axes of the tile loop, outermost first."""
    image = TiledAxis(variables["image"], s.images, 1)
    row = TiledAxis(variables["row"], s.rows, b.tile_y)
    channel = TiledAxis(variables["channel"], s.outputs, b.tile_n)
    return [channel, image, row] if b.order else [image, row, channel]


def _item(s: QuantizedConv2dSizes, name: str) -> int:
    """Return the bytes of an element of a buffer."""
    return {"bias": 4, "columns": 4, "result": s.epilogue.item}.get(name, 1)


def _tiles(s: QuantizedConv2dSizes, b: QuantizedConv2dBlocking) -> tuple[int, dict[str, int], dict[str, int]]:
    """Return the number of tiles, for how many in a row each box stays the same, and the bytes of each."""
    axes = loop_axes(s, b, _AXES)
    names = b.tile_elements(s)
    periods = {name: period(axes, [_AXES[a] for a in BUFFER_AXES[name]]) for name in names}
    sizes = {name: size * _item(s, name) for name, size in b.tile_elements(s).items()}
    return math.prod(axis.count for axis in axes), periods, sizes


def l1_bytes(s: QuantizedConv2dSizes, b: QuantizedConv2dBlocking) -> int:
    """Return the bytes of all tiles, two copies of those that change from tile to tile."""
    total, periods, sizes = _tiles(s, b)
    number = copies(s, total, periods)
    return sum(size * number[name] for name, size in sizes.items())


def copies(s: QuantizedConv2dSizes, total: int, periods: Mapping[str, int]) -> dict[str, int]:
    """Return the copies of each buffer: two of what changes from tile to tile.

    One will do of weights that are unpacked, before and after: the next ones are loaded in between. So it
    will of what the workers make of weights and biases.
    """
    single = ("columns", *(("weight", "weight_stored") if s.packed else ()))
    return {name: 1 if same_for >= total or name in single else 2 for name, same_for in periods.items()}


def estimate_cycles(s: QuantizedConv2dSizes, b: QuantizedConv2dBlocking, cores: int) -> float:
    """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
    total, periods, sizes = _tiles(s, b)
    work = work_cycles(s, b, cores)
    lines = {"data": s.source_rows(b.tile_y), "weight": 2, "weight_stored": 2, "bias": 2, "result": 1}
    if b.tile_n < s.outputs:
        lines["result"] = b.tile_y * s.columns // 8
    sizes.pop("columns", 0)
    cost = {name: size / _DMA_BYTES_A_CYCLE + _CYCLES_A_LINE * lines[name] for name, size in sizes.items()}
    if s.packed:
        cost["weight"] = cost.pop("weight_stored")
    store = cost.pop("result")
    dma_in = sum(total / periods[name] * value for name, value in cost.items())
    # core 0 starts the transfers
    issue = total / periods["data"] * lines["data"] * _CYCLES_A_LINE
    return max(work + issue, dma_in, total * store) + sum(cost.values()) + store


def work_cycles(s: QuantizedConv2dSizes, b: QuantizedConv2dBlocking, cores: int) -> float:
    """Estimate the cycles of the work on all tiles, transfers apart."""
    total, periods, sizes = _tiles(s, b)
    work = total * _CYCLES_A_TILE
    for (rows, row_count), (n, n_count) in itertools.product(
        _parts(s.rows, b.tile_y), _parts(s.outputs, b.tile_n)
    ):
        work += _tile_cycles(s, b, rows, n, cores) * row_count * n_count * s.images
    if s.packed:
        work += total / periods["weight"] * sizes["weight"] * CYCLES_A_VALUE / cores
    if b.keeps_windows:
        work += total / periods["columns"] * ceil_div(b.tile_n, cores) * _CYCLES_A_COLUMN
    return work


def _tile_cycles(
    s: QuantizedConv2dSizes, b: QuantizedConv2dBlocking, rows: int, outputs: int, cores: int
) -> float:
    """Return the cycles of the slowest worker: contiguous runs of blocks, output channels innermost."""
    if b.keeps_windows:
        across = ceil_div(s.columns, PIXELS)
        units = ceil_div(rows * across, cores)
        runs = ceil_div(units, across) + (units % across > 0)
        return window_cycles(units, runs, s.columns, outputs, s.stationary_panel(b.tile_n))
    if b.block_pixels == STATIONARY:
        pixels = ceil_div(rows * s.columns, cores)
        runs = ceil_div(pixels, s.columns) + (pixels % s.columns > 0)
        each = stationary_cycles(0, outputs, s.stationary_panel(b.tile_n))
        return stationary_cycles(pixels, outputs, s.stationary_panel(b.tile_n)) + (runs - 1) * each
    d = b.distances(s)
    misaligned = d.turns * d.segments * d.depth if s.channels % 4 else 0

    def pixel_cycles(pixels: int) -> list[float]:
        """Return the cycles of each block of some pixels."""
        widths = [width for width, count in _parts(outputs, b.block[1]) for _ in range(count)]
        return [block_cycles(pixels, width, d, s.epilogue) + misaligned * pixels for width in widths]

    blocks = [cycles for pixels, count in _parts(s.columns, b.block_pixels)
              for _ in range(count) for cycles in pixel_cycles(pixels)]  # fmt: skip
    before = [0.0, *itertools.accumulate(blocks)]  # in a row
    each = len(blocks)

    def until(number: int) -> float:
        return number // each * before[-1] + before[number % each]

    chunk, more = divmod(rows * each, cores)
    ends = [worker * chunk + min(worker, more) for worker in range(cores + 1)]
    slowest = max(
        until(end) - until(start) + (ceil_div(end, each) - start // each) * _CYCLES_A_PANEL
        for start, end in itertools.pairwise(ends)
    )
    return slowest + _CYCLES_A_SIZE * (s.columns % b.block_pixels > 0)


def _parts(extent: int, tile: int) -> list[tuple[int, int]]:
    whole, rest = divmod(extent, tile)
    return [(tile, whole), (rest, 1)] if rest else [(tile, whole)]


def output_tiles(s: QuantizedConv2dSizes) -> list[int]:
    """Return the output channels that a tile may have, all of one group.

    Fewer than a register block's where sums are so long that the weights of four may not fit L1. A tile of
    weights of 4 bits begins with a word.
    """
    sizes = tile_sizes(s.outputs_of_group, BLOCK_OUTPUTS)
    fewer = [n for n in (2, 1) if n < sizes[-1] and s.chunk > longest_distance(BLOCK_OUTPUTS)]
    found = [n for n in sizes + fewer if s.groups == 1 or s.outputs_of_group % n == 0]
    return [n for n in found if not s.packed or begins_words(n, s.outputs, s.kernel[0] * s.chunk)]


@lru_cache(maxsize=1024)
def search(s: QuantizedConv2dSizes, cores: int, limit: int) -> QuantizedConv2dBlocking | None:
    """Return the blocking with the lowest estimate that fits ``limit`` bytes of L1; None where none does."""
    best, least = None, math.inf
    blocks = [(pixels, BLOCK_OUTPUTS) for pixels in (*BLOCKS, STATIONARY)]
    blocks += [(pixels, SHARING_OUTPUTS) for pixels in SHARING_BLOCKS]
    blocks.append((PIXELS, WINDOW_OUTPUTS))
    for tile_y, tile_n, (pixels, outputs), order in itertools.product(
        tile_sizes(s.rows, 1), output_tiles(s), blocks, (0, 1)
    ):
        knobs = {"tile_y": tile_y, "tile_n": tile_n, "order": order}
        knobs |= {"block_pixels": pixels, "block_outputs": outputs}
        b = QuantizedConv2dBlocking.of(s, knobs)
        if l1_bytes(s, b) <= limit:
            cycles = estimate_cycles(s, b, cores)
            if cycles < least:
                best, least = b, cycles
    return best
