"""Tiles of a convolution: what they need of L1, how long they take, and the search for the best ones."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, FORWARD, WEIGHT_GRADIENT, Conv2dSizes
from tvm_pulp.schedules.dialect import ALIGNMENT, ceil_div
from tvm_pulp.schedules.epilogue import is_about
from tvm_pulp.schedules.microkernels.conv2d import by_taps, conv2d_distances
from tvm_pulp.schedules.microkernels.depthwise_plan import depthwise_plans, plane_cycles
from tvm_pulp.schedules.microkernels.fpu import cycles_with_shared_fpu

LOOP_ORDERS = ("nyr", "rny")
"""Orders of the tile loops: images, rows, and the result's channels (``r``) inside or outside."""

_ITEM = 4
_CYCLES_A_TILE, _CYCLES_A_DEPTHWISE_TILE = 400.0, 250.0
_CYCLES_A_BLOCK, _CYCLES_A_GRADIENT_BLOCK = 80.0, 200.0
_CYCLES_A_CLASS = 20.0
"""What the data gradient takes to start with a class of positions."""
_ALONE = 0.75
"""Share of a block's cycles that it takes while the worker that shares the FPU has nothing to do."""
_CYCLES_A_PARTIAL = 2.5
_DMA_BYTES_A_CYCLE = 8.0


@dataclass(frozen=True)
class Conv2dBlocking:
    """Bound knobs. ``tile_y`` counts rows of the output (of the data for the data gradient).

    ``parts`` partial sums of the weight gradient are made side by side by different workers.
    """

    tile_n: int
    tile_y: int
    tile_o: int
    tile_c: int
    order: int
    block_rows: int = 4
    block_columns: int = 4
    parts: int = 1

    @staticmethod
    def of(s: Conv2dSizes, knobs: Mapping[str, int]) -> Conv2dBlocking:
        """Return the blocking for knobs, clipped to the sizes."""
        rows_total, columns_total = panel_extents(s)
        return Conv2dBlocking(
            min(knobs["tile_n"], axis_extents(s)["n"]),
            min(knobs["tile_y"], axis_extents(s)["y"]),
            min(knobs["tile_o"], s.outputs),
            min(knobs["tile_c"], s.inputs),
            knobs["order"],
            min(4, rows_total),
            min(4, columns_total),
            knobs.get("parts", 1),
        )

    def tile(self, axis: str) -> int:
        """Return the tile size of an axis: section, group, image, row, output or input channel."""
        return {"s": 1, "g": 1, "n": self.tile_n, "y": self.tile_y, "o": self.tile_o, "c": self.tile_c}[axis]


def axis_extents(s: Conv2dSizes) -> dict[str, int]:
    """Return the extents of the tile loop's axes: section, group, image, row, output and input channel."""
    images, rows = s.batch, s.height.source if s.kind == DATA_GRADIENT else s.height.out
    if s.kind == WEIGHT_GRADIENT:
        images, rows = s.section_images, s.section_rows
    return {"s": s.sections, "g": s.groups, "n": images, "y": rows, "o": s.outputs, "c": s.inputs}


def panel_extents(s: Conv2dSizes) -> tuple[int, int]:
    """Return what runs along a panel's rows and columns, in all."""
    if s.kind == FORWARD:
        return s.outputs, s.width.out
    if s.kind == DATA_GRADIENT:
        return s.inputs, max(1, s.width.source // s.width.stride)
    return s.outputs, s.inputs


def reduction_axes(s: Conv2dSizes) -> str:
    """Return the axes that are summed over, outermost first."""
    if s.kind == WEIGHT_GRADIENT:
        return "ny"
    return "o" if s.kind == DATA_GRADIENT and not s.depthwise else "c"


def loop_axes(s: Conv2dSizes, order: int) -> str:
    """Return the axes of the tile loop, outermost first."""
    if s.kind == WEIGHT_GRADIENT:
        return "sg" + ("oc" if LOOP_ORDERS[order] == "nyr" else "co") + "ny"
    return "g" + LOOP_ORDERS[order].replace("r", s.result_axis) + reduction_axes(s)


def tensor_axes(s: Conv2dSizes) -> tuple[str, str, str]:
    """Return the axes that the image, the other operand and the result depend on."""
    if s.kind == WEIGHT_GRADIENT:
        return "sgny" + s.image_axis, "sgnyo", "sgoc"
    return "gny" + s.image_axis, "goc", "gny" + s.result_axis


def image_rows(s: Conv2dSizes, rows: int) -> int:
    """Return the lines of the image, padding counted, for ``rows`` rows of the tile loop."""
    return s.height.windows(rows) if s.kind == DATA_GRADIENT else s.height.padded(rows)


def tile_lines(s: Conv2dSizes, b: Conv2dBlocking) -> int:
    """Return the lines of each channel of the image's tile."""
    return min(image_rows(s, b.tile_y), s.height.out if s.kind == DATA_GRADIENT else s.height.source)


def tile_elements(s: Conv2dSizes, b: Conv2dBlocking) -> tuple[int, int, int]:
    """Return the elements of a tile of the image, of the other operand, and of the result."""
    line = s.width.out if s.kind == DATA_GRADIENT else s.width.source
    image = b.tile_n * b.tile(s.image_axis) * tile_lines(s, b) * line
    if s.kind == WEIGHT_GRADIENT:
        operand = b.tile_n * b.tile_o * b.tile_y * s.width.out
        result = b.parts * b.tile_o * b.tile_c * s.taps
    else:
        operand = b.tile_o * b.tile_c * s.taps
        width = s.width.out if s.kind == FORWARD else s.width.source
        result = b.tile_n * b.tile(s.result_axis) * b.tile_y * width
    step = ALIGNMENT // _ITEM
    one, two, three = (ceil_div(size, step) * step for size in (image, operand, result))
    return one, two, three


def row_unit(s: Conv2dSizes) -> int:
    """Return of how many rows the number of a tile's rows is a multiple."""
    if s.depthwise:
        return depthwise_plans(s, True)[0].rows.unit
    return s.height.stride if s.kind == DATA_GRADIENT else 1


def counts(s: Conv2dSizes, b: Conv2dBlocking) -> dict[str, int]:
    """Return the number of tiles along each axis."""
    return {axis: ceil_div(extent, b.tile(axis)) for axis, extent in axis_extents(s).items()}


def periods(s: Conv2dSizes, b: Conv2dBlocking) -> tuple[int, int, int]:
    """Return for how many tiles in a row the image, the other operand and the result stay the same."""
    number = counts(s, b)

    def same_for(used: str) -> int:
        product = 1
        for axis in reversed(loop_axes(s, b.order)):
            if axis in used and number[axis] > 1:
                break
            product *= number[axis]
        return product

    image, operand, result = (same_for(axes) for axes in tensor_axes(s))
    return image, operand, result


def l1_bytes(s: Conv2dSizes, b: Conv2dBlocking) -> int:
    """Return the bytes of L1: two copies of what changes from tile to tile, one of the rest."""
    total = math.prod(counts(s, b).values())
    sizes = list(zip(tile_elements(s, b), periods(s, b), strict=True))
    plain = sizes if s.epilogue is None else sizes[:2]
    found = _ITEM * sum(size * (2 if same_for < total else 1) for size, same_for in plain)
    if s.epilogue is not None:
        reduced = reduction_tiles(s, b)
        one, result = epilogue_elements(s, b), sizes[2][0]
        found += s.epilogue.l1_bytes(_ITEM * one, _ITEM * result, total // reduced, reduced)
    return found


def reduction_tiles(s: Conv2dSizes, b: Conv2dBlocking) -> int:
    """Return the tiles of the tile loop that make up one of the result."""
    number = counts(s, b)
    return math.prod(number[axis] for axis in reduction_axes(s))


def epilogue_elements(s: Conv2dSizes, b: Conv2dBlocking) -> int:
    """Return the elements of a tile of the tensors that an epilogue works on, partial sums added up."""
    step = ALIGNMENT // _ITEM
    return ceil_div(tile_elements(s, b)[2], b.parts * step) * step


def is_valid(s: Conv2dSizes, b: Conv2dBlocking, limit: int) -> bool:
    """Tell whether the tiles fit L1, instructions reach across them, and rows start where a class does."""
    if b.tile_y % row_unit(s) and b.tile_y < axis_extents(s)["y"]:
        return False
    if s.depthwise:
        return l1_bytes(s, b) <= limit
    reach = conv2d_distances(s, b.tile_c, b.tile_y, tile_lines(s, b)).reach(b.block_rows, b.block_columns)
    return reach and l1_bytes(s, b) <= limit


def estimate_cycles(s: Conv2dSizes, b: Conv2dBlocking, cores: int) -> float:
    """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
    total = math.prod(counts(s, b).values())
    image_period, operand_period, result_period = periods(s, b)
    image, operand, result = tile_elements(s, b)
    load_image = _ITEM * image / _DMA_BYTES_A_CYCLE + 30.0 * b.tile_n
    load_operand = _ITEM * operand / _DMA_BYTES_A_CYCLE + b.tile_o
    store = _ITEM * result / b.parts / _DMA_BYTES_A_CYCLE + b.tile_o
    loads = total / image_period * load_image + total / operand_period * load_operand
    a_tile = _CYCLES_A_DEPTHWISE_TILE if s.depthwise else _CYCLES_A_TILE
    work = compute_cycles(s, b, cores) + total * a_tile
    if b.parts > 1:
        work += total / result_period * (result * _CYCLES_A_PARTIAL / cores + _CYCLES_A_BLOCK)
    if s.epilogue is not None:
        results = total / reduction_tiles(s, b)
        loads += results * s.epilogue.loads * store
        row = b.tile_y * (s.width.source if s.kind == DATA_GRADIENT else s.width.out)
        work += results * s.epilogue.compute_cycles(result / b.parts, row, cores)
        store *= s.epilogue.stores
    return max(work, loads, total / result_period * store) + load_image + load_operand + store


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
        plans = depthwise_plans(s, True)
        unit, extent = plans[0].rows.unit, plans[0].rows.results
        # the results' rows are shared out, the weight gradient's channels
        units = ceil_div(y, unit)
        shared = (
            ceil_div(n * units * o, cores) if s.kind != WEIGHT_GRADIENT else ceil_div(o, cores) * n * units
        )
        return shared * sum(plane_cycles(p) for p in plans) * unit / extent + _CYCLES_A_BLOCK
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
            line = cycles_with_shared_fpu(
                s.width.taps * (products + rows + columns) + 2, s.width.taps * products
            )
            return share * (c * (s.height.taps * line * inside + 14) + _CYCLES_A_BLOCK)
        return share * (s.taps * (c * step + 8) + s.height.taps * 14 + _CYCLES_A_BLOCK)
    cycles = 0.0
    for row in range(min(s.height.stride, y)):
        for column in range(min(s.width.stride, s.width.source)):
            taps_y, taps_x = len(s.height.class_taps(row)), len(s.width.class_taps(column))
            strips = n * ceil_div(c, rows) * len(range(row, y, s.height.stride))
            width = len(range(column, s.width.source, s.width.stride))
            share = _rounds(strips * ceil_div(width, columns), cores)
            cycles += share * (taps_y * taps_x * (o * step + 8) + taps_y * 14 + _CYCLES_A_BLOCK)
            cycles += _CYCLES_A_CLASS
    return cycles


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
