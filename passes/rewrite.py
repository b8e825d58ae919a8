"""Rebuild a straight-line Relax function binding by binding; the clean-up passes are written on top of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from tvm import IRModule, relax
from tvm.ir.expr import Constant

Transform = Callable[[relax.BlockBuilder, str, relax.Expr], "relax.Expr | None"]


def bindings(function: relax.Function) -> Iterator[tuple[relax.Var, relax.Expr]]:
    """Yield (variable, value) of a function's bindings in execution order."""
    for block in function.body.blocks:
        for binding in block.bindings:
            yield binding.var, binding.value


def operator_name(value: relax.Expr) -> str:
    """Name of the operator that a call calls without the prefix `relax.`, e.g. `nn.conv2d`; else ""."""
    if not isinstance(value, relax.Call):
        return ""
    return str(getattr(value.op, "name", value.op)).removeprefix("relax.")


def static_shape(expression: relax.Expr) -> tuple[int, ...]:
    """Shape of a tensor expression as ints; ValueError if it is no tensor of static shape."""
    shape = getattr(expression.ty, "shape", None)
    if shape is None or not hasattr(shape, "values"):
        raise ValueError(f"{expression} has no known shape")
    return tuple(int(extent) for extent in shape.values)


def substitute(value: relax.Expr, replaced: dict[relax.Var, relax.Expr]) -> relax.Expr:
    """Replace variables in a call, a tuple or a tuple element; types are left to be inferred."""

    def new(expression: relax.Expr) -> relax.Expr:
        if isinstance(expression, relax.Var):
            return replaced.get(expression, expression)
        if isinstance(expression, relax.Tuple):
            return relax.Tuple([new(field) for field in expression.fields])
        return expression

    if isinstance(value, relax.Call):
        return relax.Call(value.op, [new(argument) for argument in value.args], value.attrs, value.ty_args)
    if isinstance(value, relax.TupleGetItem):
        source = new(value.tuple_value)
        if isinstance(source, relax.Tuple):
            return source.fields[value.index]
        return relax.TupleGetItem(source, value.index)
    return new(value)


def rewrite_function(
    function: relax.Function,
    transform: Transform,
    arguments: Sequence[relax.Var] | None = None,
    replaced: dict[relax.Var, relax.Expr] | None = None,
) -> relax.Function:
    """Rebuild a function of straight-line bindings, passing each value through `transform`.

    Parameters
    ----------
    function : relax.Function
        Its body is a sequence of dataflow or binding blocks without control flow.
    transform : callable
        Called as ``transform(builder, name, value)`` with the variable's name and the value on the new
        variables; returns the expression to bind instead, or None to keep the value. A returned variable,
        tuple or constant is not bound again but stands for the old variable from there on. It may emit
        further bindings by the builder.
    arguments : sequence of Var, optional
        The new function's arguments; by default those of the old one.
    replaced : dict, optional
        What old variables (arguments that are dropped or renamed) stand for.

    Returns
    -------
    relax.Function
        With the types inferred anew and without attributes; bindings that nothing uses are still there.
    """
    known: dict[relax.Var, relax.Expr] = dict(replaced or {})
    builder = relax.BlockBuilder()
    arguments = list(function.params) if arguments is None else list(arguments)
    failure: Exception | None = None
    with builder.function("main", arguments):
        with builder.dataflow():
            try:
                result = _rebuild(function, transform, known, builder)
            except (
                Exception
            ) as error:  # the builder must be closed before it is raised, or it prints a warning
                failure, result = error, arguments[0]
            result = builder.emit_output(result)
        builder.emit_func_output(result)
    if failure is not None:
        raise failure
    return builder.get()["main"]


def _rebuild(
    function: relax.Function,
    transform: Transform,
    known: dict[relax.Var, relax.Expr],
    builder: relax.BlockBuilder,
) -> relax.Expr:
    for variable, value in bindings(function):
        value = substitute(value, known)
        changed = transform(builder, variable.name, value)
        value = value if changed is None else changed
        if not isinstance(value, relax.Var | relax.Tuple | Constant):
            value = builder.emit(value, variable.name)
        known[variable] = value
    return substitute(function.body.body, known)


def reason(error: Exception) -> str:
    """One line of what TVM says in an exception, without its dump of the operator."""
    text = " ".join(str(error).split())
    return (
        re.sub(r'^In ir\.Op\(.*?name="(?:relax\.)?([\w.]+)".*?support_level=\d+\), ', r"\1: ", text)
        or type(error).__name__
    )


def rewrite(module: IRModule, transform: Transform) -> IRModule:
    """Apply `rewrite_function` to `main` of a module and drop the bindings that nothing uses any more."""
    return remove_unused(IRModule({"main": rewrite_function(module["main"], transform)}))


def remove_unused(module: IRModule) -> IRModule:
    """Drop bindings whose results nothing uses (arguments stay)."""
    return relax.transform.DeadCodeElimination(["main"])(module)
