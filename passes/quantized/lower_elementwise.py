"""Kernels of an integer graph's operators that go element by element, and of its softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tvm import relax

from tvm_pulp.passes.operators import quantized_elementwise
from tvm_pulp.passes.operators.kernel import Shape
from tvm_pulp.passes.operators.quantized_add import quantized_add
from tvm_pulp.passes.operators.quantized_multiply import channel_lookup, quantized_multiply
from tvm_pulp.passes.operators.quantized_softmax import quantized_softmax
from tvm_pulp.passes.operators.rescaled_add import rescaled_add
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.elementwise_operators import ChannelLookup, Constant, QuantizedMultiply
from tvm_pulp.passes.quantized.lower_ends import physical
from tvm_pulp.target.tvm_names import PrimFunc

WORK = "infer"


class Lowering(Protocol):
    """What emits the kernels of a graph.

    Attributes
    ----------
    builder : relax.BlockBuilder
        Inside a dataflow block.
    floats : dict of str to Var
        Inputs and tensors of float32 so far, by name.
    """

    builder: relax.BlockBuilder
    floats: dict[str, relax.Var]

    def value(self, tensor: g.QuantizedTensor) -> relax.Var:
        """Variable of a tensor."""
        ...

    def constants(self, operator: g.Operator | g.FloatOperator) -> list[relax.Var]:
        """Variables of an operator's arrays, in the order of its kernel's arguments."""
        ...

    def call(self, kernel: PrimFunc, *arguments: relax.Var) -> relax.Var:
        """Emit a kernel."""
        ...

    def view(self, value: relax.Var, shape: Shape) -> relax.Var:
        """Emit a view of another shape."""
        ...

    def permuted(
        self, operator: g.Operator, value: relax.Var, shape: Shape, axes: tuple[int, ...]
    ) -> relax.Var:
        """Emit a transpose."""
        ...


def _add(lowering: Lowering, operator: g.QuantizedAdd) -> relax.Var:
    tensors = (operator.left, operator.right, operator.output)
    kernel = quantized_add(
        operator.layer,
        WORK,
        (physical(operator.left.shape), physical(operator.right.shape)),
        (tensors[0].zero_point, tensors[1].zero_point, tensors[2].zero_point),
        operator.multipliers,
        operator.shift,
        (operator.minimum, operator.maximum),
        operator.rounding,
    )
    return lowering.call(kernel, lowering.value(operator.left), lowering.value(operator.right))


def _rescaled_add(lowering: Lowering, operator: g.RescaledAdd) -> relax.Var:
    tensors = (operator.left, operator.right, operator.output)
    kernel = rescaled_add(
        operator.layer,
        WORK,
        (physical(operator.left.shape), physical(operator.right.shape)),
        (tensors[0].zero_point, tensors[1].zero_point, tensors[2].zero_point),
        operator.multipliers,
        (operator.minimum, operator.maximum),
        operator.subtracts,
    )
    return lowering.call(kernel, lowering.value(operator.left), lowering.value(operator.right))


def _multiply(lowering: Lowering, operator: QuantizedMultiply) -> relax.Var:
    left, right = operator.left, operator.right
    kernel = quantized_multiply(
        operator.layer,
        WORK,
        (physical(left.shape), physical(right.shape)),
        (left.zero_point, right.zero_point),
        operator.multiplier,
        operator.shift,
        operator.requantization,
    )
    return lowering.call(kernel, lowering.value(left), lowering.value(right))


def _channel_lookup(lowering: Lowering, operator: ChannelLookup) -> relax.Var:
    kernel = channel_lookup(operator.layer, WORK, physical(operator.source.shape))
    return lowering.call(kernel, lowering.value(operator.source), *lowering.constants(operator))


def _constant(lowering: Lowering, operator: Constant) -> relax.Var:
    return lowering.constants(operator)[0]


def _softmax(lowering: Lowering, operator: g.QuantizedSoftmax) -> relax.Var:
    output = operator.output
    kernel = quantized_softmax(operator.layer, WORK, output.shape, output.scale, output.zero_point)
    return lowering.call(kernel, lowering.value(operator.source), *lowering.constants(operator))


def _lookup(lowering: Lowering, operator: g.Lookup) -> relax.Var:
    kernel = quantized_elementwise.lookup(operator.layer, WORK, physical(operator.source.shape))
    return lowering.call(kernel, lowering.value(operator.source), *lowering.constants(operator))


ELEMENTWISE: dict[type[g.Operator], Callable[[Lowering, Any], relax.Var]] = {
    g.QuantizedAdd: _add,
    g.RescaledAdd: _rescaled_add,
    g.Lookup: _lookup,
    g.QuantizedSoftmax: _softmax,
    QuantizedMultiply: _multiply,
    ChannelLookup: _channel_lookup,
    Constant: _constant,
}
