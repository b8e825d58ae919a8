"""A finished function of the training graph as a list of steps, for passes that join or replace kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tvm import IRModule, relax

from tvm_pulp.passes.rewrite import bindings, operands, operator_name, static_shape
from tvm_pulp.target.tvm_names import PrimFunc


@dataclass(frozen=True)
class KernelStep:
    """The call of a kernel.

    Attributes
    ----------
    kernel : PrimFunc
        Its attribute "global_symbol" is its name.
    arguments : tuple of Var
        What it reads; first buffers of the PrimFunc.
    results : tuple of Var
        What it yields.
    overwritten : tuple of int
        For each result the number of the argument whose memory it has, -1 if it has a buffer of its own:
        those are the last buffers of the PrimFunc.
    name : str
        Of the binding.
    """

    kernel: PrimFunc
    arguments: tuple[relax.Var, ...]
    results: tuple[relax.Var, ...]
    overwritten: tuple[int, ...]
    name: str

    @property
    def fresh(self) -> tuple[relax.Var, ...]:
        """Results that have a buffer of their own, in order."""
        return tuple(v for v, source in zip(self.results, self.overwritten, strict=True) if source < 0)

    @property
    def tensors(self) -> tuple[relax.Var, ...]:
        """What the PrimFunc's buffers hold, in order."""
        return (*self.arguments, *self.fresh)


@dataclass(frozen=True)
class ViewStep:
    """Another shape of a tensor."""

    source: relax.Var
    result: relax.Var


Step = KernelStep | ViewStep


@dataclass
class StepFunction:
    """A function of the training graph.

    Attributes
    ----------
    name : str
        In the module.
    parameters : list of Var
        Its arguments.
    steps : list of KernelStep and ViewStep
        In execution order.
    returned : Var or list of Var
        What it returns.
    """

    name: str
    parameters: list[relax.Var]
    steps: list[Step]
    returned: relax.Var | list[relax.Var]

    @property
    def results(self) -> list[relax.Var]:
        """What it returns, as a list."""
        return self.returned if isinstance(self.returned, list) else [self.returned]

    def memory(self) -> Mapping[relax.Var, relax.Var]:
        """Variable whose memory each view or result in place shares."""
        shared: dict[relax.Var, relax.Var] = {}
        for step in self.steps:
            if isinstance(step, ViewStep):
                shared[step.result] = shared.get(step.source, step.source)
                continue
            for result, number in zip(step.results, step.overwritten, strict=True):
                if number >= 0:
                    source = step.arguments[number]
                    shared[result] = shared.get(source, source)
        return shared


def read_steps(module: IRModule, name: str) -> StepFunction:
    """Take a function apart whose body is kernel calls, `reshape`, tuple elements and other names."""
    function = module[name]
    elements: dict[relax.Var, tuple[relax.Var, ...]] = {}
    known: dict[relax.Var, relax.Var] = {}
    taken = {
        (value.tuple_value, value.index): variable
        for variable, value in bindings(function)
        if isinstance(value, relax.TupleGetItem)
    }
    steps: list[Step] = []
    for variable, value in bindings(function):
        if isinstance(value, relax.TupleGetItem):
            known[variable] = elements[value.tuple_value][value.index]
        elif isinstance(value, relax.Var):
            known[variable] = known.get(value, value)
        elif operator_name(value) == "reshape":
            source = operands(value)[0]
            steps.append(ViewStep(known.get(source, source), variable))
        else:
            kinds = list(variable.ty.fields) if isinstance(variable.ty, relax.TupleType) else None
            results = (variable,)
            if kinds is not None:
                results = tuple(
                    taken.get((variable, i), relax.Var(f"{variable.name}_{i}", kind))
                    for i, kind in enumerate(kinds)
                )
                elements[variable] = results
            overwritten = [-1] * len(results)
            if operator_name(value) == "call_tir_inplace":
                overwritten = [int(number) for number in value.attrs.inplace_indices]
            arguments = tuple(known.get(v, v) for v in operands(value.args[1]))
            kernel = module[value.args[0]]
            steps.append(KernelStep(kernel, arguments, results, tuple(overwritten), variable.name))
    body = function.body.body
    returned = [known.get(v, v) for v in operands(body)]
    single = not isinstance(body, relax.Tuple)
    return StepFunction(name, list(function.params), steps, returned[0] if single else returned)


def write_steps(functions: Iterable[StepFunction]) -> IRModule:
    """Make the module of functions and of the kernels that they call."""
    builder = relax.BlockBuilder()
    for function in functions:
        _write(builder, function)
    return builder.get()


def _write(builder: relax.BlockBuilder, function: StepFunction) -> None:
    results = set(function.results)
    read = results | {v for step in function.steps for v in _reads(step)}
    new: dict[relax.Var, relax.Var] = {parameter: parameter for parameter in function.parameters}

    def emit(old: relax.Var, value: relax.Expr) -> None:
        new[old] = (builder.emit_output if old in results else builder.emit)(value, old.name)

    with builder.function(function.name, function.parameters):
        with builder.dataflow():
            for step in function.steps:
                if isinstance(step, ViewStep):
                    emit(step.result, relax.op.reshape(new[step.source], static_shape(step.result)))
                    continue
                call = _call(builder, step, [new[argument] for argument in step.arguments])
                if len(step.results) == 1:
                    emit(step.results[0], call)
                    continue
                everything = builder.emit(call, step.name)
                for index, result in enumerate(step.results):
                    if result in read:
                        emit(result, relax.TupleGetItem(everything, index))
        returned = [new[variable] for variable in function.results]
        builder.emit_func_output(returned if isinstance(function.returned, list) else returned[0])


def _reads(step: Step) -> Sequence[relax.Var]:
    return [step.source] if isinstance(step, ViewStep) else step.arguments


def _call(builder: relax.BlockBuilder, step: KernelStep, arguments: list[relax.Var]) -> relax.Call:
    kernel = builder.add_func(step.kernel, str(step.kernel.attrs["global_symbol"]))
    types = [result.ty for result in step.results]
    if any(number >= 0 for number in step.overwritten):
        return relax.op.call_tir_inplace(kernel, relax.Tuple(arguments), list(step.overwritten), types)
    return relax.call_tir(kernel, relax.Tuple(arguments), types if len(types) > 1 else types[0])
