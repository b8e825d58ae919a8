"""The loop over tiles that all schedules share: coordinates, ping-pong buffers, and the DMA pipeline."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from tvm_pulp.schedules.dialect import (
    barrier,
    bind,
    ceil_div,
    dma_wait,
    index,
    parts_of,
    sequence,
    serial,
    when,
)
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.target.tvm_names import EQ, Expr, For, Stmt, Var, arith, tirx

TILE = "tile"
"""Name of the variable of a loop over tiles."""

Transfers = Callable[[Expr, Expr], list[Stmt]]
"""Transfers of a tile: number of the tile and DMA slot → statements."""


@dataclass(frozen=True)
class TiledAxis:
    """An axis of ``extent`` values in tiles of ``tile``; the last tile may be smaller.

    So is the first one by ``lacks`` values: the work on it starts the sooner. Tiles of any sizes, ``tile``
    the largest, are given by where they end, see `TileLoop.run_apart`.
    """

    var: Var
    extent: int
    tile: int
    lacks: int = 0
    ends: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.ends) or ceil_div(self.extent + self.lacks, self.tile)


class TileLoop:
    """One loop over all tiles of several axes; the last axis runs fastest.

    Parameters
    ----------
    axes
        The axes, outermost first.
    reduction
        Those that are summed over; they come last. A result is complete with the last tile of these.
    analyzer
        Learns the ranges of the loop's variables.
    ahead
        By how many tiles the loads run ahead of the work. With 1 the DMA stands still between the end of a
        load and the work's end; with 2 the next load is queued by then, and there are three copies of what
        changes from tile to tile.
    """

    def __init__(
        self, axes: list[TiledAxis], reduction: Collection[Var], analyzer: arith.Analyzer, ahead: int = 1
    ) -> None:
        self.axes = axes
        self.ahead = ahead
        self.analyzer = analyzer
        self.total = math.prod(axis.count for axis in axes)
        self.reduction_tiles = math.prod(axis.count for axis in axes if axis.var in reduction)
        self.tile = Var(TILE, "int32")
        self._range(self.tile, 0, self.total - 1)

    def _range(self, var: Var, low: int, high: int) -> None:
        self.analyzer.update(var, arith.ConstIntBound(low, max(low, high)), True)

    def at(self, tile: Expr) -> dict[Var, TileAxis]:
        """Return offset and size of each axis in a tile."""
        found: dict[Var, TileAxis] = {}
        rest, remaining = tile, self.total
        for axis in reversed(self.axes):
            if axis.count == 1:
                found[axis.var] = TileAxis(index(0), index(axis.extent), axis.extent)
                continue
            remaining //= axis.count
            digit = tirx.floormod(rest, axis.count) if remaining > 1 else rest
            rest = tirx.floordiv(rest, axis.count)
            if axis.ends:
                start, end = (0, *axis.ends)[int(tile) : int(tile) + 2]
                found[axis.var] = TileAxis(index(start), index(end - start), axis.tile)
                continue
            offset = self.analyzer.simplify(digit * axis.tile)
            size = self.size(axis, offset)
            if axis.lacks:
                end = tirx.min(offset + (axis.tile - axis.lacks), index(axis.extent))
                offset = self.analyzer.simplify(tirx.max(offset - axis.lacks, 0))
                size = self.analyzer.simplify(end - offset)
            found[axis.var] = TileAxis(offset, size, axis.tile)
        return found

    def size(self, axis: TiledAxis, offset: Expr) -> Expr:
        """Return the number of values of an axis in the tile that starts at ``offset``."""
        if axis.extent % axis.tile == 0:
            return index(axis.tile)
        return self.analyzer.simplify(tirx.min(index(axis.tile), axis.extent - offset))

    def period(self, axes: Collection[Var]) -> int:
        """Return for how many consecutive tiles a box that depends on ``axes`` stays the same."""
        return period(self.axes, axes)

    def first_in_reduction(self, tile: Expr) -> Expr | None:
        """Return the condition that a tile begins a sum; None where every tile does."""
        return self._position_in_reduction(tile, 0)

    def last_in_reduction(self, tile: Expr) -> Expr | None:
        """Return the condition that a tile ends a sum; None where every tile does."""
        return self._position_in_reduction(tile, self.reduction_tiles - 1)

    def _position_in_reduction(self, tile: Expr, position: int) -> Expr | None:
        if self.reduction_tiles == 1:
            return None
        return self.analyzer.simplify(EQ(tirx.floormod(tile, self.reduction_tiles), position))

    def copy_start(self, tile: Expr, same_for: int, elements: int, copies: int = 2) -> Expr:
        """Return the element where the copy of a ping-pong buffer for a tile starts.

        ``same_for`` is the number of consecutive tiles that use the same copy, ``elements`` the size of a
        copy, ``copies`` their number.
        """
        if same_for >= self.total or copies == 1:
            return index(0)
        return self.analyzer.simplify(tirx.floormod(tirx.floordiv(tile, same_for), copies) * elements)

    def when_new(self, tile: Expr, same_for: int, body: Stmt) -> Stmt | None:
        """Return ``body`` for the first of each ``same_for`` tiles only."""
        return self._when(EQ(tirx.floormod(tile, same_for), 0), body)

    def when_complete(self, tile: Expr, body: Stmt) -> Stmt | None:
        """Return ``body`` for the tiles that end a sum only."""
        ended = self.last_in_reduction(tile)
        return body if ended is None else self._when(ended, body)

    def _when(self, condition: Expr, body: Stmt) -> Stmt | None:
        condition = self.analyzer.simplify(condition)
        if self.analyzer.can_prove(condition):
            return body
        return None if self.analyzer.can_prove(tirx.Not(condition)) else when(condition, body)

    def run(
        self,
        loads: Transfers | None,
        stores: Transfers | None,
        compute: Callable[[Expr], Stmt],
        prepare: Callable[[Expr], Stmt] | None = None,
        *,
        prepare_every: int = 1,
        store_once: bool = False,
        meanwhile: Sequence[Stmt] = (),
    ) -> Stmt:
        """Return the pipeline: loads of the next tile and stores of the last one run beside the work on a
        tile.

        One barrier a tile: behind it the tile's data are there, and all workers are done with the tile
        before, whose input buffers the next loads overwrite and whose results may leave. What starts beside
        a tile is waited for ``ahead`` tiles later, so that one slot carries its loads and its stores.

        ``prepare`` is work of all workers on a tile's inputs, before the next loads start: what it has read
        from a buffer need not be kept, so that such a buffer needs one copy only. It is done for the first of
        each ``prepare_every`` tiles.

        With ``store_once`` the results of all tiles stay in L1 and leave together after the last one.

        ``meanwhile`` is work of all workers for all tiles, done while the first tile's data arrive.
        """
        if self.total == 1:
            return self._single(loads, stores, compute, prepare, meanwhile)
        tile, last = self.tile, index(self.total - 1)
        slot = self._slot(tile)
        body: list[Stmt] = []
        streams = not store_once and self.reduction_tiles < self.total  # else results leave after the loop
        if loads or (stores and streams):
            body.append(dma_wait(slot))
        body.append(barrier())
        if prepare:
            prepared = self.when_new(tile, prepare_every, sequence(prepare(tile), barrier()))
            body += [] if prepared is None else [prepared]
        if loads and self.total > self.ahead:
            following, define = bind("following", tile + self.ahead)
            self._range(following, self.ahead, self.total - 1)
            body.append(when(tile < self.total - self.ahead, sequence(define, loads(following, slot))))
        if stores and streams:
            previous, define = bind("previous", tile - 1)
            self._range(previous, 0, self.total - 2)
            steps = sequence(stores(previous, slot))
            ended = self.last_in_reduction(previous)
            steps = steps if ended is None else when(ended, steps)
            body.append(when(tile > 0, sequence(define, steps)))
        body.append(compute(tile))
        first: list[Stmt] = []
        if loads:
            for number in range(min(self.ahead, self.total)):
                first += loads(index(number), index(number))
        steps = sequence(*first, *meanwhile, serial(tile, self.total, sequence(*body)))
        if stores:
            after = self._slot(index(self.total))
            waits = [dma_wait(number) for number in range(self.ahead)] if streams else [dma_wait(after)]
            steps = sequence(steps, barrier(), *stores(last, after), *waits)
        return steps

    def run_apart(
        self, loads: Transfers | None, stores: Transfers | None, compute: Callable[[Expr], Stmt]
    ) -> Stmt:
        """Return the tiles one by one, for few of them, each with a place of its own in L1.

        All loads start at once, those of a tile in the slot of its number; stores, in a slot of their own,
        are waited for at the end only.
        """
        tiles = [index(number) for number in range(self.total)]
        steps = [step for tile in tiles for step in (loads(tile, tile) if loads else [])]
        for number, tile in enumerate(tiles):
            steps += [dma_wait(tile)] if loads else []
            steps += [barrier()] if loads or number else []
            if stores and number:
                steps += stores(tiles[number - 1], index(self.total))
            steps.append(compute(tile))
        if stores:
            steps += [barrier(), *stores(tiles[-1], index(self.total)), dma_wait(self.total)]
        return sequence(*steps)

    def _slot(self, tile: Expr) -> Expr:
        """Return the slot of the transfers that start beside a tile."""
        return index(0) if self.ahead == 1 else self.analyzer.simplify(tirx.floormod(tile, self.ahead))

    @staticmethod
    def _single(
        loads: Transfers | None,
        stores: Transfers | None,
        compute: Callable[[Expr], Stmt],
        prepare: Callable[[Expr], Stmt] | None,
        meanwhile: Sequence[Stmt],
    ) -> Stmt:
        zero = index(0)
        before = [*loads(zero, zero), *meanwhile, dma_wait(zero), barrier()] if loads else [*meanwhile]
        if meanwhile and prepare and not loads:
            before.append(barrier())
        between = [prepare(zero), barrier()] if prepare else []
        after = [barrier(), *stores(zero, index(1)), dma_wait(1)] if stores else []
        return sequence(*before, *between, compute(zero), *after)


def tile_count(node: Stmt) -> int:
    """Return the most tiles of a loop over tiles in a function's body."""
    own = int(node.extent.value) if isinstance(node, For) and str(node.loop_var.name) == TILE else 1
    return max([own, *map(tile_count, parts_of(node))])


def period(axes: list[TiledAxis], used: Collection[Var]) -> int:
    """Return for how many consecutive tiles a box that depends on the ``used`` axes stays the same."""
    product = 1
    for axis in reversed(axes):
        if axis.var in used and axis.count > 1:
            break
        product *= axis.count
    return product
