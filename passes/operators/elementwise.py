"""Kernels that compute each element of the result from the elements at the same place after broadcasting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, broadcast_element, make_kernel
from tvm_pulp.target.tvm_names import PrimFunc


def elementwise(
    layer: str,
    work: str,
    operands: Sequence[tuple[str, Shape]],
    expression: Callable[..., Scalar],
    shape: Shape | None = None,
) -> PrimFunc:
    """Make the kernel of ``output = expression(operands)``, element by element.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    operands
        Name and shape of each argument; broadcast to `shape` by NumPy's rule.
    expression
        Called with the operands' elements; yields the result's element.
    shape
        Of the result; by default that of the first operand.

    Returns
    -------
    PrimFunc
        Operator class ``"elementwise"``; the operands, then the output.
    """
    tensors = [argument(name, extents) for name, extents in operands]
    output = te.compute(
        operands[0][1] if shape is None else shape,
        lambda *indices: expression(*(broadcast_element(tensor, indices) for tensor in tensors)),
        name="output",
    )
    return make_kernel(tensors, [output], operator="elementwise", layer=layer, work=work)
