"""Element-wise kernels: rectifiers and their gradients, sums, activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_pulp.measure.specification import SOURCE, Key, Specification
from tvm_pulp.measure.workloads.quantized_elementwise import ROUNDING, make_quantized
from tvm_pulp.measure.workloads.workload import Cost, Kind, Workload
from tvm_pulp.passes.operators.elementwise import elementwise
from tvm_pulp.passes.operators.kernel import number
from tvm_pulp.target.tvm_names import Select, tirx


@dataclass(frozen=True)
class _Operation:
    """An element's computation, in TIR and in NumPy.

    Attributes
    ----------
    operands : int
        Tensors that are read.
    expression, reference : callable
        Of the operands' elements, and of their arrays.
    operations, float_operations : int
        Instructions an element besides loads and stores; those of them that need a FPU.
    """

    operands: int
    expression: Callable[..., Any]
    reference: Callable[..., np.ndarray]
    operations: int
    float_operations: int = 0


_FORWARD = {
    "relu": _Operation(1, lambda x: tirx.max(x, number(0.0)), lambda x: np.maximum(x, 0), 1),
    # positive floats are in order as integers, which the cores clip in one instruction
    "relu6": _Operation(
        1, lambda x: tirx.min(tirx.max(x, number(0.0)), number(6.0)), lambda x: np.clip(x, 0, 6), 1
    ),
    "add": _Operation(2, lambda x, y: x + y, lambda x, y: x + y, 1, 1),
    "multiply": _Operation(2, lambda x, y: x * y, lambda x, y: x * y, 1, 1),
    # an exponential takes a reduction to a small range and a polynomial: five fused operations at least
    "sigmoid": _Operation(1, tirx.sigmoid, lambda x: 1 / (1 + np.exp(-x)), 8, 8),
    "tanh": _Operation(1, tirx.tanh, np.tanh, 8, 8),
}
_BACKWARD = {
    "relu": _Operation(
        2, lambda g, y: Select(y > number(0.0), g, number(0.0)), lambda g, y: np.where(y > 0, g, 0), 2
    ),
    "relu6": _Operation(
        2,
        lambda g, y: Select(tirx.all(y > number(0.0), y < number(6.0)), g, number(0.0)),
        lambda g, y: np.where((y > 0) & (y < 6), g, 0),
        3,
    ),
}


def _make(s: Specification) -> Workload:
    if s.values.get("dtype") == "int8":
        return make_quantized(s)
    backward = s.values.get("step") == "data-grad"
    operation = (_BACKWARD if backward else _FORWARD)[s.kind]
    elements = s.number("elements")
    names = ["output_gradient", "output"] if backward else ["data", "other"]
    operands = [(name, (elements,)) for name in names[: operation.operands]]
    function = elementwise("kernel", s.kind, operands, operation.expression)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        inputs = [array.astype(np.float64) for array in arrays[: operation.operands]]
        return {operation.operands: operation.reference(*inputs)}

    instructions = operation.operands + operation.operations + 1
    cost = Cost(float_operations=elements * operation.float_operations, instructions=elements * instructions)
    return Workload(s, function, expected, cost)


def _kind(name: str) -> Kind:
    step = [Key("step", "forward", ("forward", "data-grad"))] if name in _BACKWARD else []
    dtype = [Key("dtype", "float32", ("float32", "int8"))] if name in ("add", "multiply") else []
    rounding = [ROUNDING] if name == "add" else []
    return Kind([Key("elements"), *step, *dtype, *rounding, SOURCE], _make)


KINDS = {name: _kind(name) for name in _FORWARD}
