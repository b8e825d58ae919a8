"""The code of one register block: start values, the reduction's loops around all its points, the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tvm_pulp.schedules.computation import Axis, Stage
from tvm_pulp.schedules.dialect import (
    element,
    index,
    sequence,
    store,
    when,
)
from tvm_pulp.schedules.expressions import loads, rewrite, same, substitute, variables
from tvm_pulp.schedules.guards import guards_of, identity_element
from tvm_pulp.schedules.point_plan import NestPlan
from tvm_pulp.target.tvm_names import (
    Add,
    AllocBuffer,
    Bind,
    Buffer,
    BufferLoad,
    Expr,
    For,
    ForKind,
    Select,
    Stmt,
    Var,
    arith,
    const,
    decl_buffer,
    expr_dtype,
    load,
    tirx,
)


@dataclass
class RegisterBlock:
    """Writes the code of register blocks of a tile: points whose results are computed together.

    Parameters
    ----------
    stage, plan
        What to compute and how.
    offsets
        First value of each axis in the tile.
    sizes
        Number of values of each axis in the tile.
    access
        Turns a read of a view into a read of the buffer that holds it.
    put
        Returns the store of a result: number of the store, coordinates of the spatial axes, value.
    first_tile
        Condition that no part of the reduction was done in an earlier tile; None where the tile holds it all.
    last_tile
        Condition that the reduction ends with this tile; None where the tile holds it all.
    partial
        Flat L1 buffer for each reduction: running results between tiles, or of each worker where the
        reduction is split; element ``point`` or ``worker * points + point``. None where they stay in
        registers.
    cores
        Number of workers.
    """

    stage: Stage
    plan: NestPlan
    offsets: Mapping[Var, Expr]
    sizes: Mapping[Var, Expr]
    access: Callable[[Expr], Expr]
    put: Callable[[int, list[Expr], Expr], Stmt]
    first_tile: Expr | None
    last_tile: Expr | None
    partial: list[Buffer] | None
    cores: int
    analyzer: arith.Analyzer

    def compute(self, points: list[dict[Var, Expr]], worker: Expr | None) -> Stmt:
        """Return the computation of some points; a worker that is given does a part of the reduction."""
        if not self.stage.reductions:
            return self.results(points, [])
        accumulators = []
        steps: list[Stmt] = []
        for number, reduction in enumerate(self.stage.reductions):
            dtype = expr_dtype(reduction.accumulator)
            name = "sum" if isinstance(reduction.update, Add) else "result"
            buffer = decl_buffer(
                (len(points),), dtype, name=name + (f"_{number}" if number else ""), scope="local"
            )
            accumulators.append(buffer)
            steps.append(AllocBuffer(buffer))
        steps.append(self._start_values(points, accumulators, worker))
        steps.append(self._reduce(points, accumulators, worker))
        values = [[element(buffer, p) for p in range(len(points))] for buffer in accumulators]
        if worker is not None or self.partial is not None:
            keep = (
                sequence(
                    store(self.partial[r], values[r][p], [self.slot(points[p], worker)])
                    for r in range(len(accumulators))
                    for p in range(len(points))
                )
                if self.partial is not None
                else None
            )
            if worker is not None:
                steps.append(keep)
            else:
                steps.append(when(self.last_tile, self.results(points, values), keep))
        else:
            steps.append(self.results(points, values))
        return sequence(*steps)

    def slot(self, point: Mapping[Var, Expr], worker: Expr | None) -> Expr:
        """Return the place of a point's running result."""
        offset: Expr = index(0)
        total: Expr = index(1)
        for axis in self.stage.spatial:
            offset = offset * self.sizes[axis.var] + point[axis.var]
            total = total * self.sizes[axis.var]
        if worker is not None:
            offset = worker * total + offset
        return self.analyzer.simplify(offset)

    def _start_values(
        self, points: list[dict[Var, Expr]], buffers: list[Buffer], worker: Expr | None
    ) -> Stmt:
        first, resumed = [], []
        for r, (reduction, buffer) in enumerate(zip(self.stage.reductions, buffers, strict=True)):
            for p, point in enumerate(points):
                start = (
                    identity_element(reduction) if worker is not None else self.bound(reduction.init, point)
                )
                first.append(store(buffer, start, [p]))
                if self.partial is not None:
                    resumed.append(store(buffer, element(self.partial[r], self.slot(point, worker)), [p]))
        if self.first_tile is None or self.partial is None:
            return sequence(first)
        return when(self.first_tile, sequence(first), sequence(resumed))

    def bound(
        self, expression: Expr, point: Mapping[Var, Expr], known: Mapping[Var, Expr] | None = None
    ) -> Expr:
        """Put coordinates for axes, buffers for views, and ``known`` values for results."""
        coordinates = {var: self.offsets[var] + local for var, local in point.items()}

        def replace(part: Expr) -> Expr | None:
            if isinstance(part, BufferLoad):
                return self.access(load(part.source, [rewrite(i, replace) for i in part.indices]))
            if isinstance(part, Var):
                return (known or {}).get(part, coordinates.get(part))
            if expr_dtype(part) in ("int32", "bool") and not loads(part):
                return self.analyzer.simplify(substitute(part, {**coordinates, **(known or {})}))
            return None

        return rewrite(expression, replace)

    def _reduce(self, points: list[dict[Var, Expr]], buffers: list[Buffer], worker: Expr | None) -> Stmt:
        """Return the reduction loops around the updates of all points."""
        updates: list[tuple[list[Expr], Stmt]] = []
        locals_ = {axis.var: Var(str(axis.var.name), "int32") for axis in self.stage.reduction}
        for reduction, buffer in zip(self.stage.reductions, buffers, strict=True):
            conditions, update = guards_of(reduction.update)
            for p, point in enumerate(points):
                values = {reduction.accumulator: element(buffer, p)}
                bound = self.bound(update, {**point, **locals_}, values)
                guards = [self.bound(condition, {**point, **locals_}) for condition in conditions]
                updates.append((guards, store(buffer, bound, [p])))
        common = _unique(
            g for g in updates[0][0] if all(any(same(g, h) for h in guards) for guards, _ in updates)
        )
        body = sequence(
            _guarded([g for g in guards if not any(same(g, c) for c in common)], update)
            for guards, update in updates
        )
        # axes of conditions outside, so that a condition is tested as seldom as possible
        conditional = {var for guard in common for var in variables(guard)}
        order = sorted(self.stage.reduction, key=lambda axis: locals_[axis.var] not in conditional)
        remaining = list(common)
        for position in range(len(order) - 1, -1, -1):
            axis = order[position]
            here = [g for g in remaining if locals_[axis.var] in variables(g)]
            remaining = [g for g in remaining if not any(g is h for h in here)]
            body = _guarded(here, body)
            body = self._reduction_loop(axis, locals_[axis.var], body, worker, position == len(order) - 1)
        return _guarded(remaining, body)

    def _reduction_loop(
        self, axis: Axis, local: Var, body: Stmt, worker: Expr | None, innermost: bool
    ) -> Stmt:
        size = self.sizes[axis.var]
        notes = {"pragma_unroll": const(4, "int32")} if innermost and self._short_body() else None
        if worker is not None and self.plan.split is not None and axis.var.same_as(self.plan.split):
            each, rest = tirx.floordiv(size, self.cores), tirx.floormod(size, self.cores)
            begin = self.analyzer.simplify(worker * each + tirx.min(worker, rest))
            count = self.analyzer.simplify(each + Select(worker < rest, const(1, "int32"), const(0, "int32")))
            return For(local, begin, count, ForKind.SERIAL, body, annotations=notes)
        return For(local, index(0), size, ForKind.SERIAL, body, annotations=notes)

    def _short_body(self) -> bool:
        return math.prod(self.plan.unroll.values()) * len(self.stage.reductions) <= 4

    def results(self, points: list[dict[Var, Expr]], sums: list[list[Expr]]) -> Stmt:
        """Return the stage's stores for all points: values first, so that no read waits for a store."""
        binds: list[Stmt] = []
        puts: list[Stmt] = []
        for p, point in enumerate(points):
            known = {r.accumulator: sums[i][p] for i, r in enumerate(self.stage.reductions)} if sums else {}
            for number, result in enumerate(self.stage.stores):
                value = self.bound(result.value, point, known)
                var = Var(str(result.out.name) + "_value", expr_dtype(result.var))
                binds.append(Bind(var, value))
                known[result.var] = var
                if result.kept:
                    coordinates = [point[axis.var] for axis in self.stage.spatial]
                    puts.append(self.put(number, coordinates, var))
        return sequence(binds, puts)


def _unique(items: Iterable[Expr]) -> list[Expr]:
    found: list[Expr] = []
    for item in items:
        if not any(same(item, other) for other in found):
            found.append(item)
    return found


def _guarded(conditions: list[Expr], body: Stmt) -> Stmt:
    if not conditions:
        return body
    condition = conditions[0]
    for other in conditions[1:]:
        condition = tirx.all(condition, other)
    return when(condition, body)
