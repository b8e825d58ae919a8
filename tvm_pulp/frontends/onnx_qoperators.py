"""Write ONNX's quantised operators out as float operators between dequantisations and a quantisation.

That is what their specifications say that they compute (onnx/docs/Operators.md). Those of the domain
com.microsoft are ONNX Runtime's (its docs/ContribOperators.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tvm_pulp.target.errors import UserError


def is_qoperator(kind: str) -> bool:
    """Tell whether an operator computes with bytes."""
    return kind in _WRITERS or kind in _INTEGER


def write_out_qoperators(model: onnx.ModelProto, name: str) -> None:
    """Replace all quantised operators of a model.

    Raises
    ------
    UserError
        For one whose scales are computed at run time, or whose int32 result is not scaled by a constant.
    """
    writer = _Writer(model, name)
    for node in list(model.graph.node):
        if writer.taken.intersection(node.output):
            continue
        if node.op_type in _WRITERS:
            _WRITERS[node.op_type](writer, node)
        elif node.op_type in _INTEGER:
            writer.integer_product(node)
        else:
            writer.nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(writer.nodes)


class _Writer:
    """The nodes so far, constants by name, and results whose nodes an earlier one has taken in."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        self.graph, self.name = model.graph, name
        self.nodes: list[onnx.NodeProto] = []
        self.taken: set[str] = set()
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)

    def refuse(self, node: onnx.NodeProto, why: str) -> NoReturn:
        raise UserError(
            f"{self.name}: operator {node.op_type} in layer '{node.name or node.output[0]}' {why}"
        )

    def constant(self, node: onnx.NodeProto, name: str) -> np.ndarray:
        if name not in self.constants:
            self.refuse(node, f"reads '{name}', which is computed at run time: make it constant")
        return self.constants[name]

    def added(self, name: str, value: np.ndarray) -> str:
        """Add an initialiser."""
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        self.constants[name] = value
        return name

    def dequantized(self, node: onnx.NodeProto, triple: Sequence[str], axis: int | None = None) -> str:
        """Dequantise an operand, given by tensor, scale and zero point."""
        output = f"{node.output[0]}.{triple[0]}.dequantized"
        inputs = [name for name in triple if name]
        axes = {} if axis is None or self.constant(node, triple[1]).size == 1 else {"axis": axis}
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [output], name=output, **axes))
        return output

    def computed(
        self,
        node: onnx.NodeProto,
        operator: str,
        inputs: Sequence[str],
        result: Sequence[str],
        attributes: Sequence[str] = (),
    ) -> None:
        """Compute the float operator, with attributes of the node, and quantise its result."""
        scaled = [name for name in result if name]
        output = f"{node.output[0]}.float" if scaled else node.output[0]
        label = node.name or node.output[0]
        new = helper.make_node(operator, inputs, [output], name=label)
        new.attribute.extend(a for a in node.attribute if a.name in attributes)
        self.nodes.append(new)
        if scaled:
            self.nodes.append(
                helper.make_node("QuantizeLinear", [output, *scaled], node.output, name=f"{label}.quantize")
            )

    def bias(self, node: onnx.NodeProto, name: str, scales: Sequence[str]) -> list[str]:
        """The bias in float32: integers times the product of two scales."""
        if not name:
            return []
        first, second = (self.constant(node, scale).astype(np.float64) for scale in scales)
        value = self.constant(node, name) * (first * second)
        label = f"{name.removesuffix('_quantized')}.{node.output[0]}"
        return [self.added(label, value.astype(np.float32))]

    def integer_product(self, node: onnx.NodeProto) -> None:
        """A product of int32 results that are scaled by a constant, perhaps after a bias.

        The constant becomes the weight's scale.
        """
        data, weight, *zero_points = node.input
        cast, biases = self.only_reader(node), []
        if cast is not None and cast.op_type == "Add":
            biases = [name for name in cast.input if name in self.constants]
            self.taken.update(cast.output)
            cast = self.only_reader(cast)
        scaling = self.only_reader(cast) if cast is not None and cast.op_type == "Cast" else None
        factors = [] if scaling is None else [n for n in scaling.input if n in self.constants]
        if cast is None or scaling is None or scaling.op_type != "Mul" or len(factors) != 1:
            self.refuse(
                node,
                "yields int32 that no constant scales to float: multiply its result by a scale, after a Cast",
            )
        self.taken.update((*cast.output, *scaling.output))
        label, convolution = scaling.output[0], node.op_type == "ConvInteger"
        one = self.added(f"{label}.one", np.ones((), np.float32))
        factor = self.constants[factors[0]].astype(np.float32)
        scale = self.added(f"{label}.scale", factor.reshape(() if factor.size == 1 else -1))
        left, right = ([*zero_points, "", ""][index] for index in (0, 1))
        right = self.filled_zero_point(node, right, weight, scale)
        operands = [
            self.dequantized(node, [data, one, left]),
            self.dequantized(node, [weight, scale, right], 0 if convolution else 1),
        ]
        product = helper.make_node(_INTEGER[node.op_type], operands, [f"{label}.product"])
        product.name = node.name or node.output[0]
        product.attribute.extend(node.attribute)
        self.nodes.append(product)
        self.finish_product(product, label, biases, scale, convolution)

    def finish_product(
        self, product: onnx.NodeProto, label: str, biases: list[str], scale: str, convolution: bool
    ) -> None:
        """Give a product the name of its scaled result, after adding a bias."""
        if not biases:
            product.output[0] = label
            return
        value = self.constants[biases[0]].reshape(-1) * self.constants[scale].reshape(-1)
        shape = (-1, 1, 1) if convolution else (-1,)
        bias = self.added(f"{label}.bias", value.astype(np.float32).reshape(shape))
        self.nodes.append(helper.make_node("Add", [product.output[0], bias], [label], name=f"{label}.add"))

    def filled_zero_point(self, node: onnx.NodeProto, name: str, weight: str, scale: str) -> str:
        """A zero point of the scale's shape."""
        dtype = self.constant(node, weight).dtype
        value = self.constants[name] if name else np.zeros((), dtype)
        shape = self.constants[scale].shape
        filled = np.broadcast_to(value.reshape(-1), shape) if shape else value.reshape(())
        return self.added(f"{node.output[0]}.zero", np.ascontiguousarray(filled).reshape(shape))

    def only_reader(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        readers = [other for other in self.graph.node if node.output[0] in other.input]
        return readers[0] if len(readers) == 1 else None


_INTEGER = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}
_WINDOW = (
    "auto_pad",
    "dilations",
    "group",
    "kernel_shape",
    "pads",
    "strides",
    "ceil_mode",
    "count_include_pad",
)


def _conv(writer: _Writer, node: onnx.NodeProto) -> None:
    x, weight, result = node.input[:3], node.input[3:6], node.input[6:8]
    operands = [writer.dequantized(node, x), writer.dequantized(node, weight, 0)]
    operands += writer.bias(node, node.input[8] if len(node.input) > 8 else "", (x[1], weight[1]))
    writer.computed(node, "Conv", operands, result, _WINDOW)


def _matmul(writer: _Writer, node: onnx.NodeProto) -> None:
    operands = [writer.dequantized(node, node.input[:3]), writer.dequantized(node, node.input[3:6], 1)]
    writer.computed(node, "MatMul", operands, node.input[6:8])


def _gemm(writer: _Writer, node: onnx.NodeProto) -> None:
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    a, b, rest = node.input[:3], node.input[3:6], [*node.input[6:], "", "", ""]
    operands = [writer.dequantized(node, a), writer.dequantized(node, b, 0 if transposed else 1)]
    operands += writer.bias(node, rest[0], (a[1], b[1]))
    writer.computed(node, "Gemm", operands, rest[1:3], ("alpha", "transA", "transB"))


def _binary(operator: str) -> Callable[[_Writer, onnx.NodeProto], None]:
    def write(writer: _Writer, node: onnx.NodeProto) -> None:
        operands = [writer.dequantized(node, node.input[:3]), writer.dequantized(node, node.input[3:6])]
        writer.computed(node, operator, operands, node.input[6:8])

    return write


def _unary(operator: str) -> Callable[[_Writer, onnx.NodeProto], None]:
    def write(writer: _Writer, node: onnx.NodeProto) -> None:
        if any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute):
            writer.refuse(node, "has its channels last, which is not supported: use NCHW")
        operand = writer.dequantized(node, node.input[:3])
        writer.computed(node, operator, [operand], node.input[3:5], (*_WINDOW, "alpha"))

    return write


def _concat(writer: _Writer, node: onnx.NodeProto) -> None:
    triples = [node.input[start : start + 3] for start in range(2, len(node.input), 3)]
    operands = [writer.dequantized(node, triple) for triple in triples]
    writer.computed(node, "Concat", operands, node.input[:2], ("axis",))


def _softmax(writer: _Writer, node: onnx.NodeProto) -> None:
    if any(attribute.name == "opset" and attribute.i < 13 for attribute in node.attribute):
        writer.refuse(node, "flattens its axes, as before opset 13: export the model by a newer opset")
    writer.computed(node, "Softmax", [writer.dequantized(node, node.input[:3])], node.input[3:5], ("axis",))


_WRITERS: dict[str, Callable[[_Writer, onnx.NodeProto], None]] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "QGemm": _gemm,
    "QLinearAdd": _binary("Add"),
    "QLinearMul": _binary("Mul"),
    "QLinearGlobalAveragePool": _unary("GlobalAveragePool"),
    "QLinearAveragePool": _unary("AveragePool"),
    "QLinearSigmoid": _unary("Sigmoid"),
    "QLinearLeakyRelu": _unary("LeakyRelu"),
    "QLinearSoftmax": _softmax,
    "QLinearConcat": _concat,
}
