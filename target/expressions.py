"""Walk scalar expressions (TVM's Python side has no functor classes for them)."""

from __future__ import annotations

from collections.abc import Iterator

from tvm_pulp.target.tvm_names import BINARY_NODES, BufferLoad, Call, Cast, Expr, Let, Not, Select, Var


def children(node: Expr) -> list[Expr]:
    """Return the direct operands of an expression."""
    if isinstance(node, BINARY_NODES):
        return [node.a, node.b]
    if isinstance(node, BufferLoad):
        return list(node.indices)
    if isinstance(node, Call):
        return list(node.args)
    if isinstance(node, Select):
        return [node.condition, node.true_value, node.false_value]
    if isinstance(node, Not):
        return [node.a]
    if isinstance(node, Cast):
        return [node.value]
    if isinstance(node, Let):
        return [node.value, node.body]
    return []


def walk(node: Expr) -> Iterator[Expr]:
    """Yield an expression and everything below it, outermost first."""
    yield node
    for child in children(node):
        yield from walk(child)


def loads(node: Expr) -> list[Expr]:
    """Return every buffer read in an expression."""
    return [part for part in walk(node) if isinstance(part, BufferLoad)]


def variables(node: Expr) -> set[Var]:
    """Return the variables that an expression uses, buffers left out."""
    return {part for part in walk(node) if isinstance(part, Var)}


def call_name(call: Expr) -> str:
    """Return the bare name of the operator that a call node applies, e.g. ``"exp"``."""
    return str(call.op.name).rsplit(".", 1)[-1]
