"""Cross-layer equalisation: the channels of an activation get ranges alike, so that one scale serves all."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import bindings, operands, operator_name, static_shape

LEAST_SPREAD = 4.0
"""Largest over least factor of a pair's channels from which on scaling pays: two of eight bits."""


@dataclass(frozen=True)
class _Pair:
    """Two convolutions, one reading nothing but the other.

    Attributes
    ----------
    activation : str
        Variable between the two, behind the bias and the ReLU.
    weight, bias : str
        Parameters of the first one; the bias may be missing.
    reader : str
        Weight of the second one.
    depthwise : bool
        Whether the second one is.
    """

    activation: str
    weight: str
    bias: str | None
    reader: str
    depthwise: bool


def equalize_layers(model: Model, ranges: Mapping[str, np.ndarray]) -> Model:
    """Scale the channels between two convolutions, without a change of the function.

    A channel of the activation is divided by s > 0, through weight and bias of the convolution before it, and
    the weights that read it are multiplied by s; ReLU commutes with s, bounds above 0 do not, so pairs with
    such a bound stay as they are. Weights have a scale an output channel, so those of the first convolution
    and of a depthwise second one lose nothing: there ``s = r / max(r)`` for the channels' ranges r. Another
    second convolution has one scale for all the channels that it reads, of magnitude w: there
    ``s = sqrt(r / w)``, which shares the spread between activation and weights, as in Nagel et al.,
    "Data-free quantization through weight equalization and bias correction" (2019), with observed ranges.

    Assumes that the layers are frozen and batch norms folded.

    Parameters
    ----------
    model : Model
        In canonical form.
    ranges : mapping of str to ndarray, ``[channels]``
        Largest magnitude of each channel by variable, for the activations that `equalized_activations` names.

    Returns
    -------
    Model
        The same one where no pair's factors spread by more than `LEAST_SPREAD`.
    """
    values = dict(model.parameters)
    for pair in _pairs(model):
        factors = _factors(
            np.asarray(ranges[pair.activation], np.float64), values[pair.reader], pair.depthwise
        )
        if factors.max() < LEAST_SPREAD * factors.min():
            continue
        column = factors.reshape(-1, 1, 1, 1)
        row = column if pair.depthwise else column.reshape(1, -1, 1, 1)
        values[pair.weight] = (values[pair.weight] / column).astype(np.float32)
        if pair.bias is not None:
            bias = values[pair.bias]
            values[pair.bias] = (bias.reshape(-1) / factors).astype(np.float32).reshape(bias.shape)
        values[pair.reader] = (values[pair.reader] * row).astype(np.float32)
    changed = any(values[name] is not value for name, value in model.parameters.items())
    return dataclasses.replace(model, parameters=values) if changed else model


def equalized_activations(model: Model) -> list[str]:
    """Names of the variables whose channels' ranges `equalize_layers` needs."""
    return [pair.activation for pair in _pairs(model)]


def _factors(ranges: np.ndarray, weight: np.ndarray, depthwise: bool) -> np.ndarray:
    """Factor of each channel; 1 for one that is always 0 or that nothing reads."""
    magnitudes = np.ones_like(ranges)
    if not depthwise:
        magnitudes = np.abs(weight).max(axis=(0, 2, 3)).astype(np.float64)
    used = (ranges > 0) & (magnitudes > 0)
    if not used.any():
        return np.ones_like(ranges)
    shares = np.where(used, ranges, 1.0) / np.where(used, magnitudes, 1.0)
    factors = shares if depthwise else np.sqrt(shares)
    return np.where(used, factors / factors[used].max(), 1.0)


def _pairs(model: Model) -> Iterator[_Pair]:
    names = {variable.name: name for name, variable in model.parameter_variables.items()}
    values = {variable.name: value for variable, value in bindings(model.function)}
    readers = Counter(o.name for value in values.values() for o in operands(value))
    readers.update(o.name for o in operands(model.function.body.body))

    def weight(value: relax.Expr) -> str | None:
        """Weight of a convolution that is a parameter which nothing else reads."""
        if value is None or operator_name(value) != "nn.conv2d":
            return None
        name = value.args[1].name
        return names[name] if name in names and readers[name] == 1 else None

    for value in values.values():
        reader = weight(value)
        if reader is None:
            continue
        channels, groups = static_shape(value.args[0])[1], int(value.attrs.groups)
        depthwise = groups == channels == len(model.parameters[reader])
        source = activation = value.args[0]
        bias = None
        if groups not in (1, channels) or (groups > 1 and not depthwise):
            continue
        if operator_name(values.get(source.name)) == "nn.relu":
            source = values[source.name].args[0]
        if operator_name(values.get(source.name)) == "add":
            source, added = values[source.name].args
            view = values.get(getattr(added, "name", ""))
            if view is None or operator_name(view) != "reshape":
                continue
            bias = names.get(view.args[0].name)
            if bias is None or model.parameters[bias].size != channels:
                continue
        before = weight(values.get(getattr(source, "name", "")))
        if before is not None and _alone(source.name, activation.name, values, readers):
            yield _Pair(activation.name, before, bias, reader, depthwise)


def _alone(source: str, activation: str, values: Mapping[str, relax.Expr], readers: Counter[str]) -> bool:
    """Whether nothing reads what lies between a convolution's output and an activation, both included."""
    name = activation
    while readers[name] == 1:
        if name == source:
            return True
        name = values[name].args[0].name
    return False
