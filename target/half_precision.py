"""Arithmetic of float16 by way of float32, as C has no type for it that all compilers know.

The sum, difference, product or quotient of two float16 numbers, computed in float32 and rounded to float16,
is the correctly rounded one: float32 has more than twice the digits.
"""

from __future__ import annotations

import numpy as np

from tvm_pulp.target.expressions import call_name
from tvm_pulp.target.tvm_names import (
    EQ,
    GE,
    GT,
    LE,
    LT,
    NE,
    Add,
    Call,
    Cast,
    Div,
    Expr,
    Max,
    Min,
    Mul,
    Sub,
    expr_dtype,
)

_ARITHMETIC = (Add, Sub, Mul, Div, Min, Max)
_COMPARISONS = (EQ, NE, LT, LE, GT, GE)
_OTHER_CALLS = ("if_then_else", "likely", "reinterpret", "address_of", "call_extern", "call_pure_extern")
"""Calls that compute nothing in float16."""


def in_single_precision(node: Expr) -> Expr | None:
    """Return an operation on float16 as one on float32, its result rounded; None for any other expression."""
    if isinstance(node, _ARITHMETIC) and _is_half(node):
        return Cast("float16", type(node)(_single(node.a), _single(node.b)))
    if isinstance(node, _COMPARISONS) and _is_half(node.a):
        return type(node)(_single(node.a), _single(node.b))
    if isinstance(node, Call) and call_name(node) not in _OTHER_CALLS and any(map(_is_half, node.args)):
        arguments = [_single(a) if _is_half(a) else a for a in node.args]
        if _is_half(node):
            return Cast("float16", Call(node.op, arguments, ret_ty="float32"))
        return Call(node.op, arguments, ret_ty=expr_dtype(node))
    return None


def half_bits(value: float) -> int:
    """Return the bits of a number as float16."""
    return int(np.float16(value).view(np.uint16))


def _is_half(node: Expr) -> bool:
    return bool(expr_dtype(node) == "float16")


def _single(node: Expr) -> Expr:
    return Cast("float32", node)
