"""State of the import of a TFLite graph of int8 tensors: what its tensors are in the integer graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from tvm_pulp.frontends.tflite_graph import Graph
from tvm_pulp.passes.operators.requantize import Rounding
from tvm_pulp.passes.quantized import graph as g
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
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tensors: dict[int, QuantizedTensor] = {}
        self.floats: dict[int, QuantizedTensor | None] = {}
        self.padded: dict[int, g.Pad] = {}
        self.operators: list[g.Operator] = []

    def input(self, index: int) -> None:
        """Begin with an input: bytes, or float32 that a QUANTIZE reads."""
        shape, dtype = self.graph.shape(index), self.graph.dtype(index)
        if shape[:1] != (1,):
            raise UserError(
                f"{self.graph.model_name}: input '{self.graph.names[index]}' has the shape {list(shape)}: "
                "convert the model for a batch of 1"
            )
        if dtype == "FLOAT32":
            self.floats[index] = None
            return
        name, output = self.graph.names[index], self.declared(index)
        axes = TO_NCHW if len(shape) == 4 else None
        self.emit(index, g.QuantizedInput(name, output, name, shape, dtype.lower(), axes))

    def declared(self, index: int) -> QuantizedTensor:
        """The tensor that the file declares."""
        shape = self.graph.shape(index)
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

    def emit(self, index: int, operator: g.Operator) -> None:
        """Append an operator that yields a tensor of the file."""
        self.operators.append(operator)
        self.tensors[index] = operator.output

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
        name, shape = self.graph.names[index], self.graph.shape(index)
        axes = TO_NCHW if len(shape) == 4 else None
        operator = g.Quantize(node.layer, output, name, shape, axes, Rounding.HALF_AWAY, divides=True)
        self.emit(node.outputs[0], operator)


Converter = Callable[[Importer, Node], None]
