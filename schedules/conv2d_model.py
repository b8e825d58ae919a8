"""How long the tiles of a convolution take, and the search for the best ones."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import replace
from functools import lru_cache

from tvm_pulp.schedules.conv2d_tiling import (
    ITEM_BYTES,
    Conv2dBlocking,
    axis_extents,
    counts,
    is_valid,
    periods,
    reduction_tiles,
    row_unit,
    tensor_axes,
    tile_elements,
    weights_stay,
)
from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, FORWARD, WEIGHT_GRADIENT, Conv2dSizes
from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.epilogue import is_about
from tvm_pulp.schedules.microkernels.conv2d_results import by_taps
from tvm_pulp.schedules.microkernels.depthwise_plan import depthwise_plans, plane_parts
from tvm_pulp.schedules.microkernels.fpu import cycles_with_shared_fpu

_CYCLES_A_TILE, _CYCLES_A_DEPTHWISE_TILE = 500.0, 100.0
_CYCLES_OF_ROWS, _CYCLES_OF_UNEVEN_TILES = 60.0, 140.0
"""What a depthwise tile takes longer where it holds some of the rows only, and where an axis' last tile is
smaller: sizes are variables then.
"""
_CYCLES_A_BLOCK, _CYCLES_A_GRADIENT_BLOCK = 80.0, 200.0
_CYCLES_A_CLASS = 20.0
"""What the data gradient takes to start with a class of positions."""
_ALONE = 0.75
"""Share of a block's cycles that it takes while the worker that shares the FPU has nothing to do."""
_CYCLES_A_PARTIAL = 2.5
_DMA_BYTES_A_CYCLE = 8.0


def estimate_cycles(s: Conv2dSizes, b: Conv2dBlocking, cores: int) -> float:
    """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
    total = math.prod(counts(s, b).values())
    image_period, operand_period, result_period = periods(s, b)
    image, operand, result = tile_elements(s, b)
    load_image = ITEM_BYTES * image / _DMA_BYTES_A_CYCLE + 30.0 * b.tile_n
    load_operand = ITEM_BYTES * operand / _DMA_BYTES_A_CYCLE + b.tile_o
    store = ITEM_BYTES * result / b.parts / _DMA_BYTES_A_CYCLE + b.tile_o
    loads = total / image_period * load_image + total / operand_period * load_operand
    if weights_stay(s, b):  # the first tile's are waited for
        load_operand *= b.tile_o / s.outputs
    a_tile = _depthwise_tile_cycles(s, b) if s.depthwise else _CYCLES_A_TILE
    work = compute_cycles(s, b, cores) + total * a_tile
    if b.parts > 1:
        work += total / result_period * (result * _CYCLES_A_PARTIAL / cores + _CYCLES_A_BLOCK)
    if s.epilogue is not None:
        results = total / reduction_tiles(s, b)
        loads += results * s.epilogue.loads * store
        row = b.tile_y * (s.width.source if s.kind == DATA_GRADIENT else s.width.out)
        work += results * s.epilogue.compute_cycles(result / b.parts, row, cores)
        store *= s.epilogue.stores
    beside = max(work, loads, total / result_period * store)
    return beside + load_image + load_operand + store * _last_share(s, b)


def _depthwise_tile_cycles(s: Conv2dSizes, b: Conv2dBlocking) -> float:
    """Return the cycles that a tile takes beside its work."""
    extents = axis_extents(s)
    cycles = _CYCLES_A_DEPTHWISE_TILE
    if b.tile_y < extents["y"]:
        cycles += _CYCLES_OF_ROWS
    if any(extents[axis] % b.tile(axis) for axis in "nyo"):
        cycles += _CYCLES_OF_UNEVEN_TILES
    return cycles


def _last_share(s: Conv2dSizes, b: Conv2dBlocking) -> float:
    """Return the size of the last tile of the result, of which nothing hides the store, beside a full one."""
    share = 1.0
    for axis, extent in axis_extents(s).items():
        if axis in tensor_axes(s)[2] and s.kind != WEIGHT_GRADIENT:
            share *= ((extent - 1) % b.tile(axis) + 1) / b.tile(axis)
    return share


def compute_cycles(s: Conv2dSizes, b: Conv2dBlocking, cores: int) -> float:
    """Return the cycles of the work of all tiles, edge tiles counted with their own sizes."""
    variants = []
    for axis, extent in axis_extents(s).items():
        whole, rest = divmod(extent, b.tile(axis))
        variants.append([(b.tile(axis), whole), (rest, 1)] if rest else [(b.tile(axis), whole)])
    cycles = 0.0
    for (_, sections), (_, groups), (n, n_count), (y, y_count), (o, o_count), (
        c,
        c_count,
    ) in itertools.product(*variants):
        one = _tile_cycles(s, b, n, y, o, c, cores)
        cycles += one * sections * groups * n_count * y_count * o_count * c_count
    return cycles


def _tile_cycles(s: Conv2dSizes, b: Conv2dBlocking, n: int, y: int, o: int, c: int, cores: int) -> float:
    if s.depthwise:
        return _depthwise_cycles(s, n, y, o, cores) + _CYCLES_A_BLOCK
    rows, columns = b.block_rows, b.block_columns
    products = rows * columns
    inside = s.height.inside * s.width.inside
    step = cycles_with_shared_fpu(products + rows + columns, products) * inside
    if s.kind == WEIGHT_GRADIENT:
        share = _rounds(ceil_div(o, rows) * s.taps * ceil_div(c, columns), cores // b.parts)
        n, y = (ceil_div(n, b.parts), y) if n >= b.parts else (n, ceil_div(y, b.parts))
        return share * (n * y * (s.width.out * step + 8) + n * 14 + _CYCLES_A_GRADIENT_BLOCK)
    if s.kind == FORWARD:
        share = _rounds(n * ceil_div(o, rows) * y * ceil_div(s.width.out, columns), cores)
        if by_taps(s):
            line = s.height.taps * _tap_line(s.width.taps, rows, columns) * inside
            return share * (c * (line + 14) + _CYCLES_A_BLOCK)
        return share * (s.taps * (c * step + 8) + s.height.taps * 14 + _CYCLES_A_BLOCK)
    cycles, in_taps = 0.0, by_taps(s)
    for row in range(min(s.height.stride, y)):
        for column in range(min(s.width.stride, s.width.source)):
            taps_y, taps_x = len(s.height.class_taps(row)), len(s.width.class_taps(column))
            strips = n * ceil_div(c, rows) * len(range(row, y, s.height.stride))
            width = len(range(column, s.width.source, s.width.stride))
            share = _rounds(strips * ceil_div(width, columns), cores)
            if in_taps:
                block = o * (taps_y * _tap_line(taps_x, rows, columns) * inside + 14)
            else:
                block = taps_y * taps_x * (o * step + 8) + taps_y * 14
            cycles += share * (block + _CYCLES_A_BLOCK)
            cycles += _CYCLES_A_CLASS
    return cycles


def _tap_line(taps: int, rows: int, columns: int) -> float:
    """Return the cycles of a row of taps that are written one after the other, see `tap_panel`."""
    products = rows * columns
    return cycles_with_shared_fpu(taps * (products + rows + columns) + 2, taps * products)


def _depthwise_cycles(s: Conv2dSizes, n: int, y: int, o: int, cores: int) -> float:
    plans = depthwise_plans(s, True)
    unit = plans[0].row_unit
    units = ceil_div(y, unit)
    if s.kind == WEIGHT_GRADIENT:  # the channels are shared out
        shared = ceil_div(o, cores) * n * units
        starts = shared / units
    else:  # the results' rows, so that a worker may start within a channel and end within another
        shared = ceil_div(n * units * o, cores)
        starts = shared // units + (shared % units > 0) * 2
    share = shared * unit / plans[0].rows.results
    return sum(starts * start + share * work for start, work in map(plane_parts, plans))


def _rounds(blocks: int, workers: int) -> float:
    """Return after how many blocks' time all are done; the first half of the workers share no FPU."""
    whole, rest = divmod(blocks, workers)
    return whole + (0.0 if not rest else _ALONE if 2 * rest <= workers else 1.0)


def tile_candidates(extent: int, multiple: int) -> list[int]:
    """Return sizes that split an axis about evenly, in multiples, down to one multiple, largest first."""
    sizes = {min(extent, multiple)}
    for count in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 64, 96, 128):
        sizes.add(min(extent, ceil_div(ceil_div(extent, count), multiple) * multiple))
    return sorted(sizes, reverse=True)


def knob_values(s: Conv2dSizes, cores: int) -> dict[str, list[int]]:
    """Return the values that each knob may take."""
    extents = axis_extents(s)
    has_parts = s.kind == WEIGHT_GRADIENT and not s.depthwise
    return {
        "tile_n": tile_candidates(extents["n"], 1),
        "tile_y": tile_candidates(extents["y"], row_unit(s)),
        "tile_o": tile_candidates(s.outputs, 4),
        "tile_c": tile_candidates(s.inputs, 4),
        "order": [0, 1],
        "parts": [parts for parts in (1, 2, 4, 8) if cores % parts == 0] if has_parts else [1],
    }


@lru_cache(maxsize=4096)
def search(s: Conv2dSizes, cores: int, limit: int) -> Conv2dBlocking | None:
    """Return the blocking with the lowest estimate that fits ``limit`` bytes of L1; None where none does.

    With an epilogue it is that of the convolution alone if it fits; where rows of channels make short tiles
    slow, only if nothing is better by far.
    """
    alone = None
    if s.epilogue is not None:
        alone = search(replace(s, epilogue=None), cores, limit)
        if alone is not None and not is_valid(s, alone, limit):
            alone = None
        if alone is not None and not s.epilogue.by_channel:
            return alone
    best = _least(s, cores, limit)
    if best is None or alone is None:
        return best
    return alone if is_about(*(estimate_cycles(s, b, cores) for b in (alone, best))) else best


def _least(s: Conv2dSizes, cores: int, limit: int) -> Conv2dBlocking | None:
    knobs = knob_values(s, cores)
    found: list[tuple[float, int, Conv2dBlocking]] = []
    for number, values in enumerate(itertools.product(*knobs.values())):
        b = Conv2dBlocking.of(s, dict(zip(knobs, values, strict=True)))
        if is_valid(s, b, limit):
            found.append((estimate_cycles(s, b, cores), number, b))
    return heapq.nsmallest(1, found)[0][2] if found else None
