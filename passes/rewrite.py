"""Rebuild a straight-line Relax function binding by binding; the clean-up passes are written on top of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from tvm import IRModule, relax
from tvm.error import InternalError
from tvm.ir import GenericConst

Emit = Callable[[relax.Expr, str], relax.Var]
Transform = Callable[[Emit, str, relax.Expr], "relax.Expr | None"]


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


def operands(value: relax.Expr) -> list[relax.Var]:
    """Variables that a binding's value reads, with those inside tuples, in order."""
    if isinstance(value, relax.Var):
        return [value]
    if isinstance(value, relax.Tuple):
        return [variable for field in value.fields for variable in operands(field)]
    if isinstance(value, relax.TupleGetItem):
        return operands(value.tuple_value)
    if isinstance(value, relax.Call):
        return [variable for argument in value.args for variable in operands(argument)]
    return []


def static_shape(expression: relax.Expr) -> tuple[int, ...]:
    """Shape of a tensor expression as ints; ValueError if it is no tensor of static shape."""
    shape = getattr(expression.ty, "shape", None)
    if shape is None or not hasattr(shape, "values"):
        raise ValueError(f"{expression} has no known shape")
    return tuple(int(extent) for extent in shape.values)


def inferred(value: relax.Expr) -> relax.Expr:
    """Give an unbound value on typed variables its type."""
    return relax.BlockBuilder().normalize(value)


def is_number(expression: relax.Expr) -> bool:
    """Tell whether an expression is a constant of one element."""
    return isinstance(expression, GenericConst) and expression.value.numpy().size == 1


def number(expression: relax.Expr) -> float:
    """Value of a constant of one element."""
    return float(expression.value.numpy().reshape(()))


def substitute(value: relax.Expr, replaced: Mapping[relax.Var, relax.Expr]) -> relax.Expr:
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
    replaced: Mapping[relax.Var, relax.Expr] | None = None,
) -> relax.Function:
    """Rebuild a function of straight-line bindings, passing each value through `transform`.

    Parameters
    ----------
    function : relax.Function
        Its body is a sequence of dataflow or binding blocks without control flow.
    transform : callable
        Called as ``transform(emit, name, value)`` with the old variable's name and the value on the new
        variables; returns the expression to bind instead, or None to keep the value. A returned variable,
        tuple or constant is not bound again but stands for the old variable from there on.
        ``emit(expression, name)`` binds one more expression and returns its variable.
    arguments : sequence of Var, optional
        The new function's arguments; by default those of the old one.
    replaced : mapping, optional
        What old variables (arguments that are dropped or renamed) stand for.

    Returns
    -------
    relax.Function
        One dataflow block with unique variable names and types inferred anew, without the bindings that
        nothing uses; a result that is a tuple of one is unwrapped.
    """
    arguments = list(function.params) if arguments is None else list(arguments)
    builder = relax.BlockBuilder()
    known: dict[relax.Var, relax.Expr] = dict(replaced or {})
    used_names = {argument.name for argument in arguments}
    bound: list[tuple[relax.Var, relax.Expr]] = []

    def emit(expression: relax.Expr, name: str) -> relax.Var:
        if isinstance(expression, relax.Call):
            plain = [
                emit(argument, f"{name}.{operator_name(argument).rpartition('.')[2] or 'element'}")
                if isinstance(argument, relax.Call | relax.TupleGetItem)
                else argument
                for argument in expression.args
            ]
            expression = relax.Call(expression.op, plain, expression.attrs, expression.ty_args)
        expression = builder.normalize(expression)
        variable = relax.DataflowVar(_unused(name, used_names), expression.ty)
        bound.append((variable, expression))
        return variable

    for variable, value in bindings(function):
        value = substitute(value, known)
        changed = transform(emit, variable.name, value)
        value = value if changed is None else changed
        if not isinstance(value, relax.Var | relax.Tuple | GenericConst):
            value = emit(value, variable.name)
        known[variable] = value
    result = substitute(function.body.body, known)
    if isinstance(result, relax.Tuple) and len(result.fields) == 1:
        result = result.fields[0]
    return _function(arguments, bound, result)


def _unused(name: str, used_names: set[str]) -> str:
    candidate, count = name, 1
    while candidate in used_names:
        count += 1
        candidate = f"{name}_{count}"
    used_names.add(candidate)
    return candidate


def _function(
    arguments: list[relax.Var], bound: list[tuple[relax.Var, relax.Expr]], result: relax.Expr
) -> relax.Function:
    """Build the function from the bindings that the result needs."""
    needed = set(operands(result))
    outputs = {variable: relax.Var(variable.name, variable.ty) for variable in needed - set(arguments)}
    kept: list[relax.VarBinding] = []
    for variable, value in reversed(bound):
        if variable in needed:
            needed.update(operands(value))
            kept.append(relax.VarBinding(outputs.get(variable, variable), _retyped(value, outputs)))
    body = relax.SeqExpr([relax.DataflowBlock(kept[::-1])], substitute(result, outputs))
    function = relax.Function(arguments, relax.BlockBuilder().normalize(body), None)
    return function.with_attr("global_symbol", "main")


def _retyped(value: relax.Expr, outputs: Mapping[relax.Var, relax.Expr]) -> relax.Expr:
    """Substitute only where needed, as a substituted value must have its type inferred again."""
    if not any(variable in outputs for variable in operands(value)):
        return value
    return relax.BlockBuilder().normalize(substitute(value, outputs))


@contextlib.contextmanager
def closed_on_error(builder: Callable[[], relax.BlockBuilder | None]) -> Iterator[None]:
    """End the block that a builder has open when an exception passes, of which it would warn on stderr."""
    try:
        yield
    except Exception:
        open_builder = builder()
        if open_builder is not None:
            with contextlib.suppress(InternalError):  # none was open
                open_builder._end_block()
        raise


def rewrite(module: IRModule, transform: Transform) -> IRModule:
    """Apply `rewrite_function` to `main` of a module."""
    return IRModule({"main": rewrite_function(module["main"], transform)})


def reason(error: Exception) -> str:
    """One line of what TVM says in an exception, without its dump of the operator."""
    text = " ".join(str(error).split())
    text = re.sub(r'^In ir\.Op\(.*?name="(?:relax\.)?([\w.]+)".*?support_level=\d+\), ', r"\1: ", text)
    return text or type(error).__name__
