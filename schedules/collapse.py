"""Merge neighbouring axes of a stage that every access walks through together.

An elementwise stage over NCHW tensors becomes one flat loop, a per-channel scale a loop over images,
channels and pixels: longer DMA lines, simpler C.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tvm_pulp.schedules.computation import Axis, Stage
from tvm_pulp.schedules.expressions import loads, rewrite, variables
from tvm_pulp.target.tvm_names import (
    Buffer,
    BufferLoad,
    Expr,
    Var,
    buffer_dtype,
    buffer_shape,
    decl_buffer,
    load,
)


@dataclass(frozen=True)
class View:
    """A buffer seen in another shape: same elements, row-major."""

    base: Buffer
    shape: tuple[int, ...]
    buffer: Buffer


class ViewTable:
    """All views of a stage; one for each pair of buffer and shape."""

    def __init__(self) -> None:
        self.views: list[View] = []

    def get(self, base: Buffer, shape: tuple[int, ...]) -> View:
        """Return the view of a buffer in a shape."""
        for view in self.views:
            if view.base.same_as(base) and view.shape == shape:
                return view
        view = View(base, shape, decl_buffer(shape, buffer_dtype(base), name=str(base.name)))
        self.views.append(view)
        return view

    def of(self, buffer: Buffer) -> View:
        """Return the view that a view's buffer stands for."""
        for view in self.views:
            if view.buffer.same_as(buffer):
                return view
        return View(buffer, buffer_shape(buffer), buffer)


def collapse(stage: Stage) -> tuple[Stage, ViewTable]:
    """Merge axes as far as possible.

    Returns
    -------
    (Stage, ViewTable)
        The stage with its reads turned into reads of views without axes of extent 1.
    """
    table = ViewTable()
    stage = _map_loads(stage, lambda access: _drop_units(access, table))
    merged = True
    while merged:
        merged = False
        for kind in ("spatial", "reduction"):
            axes: tuple[Axis, ...] = getattr(stage, kind)
            for position in range(len(axes) - 1):
                first, second = axes[position], axes[position + 1]
                if _together(stage, first, second):
                    stage = _merge(stage, kind, position, table)
                    merged = True
                    break
    return stage, table


def _expressions(stage: Stage) -> list[Expr]:
    return [e for r in stage.reductions for e in (r.init, r.update)] + [s.value for s in stage.stores]


def _map(stage: Stage, change: object) -> Stage:
    """Apply a function to each expression of a stage."""
    assert callable(change)
    reductions = tuple(replace(r, init=change(r.init), update=change(r.update)) for r in stage.reductions)
    stores = tuple(replace(s, value=change(s.value)) for s in stage.stores)
    return replace(stage, reductions=reductions, stores=stores)


def _map_loads(stage: Stage, change: object) -> Stage:
    assert callable(change)

    def rewriter(part: Expr) -> Expr | None:
        if isinstance(part, BufferLoad):
            inner = [rewrite(index, rewriter) for index in part.indices]
            return change(load(part.source, inner))
        return None

    return _map(stage, lambda expression: rewrite(expression, rewriter))


def _drop_units(access: Expr, table: ViewTable) -> Expr:
    shape = buffer_shape(access.source)
    kept = [(index, extent) for index, extent in zip(access.indices, shape, strict=True) if extent != 1]
    view = table.get(access.source, tuple(extent for _, extent in kept))
    return load(view.buffer, [index for index, _ in kept])


def _together(stage: Stage, first: Axis, second: Axis) -> bool:
    """Tell whether two neighbouring axes only ever index neighbouring dimensions of their own extents."""
    pair = {first.var, second.var}

    def check(node: Expr) -> bool:
        if isinstance(node, Var):
            return node not in pair
        if isinstance(node, BufferLoad):
            shape, indices = buffer_shape(node.source), list(node.indices)
            position = 0
            while position < len(indices):
                index = indices[position]
                if isinstance(index, Var) and index.same_as(first.var) and position + 1 < len(indices):
                    following = indices[position + 1]
                    if (
                        isinstance(following, Var)
                        and following.same_as(second.var)
                        and shape[position] == first.extent
                        and shape[position + 1] == second.extent
                    ):
                        position += 2
                        continue
                if not check(index):
                    return False
                position += 1
            return True
        from tvm_pulp.schedules.expressions import children

        return all(check(child) for child in children(node))

    return all(check(expression) for expression in _expressions(stage))


def _merge(stage: Stage, kind: str, position: int, table: ViewTable) -> Stage:
    axes: tuple[Axis, ...] = getattr(stage, kind)
    first, second = axes[position], axes[position + 1]
    var = Var(f"{first.var.name}_{second.var.name}", "int32")
    axis = Axis(var, first.extent * second.extent)

    def change(access: Expr) -> Expr:
        shape, indices = list(buffer_shape(access.source)), list(access.indices)
        for at in range(len(indices) - 1):
            if isinstance(indices[at], Var) and indices[at].same_as(first.var):
                indices[at : at + 2] = [var]
                shape[at : at + 2] = [axis.extent]
                break
        else:
            return access
        view = table.get(table.of(access.source).base, tuple(shape))
        return load(view.buffer, indices)

    def repeated(access: Expr) -> Expr:
        while True:
            changed = change(access)
            if changed is access:
                return access
            access = changed

    stage = _map_loads(stage, repeated)
    new_axes = (*axes[:position], axis, *axes[position + 2 :])
    return replace(stage, spatial=new_axes) if kind == "spatial" else replace(stage, reduction=new_axes)


def used_axes(stage: Stage, buffer: Buffer) -> set[Var]:
    """Return the axes that any read of a view depends on."""
    found: set[Var] = set()
    for expression in _expressions(stage):
        for access in loads(expression):
            if access.source.same_as(buffer):
                for index in access.indices:
                    found |= variables(index)
    return found
