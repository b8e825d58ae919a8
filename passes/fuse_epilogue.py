"""Move elementwise kernels into the product or convolution whose result they read.

A tile of the result is still in L1 when it is complete: the optimiser's step, a residual sum, a rectifier or
its gradient work on it there, so that the result itself never goes to L2 and back (`schedules/epilogue.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tvm import IRModule, relax

from tvm_pulp.passes.compose_kernels import compose_kernels
from tvm_pulp.passes.operators.kernel import argument_shapes
from tvm_pulp.passes.rewrite import bindings, operands, operator_name, substitute
from tvm_pulp.schedules.base import ClusterFeatures, choose
from tvm_pulp.target.tvm_names import PrimFunc

PRODUCERS = ("pulp.matmul", "pulp.conv2d")
"""Attributes of the kernels whose templates take an epilogue."""

_DMA_BYTES_A_CYCLE = 8.0
_CYCLES_A_KERNEL = 500.0
"""Of a kernel besides: its start, the first loads, the last stores."""
_ERROR = 0.02
"""Of the estimates, as a share: how well they tell one choice of tiles from another."""


@dataclass
class _Kernel:
    """A kernel call of a function; ``in_place`` has the argument that each result overwrites, or -1."""

    function: PrimFunc
    arguments: list[relax.Var]
    in_place: list[int]
    types: list[relax.TensorType]

    @property
    def overwritten(self) -> list[relax.Var]:
        return [self.arguments[number] for number in self.in_place if number >= 0]


Bound = list[tuple[relax.Var, "relax.Expr | _Kernel"]]


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
        what follows. It takes the place of the last of its parts. A result with other readers, or one that
        the function returns, is left as it is.
    """
    builder = relax.BlockBuilder()
    for variable in module.get_global_vars():
        function = module[variable]
        if isinstance(function, relax.Function):
            _rebuild(
                builder, variable.name_hint, function, _fuse_all(_read(function, module), function, features)
            )
    return builder.get()


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


def _read(function: relax.Function, module: IRModule) -> Bound:
    bound: Bound = []
    for variable, value in bindings(function):
        if operator_name(value) not in ("call_tir", "call_tir_inplace"):
            bound.append((variable, value))
            continue
        types = list(variable.ty.fields) if isinstance(variable.ty, relax.TupleType) else [variable.ty]
        in_place = [-1] * len(types)
        if operator_name(value) == "call_tir_inplace":
            in_place = [int(number) for number in value.attrs.inplace_indices]
        bound.append((variable, _Kernel(module[value.args[0]], operands(value.args[1]), in_place, types)))
    return bound


def _fuse_all(bound: Bound, function: relax.Function, features: ClusterFeatures) -> Bound:
    """Fuse what can be fused; a fused kernel may be fused again with what reads its result."""
    returned = set(operands(function.body.body))
    position = 0
    while position < len(bound):
        found = _fuse_at(bound, position, returned, features)
        if found is None:
            position += 1
        else:
            bound = found
    return bound


def _fuse_at(
    bound: Bound, position: int, returned: set[relax.Var], features: ClusterFeatures
) -> Bound | None:
    """Fuse the kernel at a position with its only reader; None where that cannot be or does not gain."""
    variable, producer = bound[position]
    if not isinstance(producer, _Kernel) or producer.in_place != [-1] or variable in returned:
        return None
    if not any(attribute in producer.function.attrs for attribute in PRODUCERS):
        return None
    readers = [n for n, (_, value) in enumerate(bound) if variable in _operands(value)]
    if len(readers) != 1:
        return None
    result, consumer = bound[readers[0]]
    if not isinstance(consumer, _Kernel) or consumer.arguments.count(variable) != 1:
        return None
    place = _place(bound, position, readers[0])
    if place is None:
        return None
    number = consumer.arguments.index(variable)
    if number in consumer.in_place or int(consumer.function.attrs["pulp.macs"]):
        return None
    function = fused_kernel(producer.function, consumer.function, number)
    if not _gains(producer, consumer, function, features):
        return None
    rest = [argument for n, argument in enumerate(consumer.arguments) if n != number]
    shift = len(producer.arguments)
    in_place = [n if n < 0 else shift + n - (n > number) for n in consumer.in_place]
    fused = _Kernel(function, producer.arguments + rest, in_place, consumer.types)
    between = bound[position + 1 : readers[0]]
    middle = [*between, (result, fused)] if place == readers[0] else [(result, fused), *between]
    return [*bound[:position], *middle, *bound[readers[0] + 1 :]]


def _operands(value: relax.Expr | _Kernel) -> list[relax.Var]:
    return value.arguments if isinstance(value, _Kernel) else operands(value)


def _place(bound: Bound, position: int, reader: int) -> int | None:
    """Where the kernels at two positions can run as one: at the reader's, at the other's, or nowhere."""
    memory = _memory(bound)

    def places(variables: Iterable[relax.Var]) -> set[relax.Var]:
        return {memory.get(variable, variable) for variable in variables}

    producer, consumer = bound[position][1], bound[reader][1]
    assert isinstance(producer, _Kernel) and isinstance(consumer, _Kernel)
    between = [value for _, value in bound[position + 1 : reader]]
    overwritten = places(v for value in between if isinstance(value, _Kernel) for v in value.overwritten)
    reads, writes = places(consumer.arguments), places(consumer.overwritten)
    if places(producer.arguments) & writes:
        return None
    if not places(producer.arguments) & overwritten:
        return reader
    made = {variable for variable, _ in bound[position + 1 : reader]}
    used = places(v for value in between for v in _operands(value))
    early = not made.intersection(consumer.arguments) and not reads & overwritten and not writes & used
    return position if early else None


def _memory(bound: Bound) -> dict[relax.Var, relax.Var]:
    """Variable whose memory each view and each result of a kernel that works in place shares."""
    memory: dict[relax.Var, relax.Var] = {}
    for variable, value in bound:
        source = None
        if isinstance(value, _Kernel):
            source = value.overwritten[0] if len(value.in_place) == 1 and value.overwritten else None
        elif operator_name(value) == "reshape" or isinstance(value, relax.Var):
            source = operands(value)[0]
        if source is not None:
            memory[variable] = memory.get(source, source)
    return memory


def _gains(producer: _Kernel, consumer: _Kernel, fused: PrimFunc, features: ClusterFeatures) -> bool:
    """Tell whether a fused kernel takes fewer cycles than its parts, by the estimates.

    The elementwise kernel is taken to be as fast as the DMA that moves its tensors. Where its tensors leave
    too little room in L1 for the producer's own tiles, the gain must be larger than the estimates' error.
    """
    apart, together = (choose(function, features) for function in (producer.function, fused))
    if apart is None or together is None:
        return False
    sizes = [4 * math.prod(shape) for shape, _ in argument_shapes(consumer.function)]
    loaded = sum(sizes[: len(consumer.arguments)])
    stored = sum(sizes[number] for number in consumer.in_place if number >= 0)
    stored += sum(sizes[len(consumer.arguments) :])
    cycles = apart.estimate_cycles(features)
    before = cycles + max(loaded, stored) / _DMA_BYTES_A_CYCLE + _CYCLES_A_KERNEL
    margin = 0.0 if together.knobs == apart.knobs else _ERROR * cycles
    return together.estimate_cycles(features) + margin < before


def _rebuild(builder: relax.BlockBuilder, name: str, function: relax.Function, bound: Bound) -> None:
    """Add a function of the bindings to the module that is built."""
    returned = operands(function.body.body)
    new: dict[relax.Var, relax.Expr] = {argument: argument for argument in function.params}
    with builder.function(name, list(function.params)):
        with builder.dataflow():
            for variable, value in bound:
                emit = builder.emit_output if variable in returned else builder.emit
                made = _call(builder, value, new) if isinstance(value, _Kernel) else substitute(value, new)
                new[variable] = made if isinstance(made, relax.Tuple) else emit(made, variable.name)
        builder.emit_func_output(substitute(function.body.body, new))


def _call(builder: relax.BlockBuilder, kernel: _Kernel, new: dict[relax.Var, relax.Expr]) -> relax.Call:
    symbol = builder.add_func(kernel.function, str(kernel.function.attrs["global_symbol"]))
    arguments = relax.Tuple([new[argument] for argument in kernel.arguments])
    types: Sequence[relax.TensorType] | relax.TensorType = kernel.types
    if len(kernel.types) == 1 and kernel.in_place == [-1]:
        types = kernel.types[0]
    if all(number < 0 for number in kernel.in_place):
        return relax.call_tir(symbol, arguments, types)
    return relax.op.call_tir_inplace(symbol, arguments, kernel.in_place, types)
