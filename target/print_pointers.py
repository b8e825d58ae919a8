"""Pointers that walk along with an innermost loop, instead of an index computed anew for each access.

An access ``x[step * i + base + c]`` of a loop over ``i`` becomes ``x_at[c]``, where ``x_at`` starts at ``x +
base`` and moves on by ``step``. What does not change in the loop, and is not written there, is read once
before it. The C compiler then needs one register an array and no arithmetic, whatever the tile's shape.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.target.expressions import call_name, loads, variables, walk
from tvm_pulp.target.tvm_names import (
    AttrStmt,
    Bind,
    Buffer,
    BufferLoad,
    BufferStore,
    Call,
    Evaluate,
    Expr,
    For,
    IfThenElse,
    IntImm,
    Select,
    SeqStmt,
    Stmt,
    Var,
    arith,
    buffer_dtype,
    buffer_scope,
    buffer_shape,
)

_MOST_POINTERS = 10
"""More would not stay in registers beside the values."""


@dataclass(frozen=True)
class WalkingPointer:
    """``variable`` stands for ``buffer + step * loop variable + base``; ``step`` may be a run-time value."""

    variable: Var
    buffer: Buffer
    loop: Var
    step: Expr
    base: Expr
    written: bool


@dataclass(frozen=True)
class HoistedRead:
    """``variable`` holds ``buffer[index]``, which does not change in the loop."""

    variable: Var
    buffer: Buffer
    index: Expr


@dataclass(frozen=True)
class _Access:
    buffer: Buffer
    index: Expr
    conditional: bool
    stored: bool


def flat_index(buffer: Buffer, indices: list[Expr], analyzer: arith.Analyzer) -> Expr:
    """Return the row-major element offset of a multi-dimensional index."""
    flat: Expr = None
    for index, extent in zip(indices, buffer_shape(buffer), strict=True):
        flat = index if flat is None else flat * extent + index
    return analyzer.simplify(flat) if flat is not None else IntImm("int32", 0)


def plan_pointers(loop: For, analyzer: arith.Analyzer) -> tuple[list[WalkingPointer], list[HoistedRead]]:
    """Find the pointers and the reads to do before an innermost loop.

    Returns
    -------
    (list, list)
        Both empty for a loop that holds another one, or calls that may write.
    """
    body = _Body(analyzer)
    if not body.collect(loop.body, conditional=False):
        return [], []
    written = [access.buffer for access in body.accesses if access.stored]
    pointers: list[WalkingPointer] = []
    reads: list[HoistedRead] = []
    for access in body.accesses:
        used = variables(access.index)
        if used & body.bound or loads(access.index):
            continue
        if loop.loop_var not in used:
            fixed = not access.conditional and not any(access.buffer.same_as(b) for b in written)
            if fixed and not _find_read(reads, access, analyzer):
                var = Var(f"{access.buffer.name}_value", buffer_dtype(access.buffer))
                reads.append(HoistedRead(var, access.buffer, access.index))
            continue
        linear = arith.detect_linear_equation(access.index, [loop.loop_var])
        if len(linear) != 2:
            continue
        step, base = analyzer.simplify(linear[0]), analyzer.simplify(linear[1])
        if any(loop.loop_var in variables(part) for part in (step, base)):
            continue
        if any(
            p.buffer.same_as(access.buffer)
            and _is_zero(analyzer.simplify(p.step - step))
            and isinstance(analyzer.simplify(base - p.base), IntImm)
            for p in pointers
        ):
            continue
        stored = any(access.buffer.same_as(b) for b in written)
        var = Var(f"{access.buffer.name}_at", "handle")
        pointers.append(WalkingPointer(var, access.buffer, loop.loop_var, step, base, stored))
    return (pointers, reads) if len(pointers) <= _MOST_POINTERS else ([], reads)


def _is_zero(value: Expr) -> bool:
    return isinstance(value, IntImm) and int(value.value) == 0


def _find_read(reads: list[HoistedRead], access: _Access, analyzer: arith.Analyzer) -> bool:
    return any(
        r.buffer.same_as(access.buffer) and _is_zero(analyzer.simplify(r.index - access.index)) for r in reads
    )


class _Body:
    """The accesses of a loop's body, and the variables that are bound in it."""

    def __init__(self, analyzer: arith.Analyzer) -> None:
        self.analyzer = analyzer
        self.accesses: list[_Access] = []
        self.bound: set[Var] = set()

    def collect(self, node: Stmt | None, conditional: bool) -> bool:
        """Collect from a statement; False if it holds a loop or a call."""
        if node is None:
            return True
        if isinstance(node, SeqStmt):
            return all([self.collect(step, conditional) for step in node.seq])
        if isinstance(node, Bind):
            self.bound.add(node.var)
            self.expression(node.value, conditional)
            return True
        if isinstance(node, BufferStore):
            self.expression(node.value, conditional)
            self.access(node.buffer, list(node.indices), conditional, stored=True)
            return True
        if isinstance(node, IfThenElse):
            self.expression(node.condition, conditional)
            return self.collect(node.then_case, True) and self.collect(node.else_case, True)
        if isinstance(node, AttrStmt):
            return self.collect(node.body, conditional)
        return isinstance(node, Evaluate) and isinstance(node.value, IntImm)

    def expression(self, node: Expr, conditional: bool) -> None:
        for part in walk(node):
            if isinstance(part, BufferLoad):
                self.access(part.source, list(part.indices), conditional or _chooses(node), stored=False)

    def access(self, buffer: Buffer, indices: list[Expr], conditional: bool, stored: bool) -> None:
        if buffer_scope(buffer) != "local":
            flat = flat_index(buffer, indices, self.analyzer)
            self.accesses.append(_Access(buffer, flat, conditional, stored))


def _chooses(node: Expr) -> bool:
    """Tell whether parts of an expression may not be evaluated."""
    return any(
        isinstance(part, Select) or (isinstance(part, Call) and call_name(part) == "if_then_else")
        for part in walk(node)
    )
