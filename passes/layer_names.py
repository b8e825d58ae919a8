"""Which layer of the model an operator belongs to, for the names of kernels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tvm import relax

from tvm_pulp.passes.model import Model, layer_of
from tvm_pulp.passes.rewrite import bindings, operands, operator_name

VIEWS = ("reshape", "permute_dims")


@dataclass(frozen=True)
class LayerNames:
    """Names of layers and operands.

    Attributes
    ----------
    layers : mapping of Var to str
        Layer of each binding: that of the parameter that it reads, else the variable's name; followed by the
        operator ("conv1.relu") where a layer of parameters has this name too.
    parameters : mapping of Var to str
        The parameter that a variable is, or is a view of.
    """

    layers: Mapping[relax.Var, str]
    parameters: Mapping[relax.Var, str]

    def layer(self, variable: relax.Var) -> str:
        """Layer of the operator that yields a variable."""
        return self.layers[variable]

    def operand(self, variable: relax.Expr, otherwise: str) -> str:
        """Name of an operand in kernels: the last component of a parameter's name, else `otherwise`."""
        name = self.parameters.get(variable) if isinstance(variable, relax.Var) else None
        return otherwise if name is None else name.rpartition(".")[2]

    def operands(self, left: relax.Expr, right: relax.Expr) -> tuple[str, str]:
        """Names of two operands: "data" is what a parameter is combined with."""
        names = self.operand(left, ""), self.operand(right, "")
        if all(names):
            return names if names[0] != names[1] else ("left", "right")
        if any(names):
            return names[0] or "data", names[1] or "data"
        return "left", "right"


def layer_names(model: Model) -> LayerNames:
    """Find the layer of every binding of a model's forward function.

    Returns
    -------
    LayerNames
        By the variables of `model.function`.
    """
    parameters = {variable: name for name, variable in model.parameter_variables.items()}
    of_parameters = {layer_of(name) for name in model.parameters}
    layers = {}
    for variable, value in bindings(model.function):
        read = operands(value)
        owners = _owners(read, parameters)
        operator = operator_name(value)
        name = variable.name
        if name in of_parameters:
            name = f"{name}.{operator.removeprefix('nn.')}"
        layers[variable] = owners[0] if owners else name
        if operator in VIEWS and read and read[0] in parameters:
            parameters[variable] = parameters[read[0]]
    return LayerNames(layers, parameters)


def _owners(read: Collection[relax.Var], parameters: Mapping[relax.Var, str]) -> list[str]:
    return [layer_of(parameters[variable]) for variable in read if variable in parameters]
