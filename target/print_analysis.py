"""What the kernel printer must know of a statement before it prints it."""

from __future__ import annotations

from tvm_pulp.target.expressions import call_name, variables
from tvm_pulp.target.tvm_names import (
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
