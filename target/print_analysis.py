"""What the kernel printer must know of a statement before it prints it."""

from __future__ import annotations

from tvm_pulp.target.expressions import call_name, variables
from tvm_pulp.target.tvm_names import (
    AllocBuffer,
    AttrStmt,
    Bind,
    Buffer,
    BufferStore,
    Call,
    Evaluate,
    Expr,
    For,
    ForKind,
    IfThenElse,
    SeqStmt,
    Stmt,
    Var,
)

_DMA_CALLS = ("dma_start_1d", "dma_start_2d", "dma_wait")


def _external_name(call: Expr) -> str | None:
    """Return the C function that a ``call_extern`` calls, else None."""
    if isinstance(call, Call) and call_name(call) in ("call_extern", "call_pure_extern"):
        return str(call.args[0].value)
    return None


def is_dma_only(statement: Stmt) -> bool:
    """Tell whether a statement does nothing but drive the DMA, so that core 0 alone runs it."""
    if isinstance(statement, Evaluate):
        return _external_name(statement.value) in _DMA_CALLS
    if isinstance(statement, SeqStmt):
        steps = [step for step in statement.seq if not isinstance(step, Bind)]
        return bool(steps) and all(is_dma_only(step) for step in steps)
    if isinstance(statement, For):
        return statement.kind != ForKind.PARALLEL and is_dma_only(statement.body)
    if isinstance(statement, IfThenElse):
        other = statement.else_case
        return is_dma_only(statement.then_case) and (other is None or is_dma_only(other))
    if isinstance(statement, AttrStmt):
        return is_dma_only(statement.body)
    return False


def split_moves(body: Stmt) -> tuple[list[Stmt], Stmt | None, Stmt | None]:
    """Return a body's declarations, what drives the DMA, and what does not; barriers are in both."""
    declarations: list[Stmt] = []

    def half(node: Stmt, moves: bool) -> list[Stmt]:
        if isinstance(node, AllocBuffer):
            declarations.extend([node] if moves else [])
            return []
        if isinstance(node, Bind) or _is_barrier(node):
            return [node]
        if is_dma_only(node):
            return [node] if moves else []
        if isinstance(node, SeqStmt):
            return [step for part in node.seq for step in half(part, moves)]
        if isinstance(node, For) and node.kind != ForKind.PARALLEL:
            steps = joined(half(node.body, moves))
            return [] if steps is None else [For(node.loop_var, node.min, node.extent, node.kind, steps)]
        return [] if moves else [node]

    def joined(steps: list[Stmt]) -> Stmt | None:
        used = used_variables(_sequence(steps)) if steps else set()
        kept = [step for step in steps if not isinstance(step, Bind) or step.var in used]
        return _sequence(kept) if kept else None

    moves, work = (joined(half(body, side)) for side in (True, False))
    return declarations, moves, work


def _sequence(steps: list[Stmt]) -> Stmt:
    return steps[0] if len(steps) == 1 else SeqStmt(steps)


def _is_barrier(statement: Stmt) -> bool:
    return isinstance(statement, Evaluate) and _external_name(statement.value) == "cluster_barrier"


def slots_of_loop(loop: For) -> list[Expr]:
    """Return the slots of the calls in a loop that only drives the DMA; none if one changes in it."""
    slots: list[Expr] = []
    inside: set[Var] = set()

    def visit(node: Stmt) -> None:
        if isinstance(node, For):
            inside.add(node.loop_var)
        elif isinstance(node, Bind):
            inside.add(node.var)
        elif isinstance(node, Evaluate):
            slots.append(node.value.args[1])
        for part in node.seq if isinstance(node, SeqStmt) else _bodies(node):
            visit(part)

    visit(loop)
    return [] if any(inside & variables(slot) for slot in slots) else slots


def _bodies(node: Stmt) -> list[Stmt]:
    if isinstance(node, For | AttrStmt):
        return [node.body]
    if isinstance(node, IfThenElse):
        return [node.then_case] if node.else_case is None else [node.then_case, node.else_case]
    return []


def written_buffers(statement: Stmt) -> set[Buffer]:
    """Return the buffers that a statement stores to, by a store, a DMA transfer or a micro-kernel."""
    found: set[Buffer] = set()

    def visit(node: Stmt) -> None:
        if isinstance(node, BufferStore):
            found.add(node.buffer)
        elif isinstance(node, SeqStmt):
            for step in node.seq:
                visit(step)
        elif isinstance(node, For | AttrStmt):
            visit(node.body)
        elif isinstance(node, IfThenElse):
            visit(node.then_case)
            if node.else_case is not None:
                visit(node.else_case)
        elif isinstance(node, Evaluate):
            name = _external_name(node.value)
            inwards = name in _DMA_CALLS and name != "dma_wait" and int(node.value.args[-1].value) == 1
            for argument in node.value.args if name is not None else ():
                if isinstance(argument, Call) and call_name(argument) == "address_of" and not inwards:
                    found.add(argument.args[0].source)

    visit(statement)
    return found


def used_variables(statement: Stmt) -> set[Var]:
    """Return the variables that matter to a statement: a bound one only if something that matters uses it."""
    used: set[Var] = set()
    bound: list[tuple[Var, set[Var]]] = []

    def use(*expressions: Expr) -> None:
        for expression in expressions:
            used.update(variables(expression))

    def visit(node: Stmt | None) -> None:
        if isinstance(node, Bind):
            bound.append((node.var, variables(node.value)))
        elif isinstance(node, BufferStore):
            use(node.value, *node.indices)
        elif isinstance(node, Evaluate):
            use(node.value)
        elif isinstance(node, SeqStmt):
            for step in node.seq:
                visit(step)
        elif isinstance(node, For):
            use(node.min, node.extent)
            visit(node.body)
        elif isinstance(node, AttrStmt):
            visit(node.body)
        elif isinstance(node, IfThenElse):
            use(node.condition)
            visit(node.then_case)
            visit(node.else_case)

    visit(statement)
    for var, needs in reversed(bound):  # a value is bound before it is used
        if var in used:
            used.update(needs)
    return used
