"""Rewrite scalar expressions (TVM's Python side has no functor classes for them)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tvm_pulp.target.expressions import children, loads, variables, walk
from tvm_pulp.target.tvm_names import (
    BINARY_NODES,
    Buffer,
    BufferLoad,
    Call,
    Cast,
    Div,
    Expr,
    FloatImm,
    IntImm,
    Let,
    Mul,
    Not,
    Select,
    StringImm,
    Var,
    const,
    expr_dtype,
    load,
)


def rewrite(node: Expr, replace: Callable[[Expr], Expr | None]) -> Expr:
    """Rebuild an expression; where ``replace`` returns something, that takes the place of the part.

    Index arithmetic in int64 becomes int32: no tensor here has 2**31 elements.
    """
    replaced = replace(node)
    if replaced is not None:
        return replaced
    if isinstance(node, IntImm):
        return const(int(node.value), "int32") if expr_dtype(node) == "int64" else node
    if isinstance(node, Var | FloatImm | StringImm):
        return node
    if isinstance(node, BINARY_NODES):
        return type(node)(rewrite(node.a, replace), rewrite(node.b, replace))
    if isinstance(node, BufferLoad):
        return load(node.source, [rewrite(i, replace) for i in node.indices])
    if isinstance(node, Select):
        return Select(*(rewrite(part, replace) for part in children(node)))
    if isinstance(node, Not):
        return Not(rewrite(node.a, replace))
    if isinstance(node, Cast):
        return _cast(expr_dtype(node), rewrite(node.value, replace))
    if isinstance(node, Let):
        value = rewrite(node.value, replace)
        return rewrite(node.body, lambda part: value if part == node.var else replace(part))
    if isinstance(node, Call):
        arguments = [rewrite(argument, replace) for argument in node.args]
        dtype = "int32" if expr_dtype(node) == "int64" else expr_dtype(node)
        return Call(node.op, arguments, attrs=node.attrs, ret_ty=dtype)
    raise ValueError(f"cannot rewrite {type(node).__name__}: {node}")


def _cast(dtype: str, value: Expr) -> Expr:
    dtype = "int32" if dtype == "int64" else dtype
    return value if expr_dtype(value) == dtype else Cast(dtype, value)


def substitute(node: Expr, values: Mapping[Var, Expr]) -> Expr:
    """Replace variables by expressions."""
    return rewrite(node, lambda part: values.get(part) if isinstance(part, Var) else None)


def same(first: Expr, second: Expr) -> bool:
    """Tell whether two expressions are written alike."""
    if type(first) is not type(second):
        return False
    if isinstance(first, Var):
        return bool(first.same_as(second))
    if isinstance(first, IntImm | FloatImm):
        return first.value == second.value and expr_dtype(first) == expr_dtype(second)
    if isinstance(first, StringImm):
        return str(first.value) == str(second.value)
    if isinstance(first, BufferLoad) and not first.source.same_as(second.source):
        return False
    if isinstance(first, Call) and not first.op.same_as(second.op):
        return False
    if isinstance(first, Cast) and expr_dtype(first) != expr_dtype(second):
        return False
    mine, theirs = children(first), children(second)
    return len(mine) == len(theirs) and all(same(a, b) for a, b in zip(mine, theirs, strict=True))


def multiply_by_reciprocals(node: Expr) -> Expr:
    """Turn float divisions by a constant into multiplications.

    The cluster has one divider of 14 cycles for all cores. The result may differ from the quotient by 1 ulp,
    and is exact where the divisor is a power of two.
    """

    def replace(part: Expr) -> Expr | None:
        if isinstance(part, Div) and expr_dtype(part) == "float32" and isinstance(part.b, FloatImm):
            return Mul(multiply_by_reciprocals(part.a), const(1.0 / float(part.b.value), "float32"))
        return None

    return rewrite(node, replace)


def reads_buffer(node: Expr, buffer: Buffer) -> bool:
    """Tell whether an expression reads a buffer."""
    return any(part.source.same_as(buffer) for part in loads(node))


def is_heavy(value: Expr) -> bool:
    """Tell whether an expression divides or calls a function, which takes many times a multiplication."""
    return any(
        isinstance(part, Div) or (isinstance(part, Call) and "if_then_else" not in str(part.op.name))
        for part in walk(value)
    )


__all__ = ["children", "is_heavy", "loads", "multiply_by_reciprocals", "reads_buffer", "rewrite",
           "same", "substitute", "variables", "walk"]  # fmt: skip
