"""Mean squared error of an output and its target, and its gradient."""

from __future__ import annotations

from tvm_pulp.passes.operators.elementwise import elementwise
from tvm_pulp.passes.operators.kernel import Scalar, Shape, number
from tvm_pulp.passes.operators.reduction import sum_kernel
from tvm_pulp.target.tvm_names import PrimFunc


def mse(layer: str, work: str, shape: Shape, scale: float) -> PrimFunc:
    """Make the kernel of ``loss = scale * Σ (output - labels)²``.

    Returns
    -------
    PrimFunc
        Operator class ``"reduction"``: output, labels; loss ``[1]``.
    """

    def term(output: Scalar, label: Scalar) -> Scalar:
        return (output - label) * (output - label)

    operands = [("prediction", shape), ("labels", shape)]
    return sum_kernel(layer, work, operands, term, range(len(shape)), [0], scale=scale)


def mse_gradient(layer: str, work: str, shape: Shape, scale: float) -> PrimFunc:
    """Make the kernel of the gradient by the output, ``2 * scale * (output - labels)``.

    Returns
    -------
    PrimFunc
        Operator class ``"elementwise"``: output, labels; output gradient.
    """
    factor = number(2.0 * scale)
    operands = [("prediction", shape), ("labels", shape)]
    return elementwise(layer, work, operands, lambda output, label: factor * (output - label))
