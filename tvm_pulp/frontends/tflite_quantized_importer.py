"""State of the import of a TFLite graph of int8 tensors: what its tensors are in the integer graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from tvm_pulp.frontends.tflite_graph import Graph
from tvm_pulp.passes.operators.requantize import Rounding
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.elementwise_operators import Constant
from tvm_pulp.passes.quantized.graph import QuantizedGraph, QuantizedTensor
from tvm_pulp.target.errors import UserError

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


class Node:
    """An operator of the graph.

    Attributes
    ----------
    layer, kind : str
    inputs, outputs : list of int
        Tensors; -1 for one that is left out.
    """

    def __init__(self, graph: Graph, position: int) -> None:
        self.graph, self.layer, self.kind = graph, graph.layers[position], graph.kinds[position]
        self._operator = graph.operators[position]
        self.inputs = [int(index) for index in self._operator.InputsAsNumpy()]
        self.outputs = [int(index) for index in self._operator.OutputsAsNumpy()]

    def options(self, kind: Callable[[], Any]) -> Any:
        """Options table of the operator; its defaults where the file has none."""
        options, stored = kind(), self._operator.BuiltinOptions()
        if stored is not None:
            options.Init(stored.Bytes, stored.Pos)
            return options
        self.refuse("it has no options")

    def constant(self, position: int, what: str) -> list[int]:
        """Elements of an operand that must be constant."""
        value = self.graph.integers(self.inputs[position])
        if value is None:
            self.refuse(f"{what} are computed at run time: make them constant")
        return [int(element) for element in value.reshape(-1)]

    def refuse(self, why: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{self.graph.model_name}: layer '{self.layer}' ({self.kind}): {why}")


class Importer:
    """State of the import.

    Attributes
    ----------
    graph : Graph
    tensors : dict of int to QuantizedTensor
        By TFLite's index.
    floats : dict of int to QuantizedTensor or None
        Tensors in float32 at the ends of the graph: None for inputs, what an output is dequantised from.
    padded : dict of int to Pad
        Padding that the convolution which reads it may take in.
    operators : list of Operator
        So far.
    batch : int
        Of the file.
    samples : int
        Batch of the integer graph.
    """

    def __init__(self, graph: Graph, samples: int) -> None:
        self.graph, self.samples = graph, samples
        self.tensors: dict[int, QuantizedTensor] = {}
        self.floats: dict[int, QuantizedTensor | None] = {}
        self.padded: dict[int, g.Pad] = {}
        self.operators: list[g.Operator] = []
        self.batch = (graph.shape(graph.inputs[0].index)[:1] or (1,))[0] if graph.inputs else 1

    def input(self, index: int) -> None:
        """Begin with an input: bytes, or float32 that a QUANTIZE reads."""
        shape, dtype = self.shape(index), self.graph.dtype(index)
        if dtype == "FLOAT32":
            self.floats[index] = None
            return
        name, output = self.graph.names[index], self.declared(index)
        axes = TO_NCHW if len(shape) == 4 else None
        self.emit(index, g.QuantizedInput(name, output, name, shape, dtype.lower(), axes))

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of a tensor in the file's layout, for `samples`, whatever the batch of the file."""
        shape = self.graph.shape(index)
        if self.batch == self.samples == 1 or self.graph.integers(index) is not None:
            return shape
        if not shape or shape[0] % self.batch:
            name = f"{self.graph.model_name}: tensor '{self.graph.names[index]}'"
            raise UserError(
                f"{name} has the shape {list(shape)}, which the batch of {self.batch} does not divide: "
                "convert the model for a batch of 1"
            )
        return shape[0] // self.batch * self.samples, *shape[1:]

    def declared(self, index: int) -> QuantizedTensor:
        """The tensor that the file declares."""
        shape = self.shape(index)
        if len(shape) == 4:
            shape = tuple(shape[axis] for axis in TO_NCHW)
        scale, zero_point = self.quantization(index)
        return QuantizedTensor(self.graph.names[index], shape, scale, zero_point)

    def quantization(self, index: int) -> tuple[float, int]:
        """Scale and zero point of a tensor, the latter as of unsigned bytes."""
        scales, zero_points, _ = self.graph.quantization(index)
        dtype, name = self.graph.dtype(index), self.graph.names[index]
        if dtype not in ("INT8", "UINT8") or len(scales) != 1:
            raise UserError(
                f"{self.graph.model_name}: tensor '{name}' is {dtype.lower()} with {len(scales)} scales: "
                "integer networks are of int8 with one scale a tensor"
            )
        return float(scales[0]), int(zero_points[0]) + (128 if dtype == "INT8" else 0)

    def source(self, node: Node, position: int = 0) -> QuantizedTensor:
        """Tensor that an operator reads."""
        index = node.inputs[position]
        if index in self.padded:
            self.emit(index, self.padded.pop(index))
        if index not in self.tensors:
            node.refuse(
                f"it reads '{self.graph.names[index]}', which is not quantised: convert the model with full "
                "integer quantisation"
            )
        return self.tensors[index]

    def operand(self, node: Node, position: int, rank: int) -> QuantizedTensor:
        """Tensor or constant that an operator reads, with ones before its axes where it has fewer."""
        index = node.inputs[position]
        value = self.graph.integers(index)
        if value is None:
            source = self.source(node, position)
            shape = self.shape(index)
            if len(shape) == rank:
                return source
            shape = (*shape[:1], *(1,) * (rank - len(shape)), *shape[1:])
            return self._seen(node, f"{source.name}_for_{node.layer}", shape, source)
        scale, zero_point = self.quantization(index)
        value = (value.astype(np.int32) + 128 * (value.dtype == np.int8)).astype(np.uint8)
        value = value.reshape((1,) * (rank - value.ndim) + value.shape)
        value = value.transpose(TO_NCHW) if rank == 4 else value
        output = QuantizedTensor(
            f"{self.graph.names[index]}_for_{node.layer}", value.shape, scale, zero_point
        )
        self.operators.append(Constant(node.layer, output, value))
        return output

    def _seen(
        self, node: Node, name: str, shape: tuple[int, ...], source: QuantizedTensor
    ) -> QuantizedTensor:
        """A view of a tensor with a shape in the file's layout."""
        shape = tuple(shape[axis] for axis in TO_NCHW) if len(shape) == 4 else shape
        view = QuantizedTensor(name, shape, source.scale, source.zero_point)
        self.operators.append(g.View(node.layer, view, source, channels_last=True))
        return view

    def emit(self, index: int, operator: g.Operator) -> None:
        """Append an operator that yields a tensor of the file."""
        self.operators.append(operator)
        self.tensors[index] = operator.output

    def up_to(self, name: str) -> QuantizedGraph:
        """The graph up to a tensor, as float32 in the model's layout, NCHW."""
        output = self.tensors[self.graph.names.index(name)]
        inputs = tuple(tensor.name for tensor in self.graph.inputs)
        return QuantizedGraph(self.graph.model_name, inputs, tuple(self.operators), output)

    def finish(self) -> QuantizedGraph:
        """The graph up to the output."""
        outputs = [int(index) for index in self.graph.subgraph.OutputsAsNumpy()]
        if len(outputs) != 1:
            raise UserError(f"{self.graph.model_name}: it has {len(outputs)} outputs: leave one")
        index = outputs[0]
        output = self.floats.get(index) or self.tensors.get(index)
        if output is None:
            raise UserError(f"{self.graph.model_name}: its output does not depend on an input")
        dtype = "float32" if index in self.floats else self.graph.dtype(index).lower()
        if len(output.shape) == 4:
            shape = tuple(output.shape[axis] for axis in TO_NHWC)
            moved = replace(output, name=f"{output.name}_nhwc", shape=shape)
            self.operators.append(g.Transpose("output", moved, output, TO_NHWC))
            output = moved
        inputs = tuple(tensor.name for tensor in self.graph.inputs)
        return QuantizedGraph(self.graph.model_name, inputs, tuple(self.operators), output, dtype)

    def quantize_input(self, node: Node) -> None:
        """Emit what makes bytes of a float input."""
        index, output = node.inputs[0], self.declared(node.outputs[0])
        name, shape = self.graph.names[index], self.shape(index)
        axes = TO_NCHW if len(shape) == 4 else None
        operator = g.Quantize(node.layer, output, name, shape, axes, Rounding.HALF_AWAY, divides=True)
        self.emit(node.outputs[0], operator)


Converter = Callable[[Importer, Node], None]
