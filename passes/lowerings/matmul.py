"""Lowering of matrix products; a transpose of an operand is read as it is stored."""

from __future__ import annotations

import math
from dataclasses import asdict

from tvm import relax

from tvm_pulp.passes.lowerings.lowering import Lowering, Transposed
from tvm_pulp.passes.operators.matmul import Matmul, Operand, matmul
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.target.errors import UserError

LETTERS = "abcdefgh"
"""Of leading axes."""


def emit_product(
    lowering: Lowering, layer: str, work: str, product: Matmul, a: relax.Var, b: relax.Var, name: str
) -> relax.Var:
    """Emit a matrix product with its gradient rule."""
    return lowering.kernel(matmul(layer, work, product), [a, b], "matmul", asdict(product), name)


def lower_matmul(lowering: Lowering, variable: relax.Var, call: relax.Call) -> relax.Var:
    """Emit `matmul`: matrices, a batch of matrices, or a batch of matrices times one matrix."""
    layer = lowering.names.layer(variable)
    (a, transpose_a), (b, transpose_b) = (_stored(lowering, argument) for argument in call.args)
    shape_a, shape_b = (static_shape(argument) for argument in call.args)
    if min(len(shape_a), len(shape_b)) < 2:
        raise UserError(f"layer {layer}: matmul of a vector has no kernel; make it a matrix by a reshape")
    leading_a, leading_b = shape_a[:-2], shape_b[:-2]
    batch = math.prod(leading_a)
    if leading_b and leading_b != leading_a:
        raise UserError(
            f"layer {layer}: matmul of shapes {list(shape_a)} and {list(shape_b)} has no kernel; give both "
            "the same leading axes, or none to the second"
        )
    # Leading axes of A alone are further rows, unless A is stored transposed
    rows_merge = not leading_b and not transpose_a
    letters = LETTERS[: len(leading_a)]
    names = lowering.names.operands(*call.args)
    axes_b = (letters if leading_b else "") + ("nk" if transpose_b else "kn")
    product = Matmul(
        a=Operand(names[0], static_shape(a), letters + ("km" if transpose_a else "mk")),
        b=Operand(names[1], static_shape(b), axes_b),
        c=Operand("output", static_shape(variable), letters + "mn"),
        m=shape_a[-2] * (batch if rows_merge else 1),
        n=shape_b[-1],
        k=shape_a[-1],
        transpose_a=int(transpose_a),
        transpose_b=int(transpose_b),
        batch=1 if rows_merge else batch,
        batch_a=int(batch > 1 and not rows_merge),
        batch_b=int(batch > 1 and bool(leading_b)),
    )
    return emit_product(lowering, layer, lowering.work, product, a, b, variable.name)


def _stored(lowering: Lowering, argument: relax.Expr) -> tuple[relax.Var, bool]:
    """Operand as it is stored, and whether its last two axes are swapped."""
    found = lowering.peek(argument)
    if isinstance(found, Transposed):
        rank = len(found.axes)
        if found.axes == (*range(rank - 2), rank - 1, rank - 2):
            return found.source, True
    return lowering.tensor(argument), False
