"""Lower one stage: choose its tiles, place them in L1, write its pipeline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.collapse import ViewTable, collapse
from tvm_pulp.schedules.computation import Stage
from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    as_int,
    barrier,
    element,
    index,
    scope,
    sequence,
    store,
    when,
)
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.point_nest import PointNest
from tvm_pulp.schedules.register_block import RegisterBlock
from tvm_pulp.schedules.tile_loop import TileLoop
from tvm_pulp.schedules.tiling import (
    ReadView,
    StageAccess,
    Tiling,
    choose_tiling,
    stage_access,
    tiled_axes,
)
from tvm_pulp.schedules.transfers import Box, flat_offset, transfer
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import (
    Bind,
    Buffer,
    Expr,
    Stmt,
    Var,
    arith,
    buffer_dtype,
)


@dataclass
class _Tile:
    """One L1 buffer of a tensor: where its box starts and how large it is, for a given tile number."""

    read: ReadView
    buffer: Buffer
    elements: int
    same_for: int


@dataclass
class KernelContext:
    """What the stages of a kernel share: arguments, L1, and what the printed file says about it.

    ``flat`` maps each parameter to its flat argument, ``in_l1`` each tensor that stays in L1 to its buffer;
    ``l1_limit`` is what the kernel may use of L1.
    """

    name: str
    features: ClusterFeatures
    flat: dict[Buffer, Buffer]
    l1_limit: int
    l1: L1Allocator = field(default_factory=L1Allocator)
    in_l1: dict[Buffer, Buffer] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    tile_texts: list[str] = field(default_factory=list)


class StageLowering:
    """Lowers one stage of a kernel."""

    def __init__(self, parent: KernelContext, stage: Stage) -> None:
        self.parent = parent
        self.views: ViewTable
        self.stage, self.views = collapse(stage)
        self.access: StageAccess = stage_access(self.stage, self.views, list(parent.in_l1))
        features = parent.features
        tiling = choose_tiling(self.access, parent.l1_limit - parent.l1.top, features.cores)
        if tiling is None:
            raise UserError(
                f"kernel '{parent.name}': block '{stage.name}' does not fit L1 "
                f"({parent.l1_limit} bytes) even with the smallest tiles"
            )
        self.tiling: Tiling = tiling
        self.analyzer = arith.Analyzer()
        axes = tiled_axes(self.stage, tiling.tiles)
        self.loop = TileLoop(axes, {axis.var for axis in self.stage.reduction}, self.analyzer)
        self.declarations: list[Stmt] = []
        self.inputs: list[_Tile] = []
        self.outputs: dict[int, tuple[Buffer, int]] = {}
        self.partial: list[Buffer] | None = None

    def build(self) -> Stmt:
        """Return the stage's statements."""
        self._allocate()
        self._describe()
        loads = self._loads if self.inputs else None
        stores = self._stores if self.outputs else None
        body = self.loop.run(loads, stores, self._compute)
        return scope(self.stage.name, sequence(self.declarations, body))

    # L1

    def _allocate(self) -> None:
        l1, tiles = self.parent.l1, self.tiling.tiles
        for read in self.access.reads:
            if any(read.view.buffer.same_as(b) for b in self.tiling.direct):
                self.parent.notes.append(
                    f"'{read.view.base.name}' does not fit L1 and is read from L2 directly"
                )
                continue
            elements = self._aligned(read.tile_elements(tiles), buffer_dtype(read.view.base))
            same_for = self.loop.period(read.axes)
            copies = 2 if same_for < self.loop.total else 1
            name = f"{read.view.base.name}_l1"
            buffer, declaration = l1.allocate(name, elements * copies, buffer_dtype(read.view.base))
            self.declarations.append(declaration)
            self.inputs.append(_Tile(read, buffer, elements, same_for))
        points = math.prod(tiles[axis.var] for axis in self.stage.spatial)
        copies = 2 if self.loop.total > self.loop.reduction_tiles else 1
        for number in self.access.writes:
            out = self.stage.stores[number].out
            elements = self._aligned(points, buffer_dtype(out))
            buffer, declaration = l1.allocate(f"{out.name}_out", elements * copies, buffer_dtype(out))
            self.declarations.append(declaration)
            self.outputs[number] = (buffer, elements)
        if self.tiling.nest.split is not None or self.loop.reduction_tiles > 1:
            self.partial = []
            workers = self.parent.features.cores if self.tiling.nest.split is not None else 1
            for reduction in self.stage.reductions:
                buffer, declaration = l1.allocate(
                    "partial", points * workers, str(reduction.accumulator.ty.dtype)
                )
                self.declarations.append(declaration)
                self.partial.append(buffer)

    @staticmethod
    def _aligned(elements: int, dtype: str) -> int:
        """Round up so that the second copy is aligned as well."""
        return -(-elements // 4) * 4 if dtype != "bool" else -(-elements // 16) * 16

    def _describe(self) -> None:
        sizes = [f"{axis.var.name} {self.tiling.tiles[axis.var]}/{axis.extent}"
                 for axis in self.stage.spatial + self.stage.reduction]  # fmt: skip
        self.parent.tile_texts.append(f"{self.stage.name}: {', '.join(sizes) or 'one value'}")

    # DMA

    def _box(self, read: ReadView, axes: Mapping[Var, TileAxis]) -> Box:
        ranges = [d.range(axes, self.analyzer) for d in read.dimensions]
        sizes = tuple(self.analyzer.simplify(r.high - r.low + 1) for r in ranges)
        return Box(read.view.shape, tuple(r.low for r in ranges), sizes)

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        axes = self.loop.at(tile)
        steps = []
        for entry in self.inputs:
            start = self.loop.copy_start(tile, entry.same_for, entry.elements)
            l2 = self.parent.flat[entry.read.view.base]
            box = self._box(entry.read, axes)
            step = transfer(slot, entry.buffer, start, l2, box, TO_L1, self.analyzer)
            steps.append(self.loop.when_new(tile, entry.same_for, step))
        return [step for step in steps if step is not None]

    def _stores(self, tile: Expr, slot: Expr) -> list[Stmt]:
        axes = self.loop.at(tile)
        spatial = [axes[axis.var] for axis in self.stage.spatial]
        shape = tuple(axis.extent for axis in self.stage.spatial)
        box = Box(shape, tuple(axis.offset for axis in spatial), tuple(axis.size for axis in spatial))
        steps = []
        for number, (buffer, elements) in self.outputs.items():
            start = self.loop.copy_start(tile, self.loop.reduction_tiles, elements)
            l2 = self.parent.flat[self.stage.stores[number].out]
            steps.append(transfer(slot, buffer, start, l2, box, TO_L2, self.analyzer))
        return steps

    # the work on one tile

    def _compute(self, tile: Expr) -> Stmt:
        binds: list[Stmt] = []

        def name(text: str, value: Expr) -> Expr:
            """Give a value that changes from tile to tile a name."""
            value = self.analyzer.simplify(value)
            if isinstance(value, Var) or not self._varies(value):
                return value
            var = Var(text, "int32")
            binds.append(Bind(var, value))
            bound = self.analyzer.const_int_bound(value)
            self.analyzer.update(var, arith.ConstIntBound(bound.min_value, bound.max_value), True)
            return var

        raw = self.loop.at(tile)
        axes: dict[Var, TileAxis] = {}
        for axis in self.loop.axes:
            offset = name(f"{axis.var.name}_start", raw[axis.var].offset)
            size = name(f"{axis.var.name}_size", self.loop.size(axis, offset))
            axes[axis.var] = TileAxis(offset, size, axis.tile)
        places: dict[Buffer, tuple[Buffer, Expr, Box]] = {}
        for input_tile in self.inputs:
            box = self._box(input_tile.read, axes)
            base = str(input_tile.read.view.base.name)
            low = tuple(name(f"{base}_start_{d}", value) for d, value in enumerate(box.low))
            size = tuple(name(f"{base}_size_{d}", value) for d, value in enumerate(box.size))
            start = name(f"{base}_turn", self.loop.copy_start(tile, input_tile.same_for, input_tile.elements))
            places[input_tile.read.view.buffer] = (input_tile.buffer, start, Box(box.shape, low, size))
        turns = {
            number: name(
                f"{buffer.name}_turn", self.loop.copy_start(tile, self.loop.reduction_tiles, elements)
            )
            for number, (buffer, elements) in self.outputs.items()
        }

        def access(read: Expr) -> Expr:
            view = self.views.of(read.source)
            indices = list(read.indices)
            if view.buffer in places:
                buffer, start, box = places[view.buffer]
                local = [i - low for i, low in zip(indices, box.low, strict=True)]
                return element(buffer, self.analyzer.simplify(start + flat_offset(local, list(box.size))))
            holder = self.parent.in_l1.get(view.base, self.parent.flat.get(view.base))
            return element(
                holder, self.analyzer.simplify(flat_offset(indices, [index(e) for e in view.shape]))
            )

        def put(number: int, point: list[Expr], value: Expr) -> Stmt:
            spatial = self.stage.spatial
            if number in self.outputs:
                buffer, _ = self.outputs[number]
                offset = turns[number] + flat_offset(point, [axes[axis.var].size for axis in spatial])
                return store(buffer, value, [self.analyzer.simplify(offset)])
            place = [axes[axis.var].offset + p for axis, p in zip(spatial, point, strict=True)]
            offset = flat_offset(place, [index(axis.extent) for axis in spatial])
            return store(
                self.parent.in_l1[self.stage.stores[number].out], value, [self.analyzer.simplify(offset)]
            )

        block = RegisterBlock(
            stage=self.stage,
            plan=self.tiling.nest,
            offsets={var: axis.offset for var, axis in axes.items()},
            sizes={var: axis.size for var, axis in axes.items()},
            access=access,
            put=put,
            first_tile=self.loop.first_in_reduction(tile),
            last_tile=self.loop.last_in_reduction(tile),
            partial=self.partial,
            cores=self.parent.features.cores,
            analyzer=self.analyzer,
        )
        nest = PointNest(block)
        steps: list[Stmt] = [*binds, nest.build()]
        if self.tiling.nest.split is not None:
            combine = sequence(barrier(), nest.combine())
            last = self.loop.last_in_reduction(tile)
            steps.append(combine if last is None else when(last, combine))
        return sequence(steps)

    @staticmethod
    def _varies(value: Expr) -> bool:
        return as_int(value) is None
