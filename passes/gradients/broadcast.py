"""Gradients of operators whose operands are broadcast: the gradient of a broadcast operand is summed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated
from tvm_pulp.passes.operators.elementwise import elementwise
from tvm_pulp.passes.operators.kernel import Scalar
from tvm_pulp.passes.operators.reduction import sum_kernel
from tvm_pulp.passes.rewrite import static_shape


def operand_gradient(
    call: Differentiated,
    argument: int,
    others: Sequence[tuple[str, relax.Var]] = (),
    expression: Callable[..., Scalar] | None = None,
) -> relax.Var | None:
    """Emit the gradient by an operand of an element-wise operator.

    Parameters
    ----------
    call
        The operator's call; its parameter "names" names the operands.
    argument
        Number of the operand.
    others
        Name and value of what `expression` takes after the output's gradient.
    expression
        Of an element of the output's gradient and one of each of the others: the gradient by the operand
        before it was broadcast. By default the output's gradient itself.

    Returns
    -------
    Var or None
        Of the operand's shape; None if it is not needed.
    """
    if not call.needed[argument]:
        return None
    shape, target = static_shape(call.gradient), call.shape(argument)
    missing = len(shape) - len(target)
    axes = [axis for axis in range(len(shape)) if axis < missing or target[axis - missing] < shape[axis]]
    if expression is None and not any(shape[axis] > 1 for axis in axes):
        return (
            call.gradient if shape == target else call.builder.emit(relax.op.reshape(call.gradient, target))
        )
    operands = [("output_gradient", shape), *((name, static_shape(value)) for name, value in others)]
    work = f"{call.parameters['names'][argument]}_gradient"
    compute = (lambda gradient: gradient) if expression is None else expression
    values = [call.gradient, *(value for _, value in others)]
    if not axes:
        return call.emit(elementwise(call.layer, work, operands, compute), values)
    result_axes = range(missing, len(shape))
    return call.emit(sum_kernel(call.layer, work, operands, compute, axes, result_axes), values)
