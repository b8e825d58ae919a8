"""Name the variables of an imported function after the model's parameters and layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tvm import relax

from tvm_pulp.passes.model import layer_of
from tvm_pulp.passes.rewrite import Emit, bindings, operands, operator_name, rewrite_function


def name_bindings(
    function: relax.Function,
    names: Mapping[relax.Var, str],
    parameters: Collection[str],
    argument_names: Mapping[str, str] | None = None,
) -> relax.Function:
    """Give every variable a name that leads back to the model.

    Parameters
    ----------
    function : relax.Function
        As an importer yields it.
    names : mapping of Var to str
        Names of variables that the importer knows (the layer or tensor that they are in the model). Those
        without one are named after the layer of a parameter that they read, or of the variable that they read
        first, followed by their operator.
    parameters : collection of str
        Names of the arguments that are parameters (new ones where they are renamed).
    argument_names : mapping of str to str, optional
        New names of arguments by their old ones; the others keep theirs.

    Returns
    -------
    relax.Function
        With unique names.
    """
    arguments, replaced = [], {}
    for old in function.params:
        new = old
        if old.name in (argument_names or {}):
            new = relax.Var((argument_names or {})[old.name], old.ty)
            replaced[old] = new
        arguments.append(new)
    layers = {parameter: layer_of(parameter) for parameter in parameters}
    needed = _needed(function)
    old_variables = (variable for variable, _ in bindings(function))

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        variable = next(old_variables)
        known = names.get(variable)
        if variable not in needed:
            return emit(value, "unused")
        if isinstance(value, relax.Var | relax.Tuple):
            return value
        read = operands(value)
        if known is None:
            of_parameters = [layers[v.name] for v in read if v.name in layers]
            base = (of_parameters or [v.name for v in read] or [name])[0]
            known = f"{base}.{operator_name(value).rpartition('.')[2] or 'output'}"
        new = emit(value, known)
        if all(v.name in layers for v in read):
            layers[new.name] = layers[read[0].name] if read else known
        return new

    return rewrite_function(function, transform, arguments, replaced)


def _needed(function: relax.Function) -> set[relax.Var]:
    """Variables that the result depends on: others must not take names from them."""
    needed = set(operands(function.body.body))
    for variable, value in reversed(list(bindings(function))):
        if variable in needed:
            needed.update(operands(value))
    return needed
