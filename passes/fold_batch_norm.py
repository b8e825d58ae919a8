"""Fold batch normalisation with fixed statistics into the convolution before it."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
from tvm import relax

from tvm_pulp.passes.model import Model, with_function
from tvm_pulp.passes.rewrite import Emit, bindings, operands, operator_name, rewrite_function, static_shape


def fold_batch_norm(model: Model) -> Model:
    """Replace every `nn.batch_norm` of four-dimensional data by a convolution with a bias.

    With running statistics, ``y = (conv(x, w) + b - mean) * g + beta`` for ``g = gamma / sqrt(var + eps)``
    is ``conv(x, w * g) + ((b - mean) * g + beta)``: the weight and the batch norm's own bias take the new
    values; its other parameters and the convolution's bias go. A batch norm whose data is not the output of
    a convolution that nobody else reads becomes a depthwise 1x1 convolution by ``g``.

    Assumes that the layers are frozen: none of these parameters is trained.

    Parameters
    ----------
    model : Model
        In canonical form.

    Returns
    -------
    Model
        The same function up to rounding; the new values are computed in float64 and stored in float32.
    """
    names = {variable.name: name for name, variable in model.parameter_variables.items()}
    readers = Counter(o.name for _, value in bindings(model.function) for o in operands(value))
    readers.update(o.name for o in operands(model.function.body.body))
    values = dict(model.parameters)
    defined: dict[str, relax.Expr] = {}

    def own_convolution(variable: relax.Expr) -> str | None:
        """Weight of the convolution that yields a variable, if no one else reads either."""
        value = defined.get(variable.name)
        if value is None or operator_name(value) != "nn.conv2d":
            return None
        weight = value.args[1].name
        return names[weight] if weight in names and readers[weight] == readers[variable.name] == 1 else None

    def bias_added(variable: relax.Expr) -> tuple[relax.Var, str] | None:
        """What a bias a channel is added to, and the bias, if a variable is such a sum of its own."""
        value = defined.get(variable.name)
        if value is None or operator_name(value) != "add" or readers[variable.name] != 1:
            return None
        source, added = value.args
        view = defined.get(getattr(added, "name", ""))
        if view is None or operator_name(view) != "reshape" or view.args[0].name not in names:
            return None
        per_channel = static_shape(added)[-3:] == (static_shape(source)[1], 1, 1)
        return (source, names[view.args[0].name]) if per_channel and own_convolution(source) else None

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        if operator_name(value) != "nn.batch_norm" or len(static_shape(value.args[0])) != 4:
            if not isinstance(value, relax.Call):
                return None
            variable = emit(value, name)
            defined[variable.name] = value
            return variable
        data, scale, offset, mean, variance = value.args
        gamma, beta, center, spread = (_double(values[names[v.name]]) for v in value.args[1:])
        gain = gamma / np.sqrt(spread + float(value.attrs.epsilon))
        biased = bias_added(data)
        if biased is not None:
            data, bias = biased
            center = center - _double(values[bias]).reshape(-1)
        values[names[offset.name]] = (beta - center * gain).astype(np.float32)
        weight = own_convolution(data)
        if weight is not None:
            values[weight] = (_double(values[weight]) * gain.reshape(-1, 1, 1, 1)).astype(np.float32)
        else:
            values[names[scale.name]] = gain.astype(np.float32)
            column = emit(relax.op.reshape(scale, (gain.size, 1, 1, 1)), f"{name}_weight")
            data = emit(relax.op.nn.conv2d(data, column, groups=gain.size), f"{name}_scaled")
        row = emit(relax.op.reshape(offset, (1, gain.size, 1, 1)), f"{name}_bias")
        return relax.Tuple([emit(relax.op.add(data, row), f"{name}_folded"), mean, variance])

    function = rewrite_function(model.function, transform)
    return with_function(dataclasses.replace(model, parameters=values), function)


def _double(value: np.ndarray) -> np.ndarray:
    return np.asarray(value, np.float64)
