"""What an integer graph holds of float32, where a network that comes quantised leaves layers in float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.operators.conv2d import Conv2d
from tvm_pulp.passes.quantized.graph import FloatOperator, QuantizedGraph, QuantizedTensor


@dataclass(frozen=True)
class Dequantize(FloatOperator):
    """``(q - zero_point) * scale``, in float32."""

    source: QuantizedTensor


@dataclass(frozen=True)
class DequantizedLayer(FloatOperator):
    """A layer on bytes whose sums are not quantised: ``float32(sum + bias) * scales[channel]``.

    Attributes
    ----------
    source : QuantizedTensor
    weight : ndarray of int8, ``[output channels, ...]``
    bias : ndarray of int32, ``[output channels]``
        In units of the source's scale times the channel's weight scale.
    scales : ndarray of float32, ``[output channels]``
        Those units.
    attributes : Conv2d or None
        None for a matrix product ``[batch, inputs]`` times ``weight`` transposed.
    """

    source: QuantizedTensor
    weight: np.ndarray
    bias: np.ndarray
    scales: np.ndarray
    attributes: Conv2d | None


@dataclass(frozen=True)
class FloatLayers(FloatOperator):
    """Layers that compute in float32.

    Attributes
    ----------
    model : Model
        In canonical form, one output; its inputs are inputs of the graph or `FloatTensor`s, by name.
    reasons : mapping of str to str
        Why the layers stay in float, by their names.
    """

    model: Model
    reasons: Mapping[str, str]


def float_reasons(graph: QuantizedGraph) -> dict[str, str]:
    """Why layers of a graph compute in float32, by their names, in execution order.

    Parts of a layer ("act.relu" beside "act") are left out.
    """
    found: dict[str, str] = {}
    for operator in graph.operators:
        if isinstance(operator, FloatLayers):
            found.update(operator.reasons)
    return {layer: why for layer, why in found.items() if not any(_is_part(layer, other) for other in found)}


def _is_part(layer: str, of: str) -> bool:
    return layer.startswith(f"{of}.")
