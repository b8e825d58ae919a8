"""The integer graph inside a package: the operators as JSON, their arrays beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tvm_pulp.package.forward import model_from_json, model_to_json
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.operators.conv2d import Conv2d
from tvm_pulp.passes.operators.requantize import Requantization, Rounding
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.elementwise_operators import ChannelLookup, Constant, QuantizedMultiply
from tvm_pulp.passes.quantized.float_operators import Dequantize, DequantizedLayer, FloatLayers
from tvm_pulp.passes.quantized.movement_operators import ResizeNearest, Slice

_FILES = ("integer_graph.json", "integer_graph.npz")
_CLASSES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        g.QuantizedGraph,
        g.QuantizedTensor,
        g.Quantize,
        g.QuantizedInput,
        g.QuantizedConv2d,
        g.QuantizedLinear,
        g.QuantizedAdd,
        g.RescaledAdd,
        g.QuantizedSoftmax,
        g.QuantizedAveragePool2d,
        g.QuantizedMaxPool2d,
        g.Lookup,
        g.Concatenate,
        g.View,
        g.Pad,
        g.Transpose,
        g.FloatTensor,
        Dequantize,
        DequantizedLayer,
        FloatLayers,
        Constant,
        QuantizedMultiply,
        ChannelLookup,
        Slice,
        ResizeNearest,
        Conv2d,
        Requantization,
        Rounding,
    )
}


def write_integer_graph(directory: Path, graph: g.QuantizedGraph) -> None:
    """Write a graph into a folder."""
    arrays: dict[str, np.ndarray] = {}

    def encoded(value: Any) -> Any:
        if isinstance(value, Model):
            return {"network": model_to_json(value), "parameters": encoded(value.parameters)}
        if isinstance(value, Mapping):
            return {"mapping": {key: encoded(element) for key, element in value.items()}}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return {"class": type(value).__name__, **{name: encoded(getattr(value, name)) for name in names}}
        if isinstance(value, Rounding):
            return {"class": "Rounding", "value": value.value}
        if isinstance(value, np.ndarray):
            name = f"array_{len(arrays)}"
            arrays[name] = value
            return {"array": name}
        if isinstance(value, tuple | list):
            return [encoded(element) for element in value]
        return value.item() if isinstance(value, np.generic) else value

    text, archive = (directory / name for name in _FILES)
    text.write_text(json.dumps(encoded(graph)))
    with archive.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_integer_graph(directory: Path) -> g.QuantizedGraph:
    """Read the graph that `write_integer_graph` wrote; sequences become tuples."""
    text, archive = (directory / name for name in _FILES)
    with np.load(archive, allow_pickle=False) as arrays:

        def decoded(value: Any) -> Any:
            if isinstance(value, list):
                return tuple(decoded(element) for element in value)
            if not isinstance(value, dict):
                return value
            if "array" in value:
                return arrays[value["array"]]
            if "mapping" in value:
                return {key: decoded(element) for key, element in value["mapping"].items()}
            if "network" in value:
                return model_from_json(value["network"], decoded(value["parameters"]))
            fields = {name: decoded(field) for name, field in value.items() if name != "class"}
            return _CLASSES[value["class"]](**fields)

        graph: g.QuantizedGraph = decoded(json.loads(text.read_text()))
    return graph
