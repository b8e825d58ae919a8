"""Join chains of elementwise kernels: one pass over the data does what two did.

A kernel is joined with one that reads its result at the same elements: residual addition and ReLU, the sum of
gradients and a rectifier's gradient, bias and activation. The result in between stays in registers; where
something else reads it too, the joined kernel stores it besides. The operations and their order stay the
same, so the results are equal bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tvm import IRModule, relax

from tvm_pulp.passes.compose_kernels import compose_kernels
from tvm_pulp.passes.kernel_steps import KernelStep, Step, StepFunction, ViewStep, read_steps, write_steps
from tvm_pulp.passes.operators.kernel import symbol
from tvm_pulp.schedules.computation import Computation, read_computations
from tvm_pulp.schedules.elementwise import ElementwiseTemplate
from tvm_pulp.schedules.expressions import loads, same
from tvm_pulp.target.expressions import walk
from tvm_pulp.target.tvm_names import (
    Add,
    Buffer,
    BufferLoad,
    Max,
    Min,
    Mul,
    PrimFunc,
    Select,
    Sub,
    buffer_shape,
)

OPERATORS = ("elementwise", "sgd", "accumulate", "batch_norm_inference")
"""Classes of kernels that compute each element from those at the same place."""

_WORKS = ("forward", "infer")
_WORDS = ((Max, "relu"), (Min, "clip"), (Select, "relu_gradient"), (Add, "add"), (Sub, "subtract"))


def fuse_elementwise(module: IRModule) -> IRModule:
    """Join the elementwise kernels of finished functions.

    Parameters
    ----------
    module : IRModule
        Functions whose bodies are `call_tir`, `call_tir_inplace`, `reshape` and tuple elements; PrimFuncs.

    Returns
    -------
    IRModule
        With the joined kernels (operator class "elementwise", ``"pulp.layer"`` names all layers), less the
        kernels that are not called any more.
    """
    names = [v.name_hint for v, f in module.functions.items() if isinstance(f, relax.Function)]
    functions = [read_steps(module, name) for name in names]
    for function in functions:
        _join_all(function)
    return write_steps(functions)


def _join_all(function: StepFunction) -> None:
    position = 0
    while position < len(function.steps):
        before = _producer(function, position)
        if before is None:
            position += 1
            continue
        joined = _join(function, before, position)
        function.steps[position] = joined
        del function.steps[before]  # the joined kernel has moved up by one, and may have another producer
        position -= 1


def _producer(function: StepFunction, position: int) -> int | None:
    """Number of a step that can be joined with the one at a position, None if there is none."""
    step = function.steps[position]
    if not isinstance(step, KernelStep) or not _is_elementwise(step.kernel):
        return None
    for before in range(position - 1, -1, -1):
        producer = function.steps[before]
        if not isinstance(producer, KernelStep) or not set(producer.results) & set(step.arguments):
            continue
        if _can_be_joined(function, before, position) and _pays(function, before, position):
            return before
    return None


def _can_be_joined(function: StepFunction, before: int, position: int) -> bool:
    producer, consumer = function.steps[before], function.steps[position]
    assert isinstance(producer, KernelStep) and isinstance(consumer, KernelStep)
    if not _is_elementwise(producer.kernel) or any(number >= 0 for number in producer.overwritten):
        return False
    memory = function.memory()

    def same_memory(first: relax.Var, others: Sequence[relax.Var]) -> bool:
        return memory.get(first, first) in {memory.get(other, other) for other in others}

    for step in function.steps[before + 1 : position]:
        read = [step.source] if isinstance(step, ViewStep) else step.arguments
        written = [] if isinstance(step, ViewStep) else _written(step)
        if set(read) & set(producer.results) or any(same_memory(v, producer.arguments) for v in written):
            return False
    if any(same_memory(v, producer.arguments) for v in _written(consumer)):
        return False
    return all(
        _reads_at_same_place(producer.kernel, _buffer(producer, t), consumer.kernel, _buffer(consumer, t))
        for t in producer.results
        if t in consumer.arguments
    )


def _written(step: KernelStep) -> list[relax.Var]:
    return [step.arguments[number] for number in step.overwritten if number >= 0]


def _buffer(step: KernelStep, tensor: relax.Var) -> int:
    return step.tensors.index(tensor)


@lru_cache(maxsize=4096)
def _computations(kernel: PrimFunc) -> tuple[Computation, ...]:
    return tuple(read_computations(kernel))


def _is_elementwise(kernel: PrimFunc) -> bool:
    if str(kernel.attrs["pulp.operator"]) not in OPERATORS:
        return False
    return not any(computation.reduction for computation in _computations(kernel))


def _reads_at_same_place(producer: PrimFunc, made: int, consumer: PrimFunc, read: int) -> bool:
    """Tell whether a consumer reads a result at its own element only, and rounded."""
    buffer = consumer.params[read]
    product = any(
        c.out.same_as(producer.params[made]) and isinstance(c.value, Mul) for c in _computations(producer)
    )
    for computation in _computations(consumer):
        axes = [axis.var for axis in computation.spatial]
        for access in loads(computation.value):
            if access.source.same_as(buffer):
                extents = buffer_shape(buffer)
                indices = [i for i, n in zip(access.indices, extents, strict=True) if n != 1]
                if len(indices) != len(axes) or not all(map(same, indices, axes)):
                    return False
        # a product that is added to something would become a multiply-add, which rounds once instead of twice
        if product and any(
            isinstance(part, Add | Sub) and any(_is_load(side, buffer) for side in (part.a, part.b))
            for part in walk(computation.value)
        ):
            return False
    return True


def _is_load(node: object, buffer: Buffer) -> bool:
    return isinstance(node, BufferLoad) and bool(node.source.same_as(buffer))


def _pays(function: StepFunction, before: int, position: int) -> bool:
    """Tell whether the template takes the joined kernel if it takes both parts."""
    template = ElementwiseTemplate()
    steps = [function.steps[before], function.steps[position]]
    parts = all(template.match(step.kernel) is not None for step in steps if isinstance(step, KernelStep))
    return not parts or template.match(_join(function, before, position).kernel) is not None


def _join(function: StepFunction, before: int, position: int) -> KernelStep:
    producer, consumer = function.steps[before], function.steps[position]
    assert isinstance(producer, KernelStep) and isinstance(consumer, KernelStep)
    kept = [tensor for tensor in producer.results if _is_read_elsewhere(function, tensor, position)]
    others = [tensor for tensor in consumer.arguments if tensor not in producer.results]
    arguments = tuple(dict.fromkeys([*producer.arguments, *others]))
    overwritten = [
        number if number < 0 else arguments.index(consumer.arguments[number])
        for number in consumer.overwritten
    ]
    kernel = compose_kernels(
        [(producer.kernel, producer.tensors), (consumer.kernel, consumer.tensors)],
        [*arguments, *kept, *consumer.fresh],
        {
            "global_symbol": _joined_name(producer.kernel, consumer.kernel),
            "pulp.operator": "elementwise",
            "pulp.layer": _joined_layers(producer.kernel, consumer.kernel),
        },
    )
    return KernelStep(
        kernel,
        arguments,
        (*kept, *consumer.results),
        (*([-1] * len(kept)), *overwritten),
        consumer.name,
    )


def _is_read_elsewhere(function: StepFunction, tensor: relax.Var, position: int) -> bool:
    def reads(step: Step) -> bool:
        return tensor in ([step.source] if isinstance(step, ViewStep) else step.arguments)

    elsewhere = (step for number, step in enumerate(function.steps) if number != position)
    return tensor in function.results or any(reads(step) for step in elsewhere)


def _joined_layers(first: PrimFunc, second: PrimFunc) -> str:
    layers = [layer for kernel in (first, second) for layer in str(kernel.attrs["pulp.layer"]).split(" + ")]
    # sums of gradients are named after variables, whose names are those of layers as identifiers
    return " + ".join({symbol(layer, ""): layer for layer in layers}.values())


def _joined_name(first: PrimFunc, second: PrimFunc) -> str:
    """``layer_add_forward`` and a rectifier give ``layer_add_relu_forward``."""
    name = str(first.attrs["global_symbol"])
    last = _computations(second)[-1].value
    word = next((word for kind, word in _WORDS if isinstance(last, kind)), "then")
    if str(second.attrs["pulp.operator"]) in ("sgd", "accumulate"):
        word = "update"
    base, _, work = name.rpartition("_")
    return f"{base}_{word}_{work}" if work in _WORKS else f"{name}_{word}"
