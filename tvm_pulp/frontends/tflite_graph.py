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
    `LAYER`.
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

    def check(self) -> None:
        """Raise UserError if the model is quantised or not of float32 throughout."""
        for operator, kind, layer in zip(self.operators, self.kinds, self.layers, strict=True):
            for index in [*operator.InputsAsNumpy(), *operator.OutputsAsNumpy()]:
                if index < 0:
                    continue
                dtype = _TYPES[self.subgraph.Tensors(int(index)).Type()]
                if dtype in _INTEGER:
                    raise UserError(
                        f"{self.model_name}: layer '{layer}' ({kind}) is quantised to {dtype.lower()}: a "
                        "float32 "
                        "model is needed to train, so convert it without optimisations"
                    )
                if dtype.startswith(("FLOAT", "BFLOAT", "COMPLEX")) and dtype != "FLOAT32":
                    raise UserError(
                        f"{self.model_name}: layer '{layer}' ({kind}) is of type {dtype.lower()}: only "
                        "float32 "
                        "models can be trained, so convert it to float32"
                    )

    def value(self, tensor: Tensor) -> np.ndarray:
        """Stored float32 value of a tensor."""
        data = self._data(tensor.index)
        if data is None:
            raise ValueError(f"tensor {tensor.name} has no data")
        return np.frombuffer(data.tobytes(), np.float32).reshape(tensor.shape).copy()

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
