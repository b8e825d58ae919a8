"""The loops over the points of one tile: shared out over the workers, register-blocked."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from tvm_pulp.schedules.computation import Axis
from tvm_pulp.schedules.dialect import (
    as_int,
    element,
    index,
    parallel,
    sequence,
    serial,
    store,
    when,
)
from tvm_pulp.schedules.register_block import RegisterBlock
from tvm_pulp.target.tvm_names import (
    AllocBuffer,
    Bind,
    Expr,
    Stmt,
    Var,
    decl_buffer,
    expr_dtype,
    tirx,
)


class PointNest:
    """Writes the loops of one tile.

    Parameters
    ----------
    block
        Writes what is inside: the tile's stage, plan, axes and buffers are known to it.
    """

    def __init__(self, block: RegisterBlock) -> None:
        self.block, self.stage, self.plan = block, block.stage, block.plan
        self.sizes, self.cores, self.analyzer = block.sizes, block.cores, block.analyzer

    def build(self) -> Stmt:
        """Return the whole nest; the parts that need a barrier between them hold it."""
        if self.plan.split is not None:
            return self._split_reduction()
        axes = list(self.stage.spatial)
        group = [axis for axis in axes if axis.var in self.plan.group]
        if not axes:
            worker = Var("worker", "int32")
            return parallel(worker, 1, self.block.compute([{}], None))
        before = axes[: axes.index(group[0])] if group else []
        after = axes[axes.index(group[-1]) + 1 :] if group else axes
        outer_loops: list[tuple[Var, Expr]] = []
        inner_loops: list[tuple[Var, Expr]] = []
        starts = {axis.var: self._loop_variable(axis, outer_loops) for axis in before}
        starts |= {axis.var: self._loop_variable(axis, inner_loops) for axis in after}
        block = Var("block", "int32")
        steps: list[Stmt] = []
        if len(group) == 1:
            block = Var(str(group[0].var.name) + ("_block" if self._width(group[0].var) > 1 else ""), "int32")
            starts[group[0].var] = block * self._width(group[0].var)
        else:
            rest: Expr = block
            for position, axis in reversed(list(enumerate(group))):
                count = self._blocks(axis.var)
                digit = rest if position == 0 else tirx.floormod(rest, count)
                var = Var(str(axis.var.name), "int32")
                steps.append(Bind(var, digit * self._width(axis.var)))
                starts[axis.var] = var
                rest = tirx.floordiv(rest, count)
        body = self._full_or_rest(list(axes), starts, {}, None)
        for var, extent in reversed(inner_loops):
            body = serial(var, extent, body)
        total = index(1)
        for axis in group:
            total = total * self._blocks(axis.var)
        total = self.analyzer.simplify(total)
        body = parallel(block, total, sequence(*steps, body))
        for var, extent in reversed(outer_loops):
            body = serial(var, extent, body)
        return body

    def _loop_variable(self, axis: Axis, loops: list[tuple[Var, Expr]]) -> Expr:
        width = self._width(axis.var)
        blocks = self._blocks(axis.var)
        if as_int(blocks) == 1:
            return index(0)
        var = Var(str(axis.var.name) + ("_block" if width > 1 else ""), "int32")
        loops.append((var, blocks))
        return var * width if width > 1 else var

    def _width(self, var: Var) -> int:
        return self.plan.unroll.get(var, 1)

    def _blocks(self, var: Var) -> Expr:
        size, width = self.sizes[var], self._width(var)
        return self.analyzer.simplify(tirx.floordiv(size + (width - 1), width)) if width > 1 else size

    def _full_or_rest(
        self, axes: list[Axis], starts: Mapping[Var, Expr], points: dict[Var, list[Expr]], worker: Expr | None
    ) -> Stmt:
        """Return code for a full register block, or a loop over what is left at the tile's edge."""
        if not axes:
            names = list(points)
            combinations = [
                dict(zip(names, values, strict=True)) for values in itertools.product(*points.values())
            ]
            return self.block.compute(combinations or [{}], worker)
        axis, rest = axes[0], axes[1:]
        start, width, size = starts[axis.var], self._width(axis.var), self.sizes[axis.var]
        full = {**points, axis.var: [start + u for u in range(width)]}
        body = self._full_or_rest(rest, starts, full, worker)
        constant = as_int(size)
        if width == 1 or (constant is not None and constant % width == 0):
            return body
        one = Var(str(axis.var.name) + "_rest", "int32")
        single = self._full_or_rest(rest, starts, {**points, axis.var: [start + one]}, worker)
        return when(start + width <= size, body, serial(one, size - start, single))

    # a reduction that is shared out over the workers

    def _split_reduction(self) -> Stmt:
        """Each worker sums up its part of the reduction for all points; ``combine`` adds the parts."""
        worker = Var("worker", "int32")
        loops: list[tuple[Var, Expr]] = []
        starts = {axis.var: self._loop_variable(axis, loops) for axis in self.stage.spatial}
        body = self._full_or_rest(list(self.stage.spatial), starts, {}, worker)
        for var, extent in reversed(loops):
            body = serial(var, extent, body)
        return parallel(worker, self.cores, body)

    def combine(self) -> Stmt:
        """Return the loop that adds up the workers' parts and stores the results."""
        assert self.block.partial is not None
        point = {axis.var: Var(str(axis.var.name), "int32") for axis in self.stage.spatial}
        steps: list[Stmt] = []
        values: list[list[Expr]] = []
        for r, reduction in enumerate(self.stage.reductions):
            dtype = expr_dtype(reduction.accumulator)
            buffer = decl_buffer((1,), dtype, name="total" + (f"_{r}" if r else ""), scope="local")
            steps += [AllocBuffer(buffer), store(buffer, self.block.bound(reduction.init, point), [0])]
            worker = Var("worker", "int32")
            node = type(reduction.update)
            part = element(self.block.partial[r], self.block.slot(point, worker))
            steps.append(serial(worker, self.cores, store(buffer, node(element(buffer, 0), part), [0])))
            values.append([element(buffer, 0)])
        steps.append(self.block.results([point], values))
        body = sequence(*steps)
        if not self.stage.spatial:
            return parallel(Var("once", "int32"), 1, body)
        first, *others = self.stage.spatial
        for axis in reversed(others):
            body = serial(point[axis.var], self.sizes[axis.var], body)
        return parallel(point[first.var], self.sizes[first.var], body)
