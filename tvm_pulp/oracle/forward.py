"""Run a forward Relax function in PyTorch, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch.nn import functional
from tvm import relax
from tvm.ir import GenericConst

from tvm_pulp.oracle.operators import evaluate
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import bindings, operator_name
from tvm_pulp.passes.trained_part import batch_norm_layer

_LOGARITHMIC = ("nn.softmax", "nn.log_softmax")


def forward(
    model: Model,
    inputs: Mapping[str, torch.Tensor],
    parameters: Mapping[str, torch.Tensor],
    training_layers: Collection[str] = (),
    observe: Callable[[str, torch.Tensor], None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the model's output and, where it ends in a softmax, what goes into that.

    Parameters
    ----------
    model : Model
        In canonical form, for the batch size of `inputs`, with one output.
    inputs, parameters : mapping of str to torch.Tensor
        By name, of one dtype. Running statistics among the parameters are updated in place by the batch norms
        in training mode.
    training_layers : collection of str
        Batch norms in training mode (`training_batch_norms`); the others use their running statistics.
    observe : callable, optional
        Called with the name and the value of each tensor that an operator yields.

    Returns
    -------
    output, logits : torch.Tensor
        `logits` is the input of the softmax or log_softmax over axis 1 that gives a 2-D `output`, else
        `output` itself.
    """
    dtype = next(iter(inputs.values())).dtype
    values: dict[str, Any] = {**inputs, **parameters}

    def operand(expression: relax.Expr) -> Any:
        if isinstance(expression, relax.Var):
            return values[expression.name]
        if isinstance(expression, relax.Tuple):
            return [operand(field) for field in expression.fields]
        if isinstance(expression, GenericConst):
            return torch.from_numpy(expression.value.numpy().copy()).to(dtype)
        return None  # shapes and bounds, which operators read from the call

    result = model.function.body.body
    bound = dict(bindings(model.function))
    last = result
    while isinstance(bound.get(last), relax.Var):  # names for one value
        last = bound[last]
    logits = None
    for variable, value in bound.items():
        if isinstance(value, relax.TupleGetItem):
            values[variable.name] = operand(value.tuple_value)[value.index]
            continue
        if not isinstance(value, relax.Call):
            values[variable.name] = operand(value)
            continue
        arguments = [operand(argument) for argument in value.args]
        if operator_name(value) == "nn.batch_norm":
            trains = batch_norm_layer(value) in training_layers
            values[variable.name] = [_batch_norm(value, arguments, trains)]
            continue
        values[variable.name] = evaluate(value, arguments)
        if observe is not None:
            observe(variable.name, values[variable.name])
        if variable.same_as(last) and operator_name(value) in _LOGARITHMIC:
            if values[variable.name].ndim == 2 and int(value.attrs.axis) == 1:
                logits = arguments[0]
    output = operand(result)
    return output, output if logits is None else logits


def _batch_norm(value: relax.Call, arguments: list[torch.Tensor], training: bool) -> torch.Tensor:
    data, scale, offset, mean, variance = arguments
    return functional.batch_norm(
        data,
        mean,
        variance,
        scale,
        offset,
        training=training,
        momentum=float(value.attrs.momentum),
        eps=float(value.attrs.epsilon),
    )
