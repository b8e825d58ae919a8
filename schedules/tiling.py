"""Choose tile sizes for a stage: what a tile reads and writes fits L1, the estimate of cycles is low."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tvm_pulp.schedules.collapse import View, ViewTable
from tvm_pulp.schedules.computation import Stage
from tvm_pulp.schedules.dialect import aligned, ceil_div
from tvm_pulp.schedules.expressions import loads, variables, walk
from tvm_pulp.schedules.footprint import Dimension, dimension
from tvm_pulp.schedules.point_plan import NestPlan, plan_nest
from tvm_pulp.schedules.tile_loop import TiledAxis, period
from tvm_pulp.target.tvm_names import Buffer, Call, Expr, Var, buffer_dtype, dtype_bytes

_DMA_BYTES_A_CYCLE = 8.0
_CYCLES_A_TRANSFER = 30.0
_CYCLES_A_TILE = 150.0


@dataclass(frozen=True)
class ReadView:
    """A tensor that a stage reads, and the box that a tile needs of it."""

    view: View
    dimensions: tuple[Dimension, ...]
    axes: frozenset[Var]

    def tile_elements(self, tiles: Mapping[Var, int]) -> int:
        """Return the most elements that a tile of the given sizes reads."""
        return math.prod(d.tile_extent(tiles) for d in self.dimensions)


@dataclass(frozen=True)
class Tiling:
    """Tile size of each axis, and the views that are read from L2 directly because they cannot be tiled."""

    tiles: dict[Var, int]
    nest: NestPlan
    direct: tuple[Buffer, ...]
    l1_bytes: int
    cycles: float


@dataclass
class StageAccess:
    """The tensors in L2 that a stage reads and writes."""

    stage: Stage
    reads: list[ReadView]
    writes: list[int] = field(default_factory=list)  # numbers of the stores that go to L2


def stage_access(stage: Stage, views: ViewTable, in_l1: list[Buffer]) -> StageAccess:
    """Summarise a stage's reads of L2, leaving out the buffers that live in L1."""
    axes = [axis.var for axis in stage.spatial + stage.reduction]
    expressions = [e for r in stage.reductions for e in (r.init, r.update)] + [s.value for s in stage.stores]
    accesses = [access for expression in expressions for access in loads(expression)]
    reads = []
    for view in views.views:
        mine = [list(access.indices) for access in accesses if access.source.same_as(view.buffer)]
        if not mine or any(view.base.same_as(buffer) for buffer in in_l1):
            continue
        dimensions = tuple(
            dimension([indices[d] for indices in mine], extent, axes) for d, extent in enumerate(view.shape)
        )
        used = {var for d in dimensions if d.index is not None for var in variables(d.index)}
        reads.append(ReadView(view, dimensions, frozenset(used)))
    writes = [
        number
        for number, store in enumerate(stage.stores)
        if store.kept and not any(store.out.same_as(buffer) for buffer in in_l1)
    ]
    return StageAccess(stage, reads, writes)


def choose_tiling(access: StageAccess, budget: int, cores: int) -> Tiling | None:
    """Return the tiling with the lowest estimate that fits ``budget`` bytes of L1; None where none does.

    Starting from one tile that holds all, the axis whose halving costs least is halved again and again. A
    tensor whose box does not fit whatever the tiles is read from L2 directly.
    """
    direct: list[Buffer] = []
    while True:
        found = _search(access, budget, cores, tuple(direct))
        if found is not None:
            return found
        tileable = [r for r in access.reads if not any(r.view.buffer.same_as(b) for b in direct)]
        if not tileable:
            return None
        smallest = {axis.var: 1 for axis in access.stage.spatial + access.stage.reduction}
        largest = max(tileable, key=lambda read: read.tile_elements(smallest))
        direct.append(largest.view.buffer)


def _search(access: StageAccess, budget: int, cores: int, direct: tuple[Buffer, ...]) -> Tiling | None:
    axes = access.stage.spatial + access.stage.reduction
    tiles = {axis.var: axis.extent for axis in axes}
    best: Tiling | None = None
    steps_since_best = 0
    while True:
        here = evaluate(access, tiles, cores, direct)
        if here.l1_bytes <= budget:
            steps_since_best += 1
            if best is None or here.cycles < best.cycles:
                best, steps_since_best = here, 0
            if steps_since_best >= 4:
                return best
        candidates: list[tuple[float, int, dict[Var, int]]] = []
        for axis in axes:
            size = tiles[axis.var]
            if size == 1:
                continue
            smaller = dict(tiles)
            smaller[axis.var] = _halve(axis.extent, size)
            candidate = evaluate(access, smaller, cores, direct)
            overflow = max(1.0, candidate.l1_bytes / budget)
            candidates.append((overflow**2 * candidate.cycles, len(candidates), smaller))
        if not candidates:
            return best
        tiles = min(candidates)[2]


def _halve(extent: int, size: int) -> int:
    """Return about half a tile: twice as many of nearly equal size, a multiple of 4 where that is easy."""
    count = ceil_div(extent, size) * 2
    half = min(ceil_div(extent, count), size - 1)
    if half > 8:
        half = min(ceil_div(half, 4) * 4, size - 1)
    return max(half, 1)


def tiled_axes(stage: Stage, tiles: Mapping[Var, int]) -> list[TiledAxis]:
    """Return the axes of a stage in the order of the tile loop: those that are summed over run fastest."""
    return [TiledAxis(axis.var, axis.extent, tiles[axis.var]) for axis in stage.spatial + stage.reduction]


def evaluate(access: StageAccess, tiles: Mapping[Var, int], cores: int, direct: tuple[Buffer, ...]) -> Tiling:
    """Return a tiling with its L1 bytes and estimated cycles."""
    stage = access.stage
    axes = tiled_axes(stage, tiles)
    counts = {axis.var: axis.count for axis in axes}
    total_tiles = math.prod(counts.values())
    nest = plan_nest(stage, tiles, cores)
    l1_bytes, traffic, transfers, first_fill, direct_reads = 0, 0.0, 0.0, 0.0, 0
    for read in access.reads:
        if any(read.view.buffer.same_as(b) for b in direct):
            direct_reads += 1
            continue
        size = read.tile_elements(tiles) * dtype_bytes(buffer_dtype(read.view.base))
        repeats = total_tiles / period(axes, read.axes)
        l1_bytes += aligned(size) * (2 if repeats > 1 else 1)
        lines = _transfers(read, tiles)
        traffic += repeats * (size + lines * 8)
        transfers += repeats * max(1.0, lines / 64)
        first_fill += size / _DMA_BYTES_A_CYCLE
    spatial_tiles = math.prod(counts[axis.var] for axis in stage.spatial)
    points = math.prod(tiles[axis.var] for axis in stage.spatial)
    for number in access.writes:
        size = points * dtype_bytes(buffer_dtype(stage.stores[number].out))
        l1_bytes += aligned(size) * (2 if spatial_tiles > 1 else 1)
        traffic += spatial_tiles * size
        transfers += spatial_tiles
        first_fill += size / _DMA_BYTES_A_CYCLE
    if nest.split is not None or spatial_tiles < total_tiles:
        copies = cores if nest.split is not None else 1
        l1_bytes += sum(aligned(4 * points * copies) for _ in stage.reductions)
    work = _cycles_a_point(stage, nest, direct_reads) * math.prod(
        axis.extent for axis in stage.spatial + stage.reduction
    )
    compute = work / (cores * nest.efficiency)
    compute += spatial_tiles * points * 12 / (cores * nest.efficiency)  # start and end of each result
    dma = traffic / _DMA_BYTES_A_CYCLE + transfers * _CYCLES_A_TRANSFER
    cycles = max(compute, dma) + first_fill + total_tiles * _CYCLES_A_TILE
    return Tiling(dict(tiles), nest, direct, l1_bytes, cycles)


def _transfers(read: ReadView, tiles: Mapping[Var, int]) -> float:
    """Return the number of contiguous lines of a box."""
    lines, partial = 1, False
    for d in reversed(read.dimensions):
        if partial:
            lines *= d.tile_extent(tiles)
        elif d.tile_extent(tiles) < d.extent:
            partial = True
    return lines


def _cycles_a_point(stage: Stage, nest: NestPlan, direct_reads: int) -> float:
    """Estimate the instructions of one update: reads are shared within a register block."""
    if not stage.reductions:
        return sum(_weight(s.value) for s in stage.stores) + 3.0 + 15.0 * direct_reads
    block = math.prod(nest.unroll.values())
    cycles = 0.0
    for reduction in stage.reductions:
        cycles += 1.0 + 3.0 / block
        for access in loads(reduction.update):
            used = {var for i in access.indices for var in variables(i)}
            sharing = math.prod(width for var, width in nest.unroll.items() if var not in used)
            cycles += 2.0 / sharing
    return cycles + 15.0 * direct_reads


def _weight(value: Expr) -> float:
    return sum(
        20.0 if isinstance(part, Call) and "if_then_else" not in str(part.op.name) else 1.0
        for part in walk(value)
    )
