"""Plan where everything lives: named buffers, activations and gradients, L1 scratch.

Parameters, running statistics, optimiser state, inputs, labels and results are symbols of their own
in L2. What a step makes and uses up (activations kept for the backward pass, gradients) shares one
arena in L2 by lifetime; the functions of a package run one at a time, so they share it too. Every
kernel has all of L1 (less the stacks) to itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from tvm import relax

from tvm_pulp.passes.place_buffers import Lifetime, place_buffers
from tvm_pulp.passes.training_graph import TrainingGraph
from tvm_pulp.target.features import Features
from tvm_pulp.target.kernel import Kernel
from tvm_pulp.target.plan import Buffer, Call, FunctionPlan, MemoryPlan, check_memory

FUNCTIONS = ("train_step", "gradient_step", "update_step", "infer")


@dataclass
class _Value:
    """A tensor of a Relax function while it is planned; views share it."""

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    first: int
    last: int

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass
class _Step:
    kernel: str
    layer: str
    arguments: list[_Value] = field(default_factory=list)


def plan_memory(graph: TrainingGraph, kernels: Mapping[str, Kernel], features: Features) -> MemoryPlan:
    """Give every tensor of a training graph a level, an offset and a lifetime.

    Parameters
    ----------
    graph : TrainingGraph
        Relax functions whose bodies are `call_tir`, `call_tir_inplace` and `reshape`.
    kernels : mapping of str to Kernel
        By name.
    features : Features
        Memory sizes.

    Returns
    -------
    MemoryPlan
        A buffer a named tensor, a function plan a Relax function.

    Raises
    ------
    UserError
        If L2 or L1 is too small: what is short, by how much, what would fit.
    """
    l1_bytes = max((kernel.l1_bytes for kernel in kernels.values()), default=0)
    named: dict[tuple[str, str], Buffer] = {}
    functions = []
    for name in FUNCTIONS:
        variable = next((v for v in graph.module.get_global_vars() if v.name_hint == name), None)
        if variable is not None:
            functions.append(_plan_function(name, graph, kernels, named))
    plan = MemoryPlan(
        functions=tuple(functions),
        buffers=tuple(named.values()),
        arena_bytes=max((f.arena_bytes for f in functions), default=0),
        l1_bytes=l1_bytes,
    )
    check_memory(plan, features, _advice(plan, graph, features))
    return plan


def _advice(plan: MemoryPlan, graph: TrainingGraph, features: Features) -> list[str]:
    """Options that make a plan need less L2."""
    largest = max(plan.functions, key=lambda f: f.arena_bytes)
    if graph.config is None or largest.name == "infer":
        return []
    advice = ["a larger frozen part by --freeze-until"]
    available = features.l2_bytes - sum(buffer.bytes for buffer in plan.buffers)
    smaller = _micro_batch_that_fits(graph.config.samples_per_pass, plan.arena_bytes, available)
    if smaller is not None:
        advice.insert(0, f"--micro-batch {smaller}")
    return advice


def _micro_batch_that_fits(batch: int, arena_bytes: int, available: int) -> int | None:
    """Largest divisor of the batch whose arena fits, taking the arena as proportional to the batch."""
    divisors = [n for n in range(batch - 1, 0, -1) if batch % n == 0]
    return next((n for n in divisors if arena_bytes * n / batch <= available), None)


def _plan_function(
    name: str,
    graph: TrainingGraph,
    kernels: Mapping[str, Kernel],
    named: dict[tuple[str, str], Buffer],
) -> FunctionPlan:
    function = graph.module[name]
    values: dict[relax.Var, _Value | list[_Value]] = {}
    for argument in function.params:
        values[argument] = _Value(
            argument.name, _argument_kind(argument.name, graph), *_type(argument.ty), 0, 0
        )
    steps = _walk(function, values, kernels)
    results = _flatten(values, function.body.body)
    for index, value in enumerate(results):
        if value.kind == "activation":
            value.kind, value.name = _result_name(index, name, graph)
        value.last = max(len(steps) - 1, 0)
    activations = list({id(v): v for s in steps for v in s.arguments if v.kind == "activation"}.values())
    offsets, arena_bytes = place_buffers([Lifetime(v.bytes, v.first, v.last) for v in activations])
    placed = {id(v): offset for v, offset in zip(activations, offsets, strict=True)}

    def buffer(value: _Value) -> Buffer:
        made = Buffer(
            name=value.name,
            kind=value.kind,
            level="L2",
            offset=placed.get(id(value)),
            bytes=value.bytes,
            shape=value.shape,
            dtype=value.dtype,
            first=value.first,
            last=value.last,
        )
        if value.kind != "activation":
            key = (value.kind, value.name)
            if key not in named or named[key].bytes < made.bytes:
                named[key] = replace(made, offset=None)
        return made

    for argument in function.params:
        for value in _flatten(values, argument):
            buffer(value)
    calls = tuple(Call(s.kernel, tuple(buffer(v) for v in s.arguments), s.layer) for s in steps)
    return FunctionPlan(name, calls, arena_bytes)


def _walk(
    function: relax.Function,
    values: dict[relax.Var, _Value | list[_Value]],
    kernels: Mapping[str, Kernel],
) -> list[_Step]:
    steps: list[_Step] = []
    for block in function.body.blocks:
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.Call) and value.op.name in (
                "relax.call_tir",
                "relax.call_tir_inplace",
            ):
                values[binding.var] = _plan_call(binding, values, kernels, steps)
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


def _plan_call(
    binding: relax.VarBinding,
    values: dict[relax.Var, _Value | list[_Value]],
    kernels: Mapping[str, Kernel],
    steps: list[_Step],
) -> _Value | list[_Value]:
    call = binding.value
    kernel = call.args[0].name_hint
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
        made = _Value(binding.var.name + suffix, "activation", *_type(type_), step, step)
        outputs.append(inputs[source] if source >= 0 else made)
    fresh = [v for v, source in zip(outputs, inplace, strict=True) if source < 0]
    arguments = inputs + fresh
    for value in arguments:
        value.last = step
    steps.append(_Step(kernel, kernels[kernel].layer, arguments))
    return outputs if several else outputs[0]


def _flatten(values: Mapping[relax.Var, _Value | list[_Value]], expression: relax.Expr) -> list[_Value]:
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
    if name in graph.parameters:
        return "parameter"
    if name in graph.states:
        return "state"
    raise ValueError(f"argument {name!r} is neither input, labels, parameter nor state")


def _result_name(index: int, function: str, graph: TrainingGraph) -> tuple[str, str]:
    """Kind and name of result `index`: (loss, output, gradients...) of a step, outputs of infer."""
    if function == "infer":
        return "output", str(index)
    if index == 0:
        return "loss", "loss"
    if index == 1:
        return "output", "0"
    return "gradient", graph.trainable[index - 2]
