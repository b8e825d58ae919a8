"""The imported model: one forward Relax function in canonical form and its named parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tvm import IRModule, relax
from tvm.error import InternalError

from tvm_pulp.passes.rewrite import (
    Emit,
    bindings,
    operands,
    operator_name,
    reason,
    rewrite_function,
    static_shape,
)
from tvm_pulp.target.errors import UserError


@dataclass(frozen=True)
class Model:
    """A network as the importers yield it.

    Attributes
    ----------
    name : str
        A C identifier.
    module : IRModule
        One Relax function `main(inputs..., parameters...)`, static shapes, float32. Every argument bears the
        name that the model gives it; axis 0 of every input is the batch.
    inputs : tuple of str
        Names of the first arguments, in order.
    parameters : mapping of str to ndarray
        Values by the model's own names ("features.0.weight"), in argument order after the inputs; batch-norm
        running statistics are among them.
    buffers : frozenset of str
        Parameters that no optimiser may change: running statistics, constants, what PyTorch calls buffers.
    """

    name: str
    module: IRModule
    inputs: tuple[str, ...]
    parameters: Mapping[str, np.ndarray]
    buffers: frozenset[str] = frozenset()

    @property
    def function(self) -> relax.Function:
        """The forward function."""
        return self.module["main"]

    @property
    def batch(self) -> int:
        """Batch size that the shapes are for."""
        return static_shape(self.function.params[0])[0]

    @property
    def input_variables(self) -> tuple[relax.Var, ...]:
        """Arguments that are inputs, in the order of `inputs`."""
        return tuple(self.function.params[: len(self.inputs)])

    @property
    def parameter_variables(self) -> dict[str, relax.Var]:
        """Argument of each parameter by its name, in the order of `parameters`."""
        return dict(zip(self.parameters, self.function.params[len(self.inputs) :], strict=True))


def layer_of(parameter: str) -> str:
    """Layer of a parameter: its name less the last component ("features.0.weight" → "features.0")."""
    return parameter.rpartition(".")[0] or parameter


def with_function(model: Model, function: relax.Function) -> Model:
    """Give a model another function, without the parameters that it no longer reads.

    Parameters
    ----------
    model : Model
        With the names of the inputs and values of the parameters.
    function : relax.Function
        Its arguments are the inputs and all parameters of the model, in order.
    """
    read = {operand.name for _, value in bindings(function) for operand in operands(value)}
    inputs = list(function.params[: len(model.inputs)])
    pairs = zip(model.parameters, function.params[len(model.inputs) :], strict=True)
    kept = [(name, variable) for name, variable in pairs if variable.name in read]
    new = relax.Function([*inputs, *(variable for _, variable in kept)], function.body, function.ret_ty)
    return dataclasses.replace(
        model,
        module=IRModule({"main": new.with_attr("global_symbol", "main")}),
        parameters={name: model.parameters[name] for name, _ in kept},
        buffers=model.buffers & {name for name, _ in kept},
    )


def with_part(model: Model, inputs: Mapping[relax.Var, str], result: relax.Expr) -> Model:
    """Give the part of a model from some of its variables to a result.

    Parameters
    ----------
    model : Model
        In canonical form.
    inputs : mapping of Var to str
        Variables, inputs among them, that are the part's inputs, and the names that they have there. Others
        that the result depends on must be parameters, or computed of these.
    result : Expr
        What the part yields: a variable of the model.
    """
    starts = {variable: relax.Var(name, variable.ty) for variable, name in inputs.items()}
    by_name = {variable.name: start for variable, start in starts.items()}
    body = relax.SeqExpr(model.function.body.blocks, result)
    function = relax.Function(model.function.params, body, result.ty)

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        return by_name.get(name)

    arguments = [*starts.values(), *model.parameter_variables.values()]
    part = rewrite_function(function, transform, arguments, starts)
    return with_function(dataclasses.replace(model, inputs=tuple(inputs.values())), part)


def with_batch(model: Model, batch: int) -> Model:
    """Give the same model for another batch size.

    Axis 0 of what derives from an input is the batch; reshapes to a literal batch size are rewritten.

    Parameters
    ----------
    model : Model
        In canonical form.
    batch : int
        The new batch size, at least 1.

    Returns
    -------
    Model
        With the same names and parameter values.

    Raises
    ------
    UserError
        If an operator mixes the samples of a batch (a transpose of axis 0, a mean over it, ...).
    """
    if batch < 1:
        raise UserError(f"batch size {batch} is not possible: give 1 or more")
    old_batch = model.batch
    if batch == old_batch:
        return model

    arguments: list[relax.Var] = []
    replaced: dict[relax.Var, relax.Expr] = {}
    batched: set[str] = set()
    for index, old in enumerate(model.function.params):
        new = old
        if index < len(model.inputs):
            new = relax.Var(old.name, relax.TensorType((batch, *static_shape(old)[1:]), old.ty.dtype))
            replaced[old] = new
            batched.add(new.name)
        arguments.append(new)

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        if not any(source.name in batched for source in operands(value)):
            return None
        _refuse_mixed_samples(name, value, model.name, batched)
        if operator_name(value) == "reshape":
            shape = [int(extent) for extent in value.args[1].values]
            if not shape or shape[0] % old_batch:
                raise UserError(
                    f"{model.name}: reshape '{name}' moves the batch of {old_batch} away from axis 0, so the "
                    f"batch size cannot be changed to {batch}: export the model with this batch size"
                )
            value = relax.op.reshape(value.args[0], [shape[0] // old_batch * batch, *shape[1:]])
        if isinstance(value, relax.Tuple):
            return value
        variable = emit(value, name)
        batched.add(variable.name)
        return variable

    try:
        function = rewrite_function(model.function, transform, arguments, replaced)
    except (InternalError, ValueError) as error:
        raise UserError(
            f"{model.name}: the batch size cannot be changed from {old_batch} to {batch} ({reason(error)}): "
            "export the model with a symbolic batch dimension or with this batch size"
        ) from error
    return dataclasses.replace(model, module=IRModule({"main": function}))


def _refuse_mixed_samples(name: str, value: relax.Expr, model_name: str, batched: set[str]) -> None:
    """Raise UserError where an operator does not treat axis 0 as independent samples."""
    operator = operator_name(value)
    mixed = False
    if operator == "permute_dims":
        mixed = value.attrs.axes is None or int(value.attrs.axes[0]) != 0
    elif operator == "mean":
        axes = value.attrs.axis
        rank = value.args[0].ty.ndim
        mixed = axes is None or any(int(axis) % rank == 0 for axis in axes)
    elif operator in ("nn.softmax", "nn.log_softmax"):
        mixed = int(value.attrs.axis) % value.args[0].ty.ndim == 0
    elif operator == "concat":
        fields = value.args[0].fields if isinstance(value.args[0], relax.Tuple) else []
        mixed = value.attrs.axis is None or any(
            int(value.attrs.axis) % field.ty.ndim == 0 for field in fields
        )
    elif operator == "matmul":
        mixed = value.args[1].name in batched and value.args[1].ty.ndim <= 2
    if mixed:
        raise UserError(
            f"{model_name}: '{name}' ({operator}) works across axis 0, the samples of a batch, so the batch "
            "size cannot be changed: export the model with the batch size that you want"
        )
