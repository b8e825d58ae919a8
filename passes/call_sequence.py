"""A Relax function as a sequence of kernel calls on tensors, for the planners of memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from tvm import relax

from tvm_pulp.passes.training_graph import TrainingGraph
from tvm_pulp.target.functions import (
    REPLAY_INDICES,
    REPLAY_LABELS,
    REPLAY_LATENTS,
    REPLAY_ROWS,
    REPLAY_SLOTS,
    STORE_REPLAYS,
)


@dataclass(eq=False)
class Value:
    """A tensor of a Relax function; views share it.

    Attributes
    ----------
    name, kind : str
        See `tvm_pulp.target.plan.Buffer`.
    shape : tuple of int
        Extents.
    dtype : str
        Element type.
    first, last : int
        Indices of the first and last call that uses it.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    first: int
    last: int

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Use:
    """An argument of a call: the tensor, and whether the kernel reads and writes it."""

    value: Value
    read: bool
    written: bool


@dataclass
class Step:
    """A kernel call: the PrimFunc's name and the arguments in its order."""

    kernel: str
    uses: list[Use] = field(default_factory=list)


@dataclass(frozen=True)
class CallSequence:
    """A function: its calls in order, and its arguments."""

    steps: list[Step]
    arguments: list[Value]


_Values = dict[relax.Var, Value | list[Value]]


def call_sequence(name: str, graph: TrainingGraph) -> CallSequence:
    """Read a Relax function of a training graph.

    Parameters
    ----------
    name : str
        Of the function.
    graph : TrainingGraph
        Relax functions whose bodies are `call_tir`, `call_tir_inplace` and `reshape`.

    Returns
    -------
    CallSequence
        Results bear their public kinds and names ("loss", "output", ...) and live to the end.
    """
    function = graph.module[name]
    values: _Values = {}
    for argument in function.params:
        kind = _argument_kind(argument.name, graph)
        values[argument] = Value(argument.name, kind, *_type(argument.ty), 0, 0)
    steps = _walk(function, values)
    for index, value in enumerate(_flatten(values, function.body.body)):
        if value.kind == "activation":
            value.kind, value.name = _result_name(index, name, graph)
        value.last = max(len(steps) - 1, 0)
    return CallSequence(steps, [v for argument in function.params for v in _flatten(values, argument)])


def _walk(function: relax.Function, values: _Values) -> list[Step]:
    steps: list[Step] = []
    for block in function.body.blocks:
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.Call) and value.op.name in (
                "relax.call_tir",
                "relax.call_tir_inplace",
            ):
                values[binding.var] = _call(binding, values, steps)
            elif isinstance(value, relax.Call) and value.op.name == "relax.reshape":
                values[binding.var] = values[value.args[0]]
            elif isinstance(value, relax.TupleGetItem):
                parts = values[value.tuple_value]
                assert isinstance(parts, list)
                values[binding.var] = parts[value.index]
            elif isinstance(value, relax.Tuple):
                values[binding.var] = _flatten(values, value)
            elif isinstance(value, relax.Var):
                values[binding.var] = values[value]
            else:
                raise TypeError(f"the planner met {value} in {binding.var.name}: legalise the graph first")
    return steps


def _call(binding: relax.VarBinding, values: _Values, steps: list[Step]) -> Value | list[Value]:
    call = binding.value
    inputs = _flatten(values, call.args[1])
    result_type = binding.var.ty
    several = isinstance(result_type, relax.TupleType)
    types = list(result_type.fields) if several else [result_type]
    inplace = [-1] * len(types)
    if call.op.name == "relax.call_tir_inplace":
        inplace = [int(i) for i in call.attrs.inplace_indices]
    step = len(steps)
    outputs = []
    for index, (type_, source) in enumerate(zip(types, inplace, strict=True)):
        suffix = f"_{index}" if several else ""
        made = Value(binding.var.name + suffix, "activation", *_type(type_), step, step)
        outputs.append(inputs[source] if source >= 0 else made)
    uses = [Use(value, True, n in inplace) for n, value in enumerate(inputs)]
    uses += [Use(v, False, True) for v, source in zip(outputs, inplace, strict=True) if source < 0]
    for use in uses:
        use.value.last = step
    steps.append(Step(call.args[0].name_hint, uses))
    return outputs if several else outputs[0]


def _flatten(values: Mapping[relax.Var, Value | list[Value]], expression: relax.Expr) -> list[Value]:
    if isinstance(expression, relax.Tuple):
        return [v for part in expression.fields for v in _flatten(values, part)]
    found = values[expression]
    return found if isinstance(found, list) else [found]


def _type(tensor: relax.TensorType) -> tuple[tuple[int, ...], str]:
    shape: Iterable = tensor.shape.values if hasattr(tensor.shape, "values") else tensor.shape
    return tuple(int(extent) for extent in shape), str(tensor.dtype)


def _argument_kind(name: str, graph: TrainingGraph) -> str:
    if name in graph.inputs:
        return "input"
    if name == "labels":
        return "labels"
    if graph.replays and name in (REPLAY_LATENTS, REPLAY_LABELS):
        return "replays"
    if graph.replays and name in (REPLAY_INDICES, REPLAY_SLOTS):
        return "slots"
    if graph.replays and name == REPLAY_ROWS:
        return "rows"
    if name in graph.parameters:
        return "parameter"
    if name in graph.states:
        return "state"
    raise ValueError(
        f"argument {name!r} is neither input, labels, parameter, part of the replay store nor state"
    )


def _result_name(index: int, function: str, graph: TrainingGraph) -> tuple[str, str]:
    """Kind and name of result `index`: (loss, output, gradients...) of a step, outputs of infer."""
    if function == "infer":
        return "output", str(index)
    if function == STORE_REPLAYS:
        return "rows", REPLAY_ROWS
    if index == 0:
        return "loss", "loss"
    if index == 1:
        return "output", "0"
    return "gradient", graph.trainable[index - 2]
