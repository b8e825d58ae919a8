"""Properties of a reduction's update: conditions under which it does nothing, and its neutral element."""

from __future__ import annotations

from tvm_pulp.schedules.computation import Reduction
from tvm_pulp.schedules.expressions import loads, variables
from tvm_pulp.target.tvm_names import (
    Add,
    Call,
    Expr,
    FloatImm,
    Max,
    Min,
    Mul,
    Select,
    Var,
    const,
    expr_dtype,
    tirx,
)


def guards_of(update: Expr) -> tuple[list[Expr], Expr]:
    """Split ``sum + (condition ? x : 0) * y`` into the condition and ``sum + x * y``.

    Where the condition fails such a term adds nothing, so that it need not be computed.

    Returns
    -------
    (list, Expr)
        The conditions, and the update where all of them hold.
    """
    if isinstance(update, Add) and isinstance(update.a, Var):
        conditions, term = _zero_guards(update.b)
        return conditions, Add(update.a, term)
    if isinstance(update, Max | Min) and isinstance(update.a, Var):
        parts = _conditional(update.b)
        if parts is not None and isinstance(parts[2], FloatImm):
            smallest = -3.4e38 if isinstance(update, Max) else 3.4e38
            outside = float(parts[2].value)
            if (outside <= smallest) if isinstance(update, Max) else (outside >= smallest):
                return [parts[0]], type(update)(update.a, parts[1])
    return [], update


def _conditional(node: Expr) -> tuple[Expr, Expr, Expr] | None:
    if isinstance(node, Select):
        return node.condition, node.true_value, node.false_value
    if isinstance(node, Call) and str(node.op.name).endswith("if_then_else"):
        return tuple(node.args)
    return None


def _zero_guards(term: Expr) -> tuple[list[Expr], Expr]:
    parts = _conditional(term)
    if parts is not None and isinstance(parts[2], FloatImm) and float(parts[2].value) == 0.0:
        inner, value = _zero_guards(parts[1])
        return ([parts[0], *inner], value) if not loads(parts[0]) else ([], term)
    if isinstance(term, Mul):
        left, a = _zero_guards(term.a)
        right, b = _zero_guards(term.b)
        return [*left, *right], Mul(a, b)
    return [], term


def identity_element(reduction: Reduction) -> Expr | None:
    """Return the value that leaves a sum, product, maximum or minimum as it is; None for others."""
    update, accumulator = reduction.update, reduction.accumulator
    if not isinstance(update, Add | Mul | Max | Min):
        return None
    if not (isinstance(update.a, Var) and update.a.same_as(accumulator)):
        return None
    if accumulator in variables(update.b):
        return None
    dtype = expr_dtype(accumulator)
    if isinstance(update, Add):
        return const(0, dtype)
    if isinstance(update, Mul):
        return const(1, dtype)
    return tirx.min_value(dtype) if isinstance(update, Max) else tirx.max_value(dtype)
