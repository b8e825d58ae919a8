"""A TFLite graph with readable, unique names, wrapped so that TVM's importer sees those names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite

from tvm_pulp.target.errors import UserError

_TYPES = {value: name for name, value in vars(tflite.TensorType).items() if not name.startswith("_")}
_OPERATORS = {value: name for name, value in vars(tflite.BuiltinOperator).items() if not name.startswith("_")}
_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
_WEIGHT_SUFFIX = re.compile(r"(Conv2D|depthwise|MatMul|Tensordot)\d*$", re.IGNORECASE)
_INTEGER = {"INT8", "UINT8", "INT16", "INT4"}
_SCALED = {"INT8", "UINT8", "INT32"}
_FLOATS = ("FLOAT", "BFLOAT", "COMPLEX")


@dataclass(frozen=True)
class Tensor:
    """A tensor: its index, name, shape as stored, and shape with None for open axes."""

    index: int
    name: str
    shape: tuple[int, ...]
    signature: tuple[int | None, ...]


class Graph:
    """The first subgraph of a model.

    Tensors are named after layers: parameters `LAYER.weight` and `LAYER.bias`, what an operator computes
    `LAYER`. `scaled_constants` are those of integers with scales beside the parameters.
    """

    def __init__(self, model: Any, name: str) -> None:
        self.model = model
        self.model_name = name
        self.subgraph = model.Subgraphs(0)
        self.operators = [self.subgraph.Operators(i) for i in range(self.subgraph.OperatorsLength())]
        if not self.operators:
            raise ValueError("it holds no operators")
        self.kinds = [self._kind(operator) for operator in self.operators]
        self.original = [
            (self.subgraph.Tensors(i).Name() or b"").decode() for i in range(self.subgraph.TensorsLength())
        ]
        self.names = self._readable_names()
        self.layers = [self.names[operator.OutputsAsNumpy()[0]] for operator in self.operators]
        self.inputs = [self._tensor(int(i)) for i in self.subgraph.InputsAsNumpy()]
        indices = dict.fromkeys(index for _, index, _ in self._weights())  # a shared one is listed once
        self.parameters = [self._tensor(index) for index in indices]
        others = (i for i in range(len(self.names)) if i not in indices and self._data(i) is not None)
        self.scaled_constants = [self._tensor(index) for index in others if self.stands_for_floats(index)]

    @property
    def is_quantized(self) -> bool:
        """Whether an operator yields integers of few bits."""
        computed = (int(index) for operator in self.operators for index in operator.OutputsAsNumpy())
        return any(self.dtype(index) in _INTEGER for index in computed)

    def check(self) -> None:
        """Raise UserError if activations are not of float32, or weights not of that or int8."""
        weights = {index for _, index, what in self._weights() if what == "weight"}
        for operator, kind, layer in zip(self.operators, self.kinds, self.layers, strict=True):
            for index in [*operator.InputsAsNumpy(), *operator.OutputsAsNumpy()]:
                dtype = "FLOAT32" if index < 0 else self.dtype(int(index))
                if dtype == "INT8" and int(index) in weights:
                    if not len(self.quantization(int(index))[0]):
                        raise UserError(
                            f"{self.model_name}: layer '{layer}' ({kind}) has a weight of int8 without a "
                            "scale: convert the model again"
                        )
                    continue
                if dtype in _INTEGER or (dtype.startswith(_FLOATS) and dtype != "FLOAT32"):
                    raise UserError(
                        f"{self.model_name}: layer '{layer}' ({kind}) is of type {dtype.lower()}: float32, "
                        "with weights of float32 or int8, is what can be trained, so convert it to that"
                    )

    def value(self, tensor: Tensor) -> np.ndarray:
        """Stored value of a tensor in float32; integers with scales are dequantised."""
        data = self._data(tensor.index)
        if data is None:
            raise ValueError(f"tensor {tensor.name} has no data")
        dtype = self.dtype(tensor.index)
        if dtype == "FLOAT32":
            return np.frombuffer(data.tobytes(), np.float32).reshape(tensor.shape).copy()
        integers = np.frombuffer(data.tobytes(), dtype.lower()).reshape(tensor.shape)
        scales, zero_points, axis = self.quantization(tensor.index)
        if len(scales) > 1:
            along = [-1 if index == axis else 1 for index in range(len(tensor.shape))]
            scales, zero_points = scales.reshape(along), zero_points.reshape(along)
        return ((integers.astype(np.int32) - zero_points).astype(np.float32) * scales).astype(np.float32)

    def dtype(self, index: int) -> str:
        """Type of a tensor, "INT8" for example."""
        return _TYPES[self.subgraph.Tensors(index).Type()]

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of a tensor as stored."""
        return self._tensor(index).shape

    def quantization(self, index: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Scales and zero points of a tensor, and the axis that they are for; none if it is not quantised."""
        stored = self.subgraph.Tensors(index).Quantization()
        if stored is None or not stored.ScaleLength():
            return np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        zeros = stored.ZeroPointAsNumpy() if stored.ZeroPointLength() else np.zeros(stored.ScaleLength())
        return stored.ScaleAsNumpy(), np.asarray(zeros, np.int64), int(stored.QuantizedDimension())

    def stands_for_floats(self, index: int) -> bool:
        """Tell whether a tensor is of integers with scales."""
        return self.dtype(index) in _SCALED and len(self.quantization(index)[0]) > 0

    def integers(self, index: int) -> np.ndarray | None:
        """Stored value of a tensor of integers; None if it is computed."""
        data = self._data(index)
        if data is None:
            return None
        return np.frombuffer(data.tobytes(), self.dtype(index).lower()).reshape(self.shape(index))

    def _data(self, index: int) -> np.ndarray | None:
        data = self.model.Buffers(self.subgraph.Tensors(index).Buffer()).DataAsNumpy()
        return data if isinstance(data, np.ndarray) and data.size else None

    def _tensor(self, index: int) -> Tensor:
        tensor = self.subgraph.Tensors(index)
        shape = tuple(int(extent) for extent in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()
        signature: tuple[int | None, ...] = shape
        if tensor.ShapeSignatureLength() == len(shape) > 0:
            signature = tuple(
                int(extent) if extent >= 0 else None for extent in tensor.ShapeSignatureAsNumpy()
            )
        return Tensor(index, self.names[index], shape, signature)

    def _kind(self, operator: Any) -> str:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
        return _OPERATORS.get(number, f"number {number}")

    def _weights(self) -> Iterator[tuple[int, int, str]]:
        """(position of the operator, tensor index, "weight" or "bias") of what is trained."""
        for position, (operator, kind) in enumerate(zip(self.operators, self.kinds, strict=True)):
            if kind not in _WEIGHTED:
                continue
            for index, what in zip(operator.InputsAsNumpy()[1:3], ("weight", "bias"), strict=False):
                if index >= 0 and self._data(int(index)) is not None:
                    yield position, int(index), what

    def _readable_names(self) -> list[str]:
        layers = [
            self._layer_path(operator, kind)
            for operator, kind in zip(self.operators, self.kinds, strict=True)
        ]
        roots = {path[0] for path in layers if len(path) > 1}
        if len(roots) == 1:  # the name of the whole model
            layers = [path[1:] if len(path) > 1 else path for path in layers]
        names = [name.rpartition(";")[2] for name in self.original]
        used: set[str] = set()
        done: dict[int, str] = {}
        for index in self.subgraph.InputsAsNumpy():
            done[int(index)] = _unique(self.original[int(index)] or "input", used)
        unique_layers = []
        for operator, path in zip(self.operators, layers, strict=True):
            unique_layers.append(_unique(".".join(path), used))
            for position, index in enumerate(operator.OutputsAsNumpy()):
                done[int(index)] = _unique(unique_layers[-1], used) if position else unique_layers[-1]
        for position, index, what in self._weights():
            if index not in done:
                done[index] = _unique(f"{unique_layers[position]}.{what}", used)
        return [done.get(i) or _unique(names[i] or f"tensor_{i}", used) for i in range(len(self.original))]

    def _layer_path(self, operator: Any, kind: str) -> list[str]:
        """Path of the layer that an operator comes from, by the names of its weight or its output."""
        candidates = [self.original[int(operator.OutputsAsNumpy()[0])]]
        inputs = operator.InputsAsNumpy()
        if kind in _WEIGHTED:
            candidates.insert(0, self.original[int(inputs[1])])
        for candidate in candidates:
            parts = [part.split("/") for part in candidate.split(";") if "/" in part]
            weights = [path for path in parts if _WEIGHT_SUFFIX.search(path[-1])]
            if parts:
                return ((weights if kind in _WEIGHTED else parts) or parts)[0][:-1]
        return [kind.lower()]


def _unique(name: str, used: set[str]) -> str:
    candidate, count = name, 1
    while candidate in used:
        count += 1
        candidate = f"{name}_{count}"
    used.add(candidate)
    return candidate
