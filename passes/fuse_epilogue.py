"""Move elementwise kernels into the product or convolution whose result they read.

A tile of the result is still in L1 when it is complete: the optimiser's step, a residual sum, a rectifier or
its gradient work on it there, so that the result itself never goes to L2 and back (`schedules/epilogue.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from tvm import IRModule, relax

from tvm_pulp.passes.compose_kernels import compose_kernels
from tvm_pulp.passes.kernel_steps import KernelStep, Step, StepFunction, ViewStep, read_steps, write_steps
from tvm_pulp.passes.operators.kernel import argument_shapes
from tvm_pulp.schedules.base import ClusterFeatures, choose
from tvm_pulp.schedules.epilogue import ESTIMATES_ERROR
from tvm_pulp.target.tvm_names import PrimFunc

PRODUCERS = ("pulp.matmul", "pulp.conv2d")
"""Attributes of the kernels whose templates take an epilogue."""

_DMA_BYTES_A_CYCLE = 8.0
_CYCLES_A_KERNEL = 300.0
"""Of a kernel besides: its start and its end."""


def fuse_epilogue(module: IRModule, features: ClusterFeatures) -> IRModule:
    """Fuse elementwise kernels with the products and convolutions before them.

    Parameters
    ----------
    module : IRModule
        Finished: functions of `call_tir`, `call_tir_inplace` and views on PrimFuncs.
    features : ClusterFeatures
        Of the target: tiles of all tensors must fit its L1, and by the estimates it must gain.

    Returns
    -------
    IRModule
        A fused kernel has the attributes of the product, and ``"pulp.epilogue"``, the operator classes of
        what follows. A result with other readers, or one that the function returns, is left as it is.
    """
    names = [v.name_hint for v, f in module.functions.items() if isinstance(f, relax.Function)]
    functions = [read_steps(module, name) for name in names]
    for function in functions:
        position = 0
        while position < len(function.steps):
            # a fused kernel may be fused again with what reads its result
            position += not _fuse(function, position, features)
    return write_steps(functions)


def fused_kernel(producer: PrimFunc, consumer: PrimFunc, number: int) -> PrimFunc:
    """Make one kernel of a product and an elementwise kernel.

    Parameters
    ----------
    producer
        Its last buffer is its result.
    consumer
        Its buffer `number` is that result.

    Returns
    -------
    PrimFunc
        The producer's operands, then the consumer's buffers but for the result, which is inside.
    """
    inputs = [("producer", n) for n in range(len(producer.params) - 1)]
    others = [("consumer", n) for n in range(len(consumer.params))]
    others[number] = ("result", 0)
    rest = [key for n, key in enumerate(others) if n != number]
    kept = {str(key): value for key, value in producer.attrs.items()}
    classes = [*kept.get("pulp.epilogue", ()), str(consumer.attrs["pulp.operator"])]
    attributes = {**kept, "pulp.epilogue": classes}
    function = compose_kernels(
        [(producer, [*inputs, ("result", 0)]), (consumer, others)], [*inputs, *rest], attributes
    )
    for key in consumer.attrs.keys():
        if str(key) not in attributes:
            function = function.without_attr(key)
    return function


def _fuse(function: StepFunction, position: int, features: ClusterFeatures) -> bool:
    """Fuse the kernel at a position with its only reader, if that can be and gains."""
    producer = function.steps[position]
    if not isinstance(producer, KernelStep) or producer.overwritten != (-1,):
        return False
    if not any(attribute in producer.kernel.attrs for attribute in PRODUCERS):
        return False
    (result,) = producer.results
    readers = [n for n, step in enumerate(function.steps) if result in _reads(step)]
    if len(readers) != 1 or result in function.results:
        return False
    reader = readers[0]
    consumer = function.steps[reader]
    if not isinstance(consumer, KernelStep) or consumer.arguments.count(result) != 1:
        return False
    place = _place(function, position, reader)
    number = consumer.arguments.index(result)
    if place is None or number in consumer.overwritten or int(consumer.kernel.attrs["pulp.macs"]):
        return False
    kernel = fused_kernel(producer.kernel, consumer.kernel, number)
    if not _gains(producer, consumer, kernel, features):
        return False
    rest = tuple(argument for n, argument in enumerate(consumer.arguments) if n != number)
    shift = len(producer.arguments)
    overwritten = tuple(n if n < 0 else shift + n - (n > number) for n in consumer.overwritten)
    fused = KernelStep(kernel, producer.arguments + rest, consumer.results, overwritten, consumer.name)
    function.steps[place] = fused
    del function.steps[position if place == reader else reader]
    return True


def _reads(step: Step) -> tuple[relax.Var, ...]:
    return (step.source,) if isinstance(step, ViewStep) else step.arguments


def _overwrites(step: Step) -> list[relax.Var]:
    if isinstance(step, ViewStep):
        return []
    return [step.arguments[number] for number in step.overwritten if number >= 0]


def _place(function: StepFunction, position: int, reader: int) -> int | None:
    """Where the kernels at two positions can run as one: at the reader's, at the other's, or nowhere."""
    memory = function.memory()

    def places(variables: Iterable[relax.Var]) -> set[relax.Var]:
        return {memory.get(variable, variable) for variable in variables}

    producer, consumer = function.steps[position], function.steps[reader]
    between = function.steps[position + 1 : reader]
    overwritten = places(v for step in between for v in _overwrites(step))
    if places(_reads(producer)) & places(_overwrites(consumer)):
        return None
    if not places(_reads(producer)) & overwritten:
        return reader
    made = {v for step in between for v in ([step.result] if isinstance(step, ViewStep) else step.results)}
    used = places(v for step in between for v in _reads(step))
    early = not made.intersection(_reads(consumer)) and not places(_reads(consumer)) & overwritten
    return position if early and not places(_overwrites(consumer)) & used else None


def _gains(producer: KernelStep, consumer: KernelStep, fused: PrimFunc, features: ClusterFeatures) -> bool:
    """Tell whether a fused kernel takes fewer cycles than its parts, by the estimates.

    An elementwise kernel without a template is taken to be as fast as the DMA that moves its tensors. Where
    its tensors leave too little room in L1 for the producer's own tiles, the gain must be larger than the
    estimates' error.
    """
    first, second, together = (choose(f, features) for f in (producer.kernel, consumer.kernel, fused))
    if first is None or together is None:
        return False
    cycles = first.estimate_cycles(features)
    apart = cycles + _CYCLES_A_KERNEL
    apart += _moving_cycles(consumer) if second is None else second.estimate_cycles(features)
    margin = 0.0 if together.knobs == first.knobs else ESTIMATES_ERROR * cycles
    return together.estimate_cycles(features) + margin < apart


def _moving_cycles(step: KernelStep) -> float:
    sizes = [4 * math.prod(shape) for shape, _ in argument_shapes(step.kernel)]
    loaded = sum(sizes[: len(step.arguments)])
    stored = sum(sizes[number] for number in step.overwritten if number >= 0)
    return max(loaded, stored + sum(sizes[len(step.arguments) :])) / _DMA_BYTES_A_CYCLE
