"""Finish a function of the training graph: `call_tir` on kernels and views, and nothing unneeded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tvm import IRModule, relax

from tvm_pulp.passes.kernel_call import is_alias, is_kernel, result_type
from tvm_pulp.passes.operators.elementwise import elementwise
from tvm_pulp.passes.place_updates import Update, place_updates
from tvm_pulp.passes.rewrite import bindings, operands, operator_name, static_shape, substitute
from tvm_pulp.target.tvm_names import PrimFunc

Bound = list[tuple[relax.Var, relax.Expr]]


def resolve(function: relax.Function) -> tuple[Bound, list[relax.Expr]]:
    """Take a function apart, with variables that are only other names replaced.

    Returns
    -------
    bound : list of (Var, Expr)
        Its bindings of calls and tuple elements.
    results : list of Expr
        What it returns, nested tuples flattened.
    """
    known: dict[relax.Var, relax.Expr] = {}
    bound: Bound = []
    for variable, value in bindings(function):
        if not isinstance(value, relax.Call):
            value = substitute(value, known)
        elif any(operand in known for operand in operands(value)):
            value = relax.BlockBuilder().normalize(substitute(value, known))
        if is_alias(value):
            value = value.args[1]
        if isinstance(value, relax.Var | relax.Tuple):
            known[variable] = value
        else:
            bound.append((variable, value))
    return bound, _flatten(substitute(function.body.body, known))


def _flatten(result: relax.Expr) -> list[relax.Expr]:
    if isinstance(result, relax.Tuple):
        return [leaf for field in result.fields for leaf in _flatten(field)]
    return [result]


def finish_function(
    builder: relax.BlockBuilder,
    name: str,
    arguments: Sequence[relax.Var],
    bound: Bound,
    kernels: IRModule,
    results: Sequence[relax.Var] | relax.Var,
    updates: Sequence[Update] = (),
) -> None:
    """Add a finished function to a module.

    Parameters
    ----------
    builder : relax.BlockBuilder
        Of the module; outside any function.
    name : str
        Of the function.
    arguments : sequence of Var
        Of the function.
    bound : list of (Var, Expr)
        Kernel calls, reshapes, additions of gradients and tuple elements, see `resolve`; those that neither a
        result nor an update needs are left out.
    kernels : IRModule
        Holds the PrimFuncs that are called.
    results : Var or sequence of Var
        What the function returns.
    updates : sequence of Update
        To be placed.
    """
    returned = list(results) if isinstance(results, Sequence) else [results]
    steps = place_updates(_needed(bound, returned, updates), updates)
    new: dict[relax.Var, relax.Expr] = {argument: argument for argument in arguments}
    with builder.function(name, list(arguments)):
        with builder.dataflow():
            for step in steps:
                if isinstance(step, Update):
                    builder.emit(_update_call(builder, step, new), step.name)
                    continue
                variable, value = step
                emit = builder.emit_output if variable in returned else builder.emit
                new[variable] = emit(_finished(builder, variable, value, new, kernels), variable.name)
        result = [new[variable] for variable in returned]
        builder.emit_func_output(result if isinstance(results, Sequence) else result[0])


def _needed(bound: Bound, results: Sequence[relax.Var], updates: Sequence[Update]) -> Bound:
    needed = {*results, *(argument for update in updates for argument in update.arguments)}
    kept: Bound = []
    for variable, value in reversed(bound):
        if variable in needed:
            needed.update(operands(value))
            kept.append((variable, value))
    return kept[::-1]


def _finished(
    builder: relax.BlockBuilder,
    variable: relax.Var,
    value: relax.Expr,
    new: Mapping[relax.Var, relax.Expr],
    kernels: IRModule,
) -> relax.Expr:
    if is_kernel(value):
        function = kernels[value.args[0]]
        return _kernel_call(builder, function, [new[argument] for argument in value.args[1:]])
    if isinstance(value, relax.TupleGetItem) or operator_name(value) == "reshape":
        return substitute(value, new)
    # TVM's Gradient adds up the gradients of a variable with several readers; it makes no other operator
    assert operator_name(value) == "add", f"{variable.name} is {value}"
    shape = static_shape(variable)
    base = re.sub(r"_adjoint\d*$", "", variable.name)
    function = elementwise(base, "gradient_sum", [("left", shape), ("right", shape)], lambda a, b: a + b)
    return _kernel_call(builder, function, [new[argument] for argument in value.args])


def _kernel_call(builder: relax.BlockBuilder, function: PrimFunc, arguments: list[relax.Expr]) -> relax.Call:
    kernel = builder.add_func(function, str(function.attrs["global_symbol"]))
    kind = result_type(function, len(arguments))
    types = list(kind.fields) if isinstance(kind, relax.TupleType) else kind
    return relax.call_tir(kernel, relax.Tuple(arguments), types)


def _update_call(
    builder: relax.BlockBuilder, update: Update, new: Mapping[relax.Var, relax.Expr]
) -> relax.Call:
    kernel = builder.add_func(update.kernel, str(update.kernel.attrs["global_symbol"]))
    types = [update.arguments[number].ty for number in update.overwritten]
    arguments = relax.Tuple([new[argument] for argument in update.arguments])
    return relax.op.call_tir_inplace(kernel, arguments, list(update.overwritten), types)


def name_kernels(module: IRModule) -> IRModule:
    """Let the attribute "global_symbol" of every kernel be the name that it has in the module."""
    for variable, function in module.functions.items():
        if isinstance(function, PrimFunc) and function.attrs["global_symbol"] != variable.name_hint:
            module[variable] = function.with_attr("global_symbol", variable.name_hint)
    return module
