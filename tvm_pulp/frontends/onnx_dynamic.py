"""Dynamically quantised ONNX models: layers whose data get their scale at run time become float ones.

Their weights, of bytes, are dequantised. What is matched is what ONNX Runtime's `quantize_dynamic` writes::

    DynamicQuantizeLinear(x) → q, scale, zero point
    MatMulInteger(q, weight) → Cast → Mul(scale * weight's scale)
"""

from __future__ import annotations

from typing import NoReturn

import onnx
from onnx import helper

from tvm_pulp.target.errors import UserError

_PRODUCTS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}
_REMEDY = "quantise the model statically, or start from the float network"


def write_out_dynamic(model: onnx.ModelProto, name: str) -> None:
    """Replace layers on dynamically quantised data by float layers with dequantised weights, in place.

    Raises
    ------
    UserError
        For another use of such data, naming the layer.
    """
    dynamic = {n.output[0]: n for n in model.graph.node if n.op_type == "DynamicQuantizeLinear"}
    if dynamic:
        _Rewriter(model.graph, name, dynamic).run()


class _Rewriter:
    """The graph, and its dynamic quantisations by the bytes that they yield."""

    def __init__(self, graph: onnx.GraphProto, name: str, dynamic: dict[str, onnx.NodeProto]) -> None:
        self.graph, self.name, self.dynamic = graph, name, dynamic
        self.producers = {output: node for node in graph.node for output in node.output}
        self.dropped = {output for node in dynamic.values() for output in node.output}
        self.layers: dict[str, list[onnx.NodeProto]] = {}

    def run(self) -> None:
        for node in self.graph.node:
            if any(value in self.dynamic for value in node.input):
                self.replace(node)
        nodes: list[onnx.NodeProto] = []
        for node in self.graph.node:
            if node.output[0] in self.layers:
                nodes += self.layers[node.output[0]]
            elif not self.dropped.intersection(node.output):
                nodes.append(node)
        left = self.dropped.intersection(value for node in nodes for value in node.input)
        if left:
            reader = next(node for node in nodes if left.intersection(node.input))
            self.refuse(reader, "reads data that are quantised at run time")
        del self.graph.node[:]
        self.graph.node.extend(nodes)

    def replace(self, node: onnx.NodeProto) -> None:
        """Make the float layer of a product of bytes; it stands where its result is scaled."""
        if node.op_type not in _PRODUCTS or node.input[0] not in self.dynamic:
            self.refuse(node, "reads data that are quantised at run time")
        quantizer = self.dynamic[node.input[0]]
        cast = self.only_reader(node, node.output[0])
        scaling = self.only_reader(cast, cast.output[0])
        factors = [value for value in scaling.input if value != cast.output[0]]
        scales = self.producers.get(factors[0]) if len(factors) == 1 else None
        if cast.op_type != "Cast" or scaling.op_type != "Mul" or scales is None or scales.op_type != "Mul":
            self.refuse(node, "yields int32 that is not scaled by the data's scale and its weight's")
        (weight_scale,) = [value for value in scales.input if value != quantizer.output[1]] or [""]
        if quantizer.output[1] not in scales.input or not weight_scale:
            self.refuse(node, "yields int32 that is not scaled by the data's scale and its weight's")
        self.dropped |= {node.output[0], cast.output[0], scales.output[0]}
        label = node.name or node.output[0]
        weight = [node.input[1], weight_scale, *(value for value in node.input[3:4] if value)]
        axis = 0 if node.op_type == "ConvInteger" else 1
        floats = f"{node.output[0]}.weight"
        layer = helper.make_node(
            _PRODUCTS[node.op_type], [quantizer.input[0], floats], [scaling.output[0]], name=label
        )
        layer.attribute.extend(node.attribute)
        dequantizer = helper.make_node(
            "DequantizeLinear", weight, [floats], name=f"{label}.weight", axis=axis
        )
        self.layers[scaling.output[0]] = [dequantizer, layer]

    def only_reader(self, node: onnx.NodeProto, value: str) -> onnx.NodeProto:
        readers = [other for other in self.graph.node if value in other.input]
        if len(readers) != 1:
            self.refuse(node, "yields int32 that is not scaled by the data's scale and its weight's")
        return readers[0]

    def refuse(self, node: onnx.NodeProto, why: str) -> NoReturn:
        raise UserError(
            f"{self.name}: operator {node.op_type} in layer '{node.name or node.output[0]}' {why}: {_REMEDY}"
        )
