"""Find what can be computed in one kernel with a batch norm in training mode.

Before it: the addition of a bias a channel, which changes nothing but the mean. After it: a rectifier, or
clipping from 0 on such as ReLU6.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tvm import relax

from tvm_pulp.passes.operators.batch_norm import Activation
from tvm_pulp.passes.rewrite import bindings, operands, operator_name, static_shape
from tvm_pulp.passes.trained_part import batch_norm_layer


@dataclass(frozen=True)
class BatchNormChain:
    """What a batch norm is computed with. All variables are those of the forward function.

    Attributes
    ----------
    data : relax.Var
        What the batch norm reads, or the bias is added to.
    bias : relax.Var or None
        The parameter that is added, ``[channels]``.
    activation : Activation
        Of the result.
    addition, activated : relax.Var or None
        Results of the addition and of the activation, which need no kernel of their own.
    """

    data: relax.Var
    bias: relax.Var | None = None
    activation: Activation = field(default_factory=Activation)
    addition: relax.Var | None = None
    activated: relax.Var | None = None


def fuse_batch_norm(
    function: relax.Function, training_layers: Collection[str]
) -> Mapping[relax.Var, BatchNormChain]:
    """Find the chains of a canonical forward function.

    Parameters
    ----------
    function : relax.Function
        In canonical form: one dataflow block, a batch norm's result taken by `TupleGetItem 0`.
    training_layers : collection of str
        Layers of the batch norms that run in training mode.

    Returns
    -------
    mapping of Var to BatchNormChain
        By the variable of the batch norm, for those in training mode. What is left out or taken in is read by
        nothing else.
    """
    values = dict(bindings(function))
    readers: dict[relax.Var, list[relax.Var]] = {}
    for variable, value in values.items():
        for operand in operands(value):
            readers.setdefault(operand, []).append(variable)
    for result in operands(function.body.body):
        readers.setdefault(result, []).append(result)

    def only_reader(variable: relax.Var) -> relax.Var | None:
        found = readers.get(variable, [])
        return found[0] if len(found) == 1 and found[0] is not variable else None

    chains = {}
    for variable, value in values.items():
        if operator_name(value) != "nn.batch_norm" or batch_norm_layer(value) not in training_layers:
            continue
        data = value.args[0]
        bias = _bias(data, values, function) if only_reader(data) is not None else None
        source = data if bias is None else bias[0]
        element = only_reader(variable)
        activated = only_reader(element) if element is not None else None
        activation = _activation(values.get(activated))
        chains[variable] = BatchNormChain(
            source,
            None if bias is None else bias[1],
            Activation() if activation is None else activation,
            None if bias is None else data,
            None if activation is None else activated,
        )
    return chains


def _bias(
    data: relax.Var, values: Mapping[relax.Var, relax.Expr], function: relax.Function
) -> tuple[relax.Var, relax.Var] | None:
    """What a parameter of one element a channel is added to, and the parameter."""
    value = values.get(data)
    if value is None or operator_name(value) != "add":
        return None
    shape = static_shape(data)
    for source, other in (value.args[:2], reversed(value.args[:2])):
        view = values.get(other) if isinstance(other, relax.Var) else None
        bias = view.args[0] if view is not None and operator_name(view) == "reshape" else None
        if bias is None or bias not in set(function.params) or not isinstance(source, relax.Var):
            continue
        extents = (1,) * (len(shape) - len(static_shape(other))) + static_shape(other)
        per_channel = all(extent == (shape[1] if axis == 1 else 1) for axis, extent in enumerate(extents))
        if per_channel and static_shape(source) == shape and static_shape(bias) == (shape[1],):
            return source, bias
    return None


def _activation(value: relax.Expr | None) -> Activation | None:
    if value is None:
        return None
    if operator_name(value) == "nn.relu":
        return Activation(rectifies=True)
    if operator_name(value) == "clip":
        lowest, highest = float(value.args[1].value), float(value.args[2].value)
        if lowest == 0.0 and 0.0 < highest < math.inf:
            return Activation(rectifies=True, limit=highest)
    return None
