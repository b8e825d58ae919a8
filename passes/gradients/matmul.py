"""Gradients of matrix products: matrix products again, in the layouts that the operands have."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.matmul import Matmul, Operand
from tvm_pulp.passes.operators.matmul import matmul as matmul_kernel


@gradient_rule("matmul")
def matmul(call: Differentiated) -> Sequence[relax.Var | None]:
    """Give the gradients of both matrices."""
    sizes = dict(call.parameters)
    a, b, c = (Operand(**sizes.pop(name)) for name in "abc")
    product = Matmul(a, b, c, **sizes)
    variables = {
        product.a.name: call.arguments[0],
        product.b.name: call.arguments[1],
        "output_gradient": call.gradient,
    }
    products = [
        product.gradient_a(f"{product.a.name}_gradient"),
        product.gradient_b(f"{product.b.name}_gradient"),
    ]
    return [
        call.emit(
            matmul_kernel(call.layer, gradient.c.name, gradient),
            [variables[gradient.a.name], variables[gradient.b.name]],
        )
        if needed
        else None
        for gradient, needed in zip(products, call.needed, strict=True)
    ]
