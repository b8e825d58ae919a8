"""Compute the nodes of an ONNX graph that depend on constants and static shapes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
}
# Inputs of which only shape or type are read, by operator.
_METADATA_ONLY = {"Shape": (0,), "Size": (0,), "CastLike": (1,)}


def fold(model: onnx.ModelProto) -> None:
    """Compute nodes that depend on constants and static shapes alone; float initialisers are no constants."""
    graph = model.graph
    constants = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if not np.issubdtype(numpy_helper.to_array(tensor).dtype, np.floating)
    }
    folded = True
    while folded:
        known = _known_tensors(onnx.shape_inference.infer_shapes(model, data_prop=True).graph)
        folded = False
        kept = []
        for node in graph.node:
            results = _evaluate(node, constants, known, model.opset_import)
            if results is None:
                kept.append(node)
            else:
                constants.update(zip(node.output, results, strict=True))
                folded = folded or node.op_type != "Constant"
        del graph.node[:]
        graph.node.extend(constant_node(n, constants[n]) for n in read_tensors(kept, graph) if n in constants)
        graph.node.extend(kept)
        for tensor in [t for t in graph.initializer if t.name in constants]:
            graph.initializer.remove(tensor)
    # what nothing reads any more, among it the initialisers that only folded nodes read
    read = set(read_tensors(list(graph.node), graph))
    for tensor in [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)


def read_tensors(nodes: list[onnx.NodeProto], graph: onnx.GraphProto) -> dict[str, None]:
    """Names of the tensors that nodes or the graph's outputs read, in order."""
    names = dict.fromkeys(name for node in nodes for name in node.input if name)
    return names | dict.fromkeys(value.name for value in graph.output)


def constant_node(name: str, value: np.ndarray) -> onnx.NodeProto:
    """Node that yields a constant tensor."""
    return helper.make_node(
        "Constant", [], [name], name=name, value=numpy_helper.from_array(np.asarray(value))
    )


def _known_tensors(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Zeros of the shape and type of every tensor whose shape is static, in no memory."""
    known = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        tensor = value.type.tensor_type
        if tensor.elem_type and tensor.HasField("shape"):
            if all(d.HasField("dim_value") for d in tensor.shape.dim):
                shape = [d.dim_value for d in tensor.shape.dim]
                known[value.name] = np.broadcast_to(_zero(tensor.elem_type), shape)
    for initialiser in graph.initializer:
        known[initialiser.name] = np.broadcast_to(_zero(initialiser.data_type), list(initialiser.dims))
    return known


def _zero(elem_type: int) -> np.ndarray:
    return np.zeros((), helper.tensor_dtype_to_np_dtype(elem_type))


def _evaluate(
    node: onnx.NodeProto,
    constants: Mapping[str, np.ndarray],
    known: Mapping[str, np.ndarray],
    opsets: Sequence[onnx.OperatorSetIdProto],
) -> list[np.ndarray] | None:
    """Results of a node that depends on constants or a static shape alone, else None."""
    feeds = {name: constants[name] for name in node.input if name in constants}
    for index in _METADATA_ONLY.get(node.op_type, ()):
        if node.input[index] in known:
            feeds[node.input[index]] = known[node.input[index]]
    if any(name and name not in feeds for name in node.input) or node.op_type in RANDOM:
        return None
    if any(attribute.HasField("g") for attribute in node.attribute):
        return None  # control flow
    inputs = [helper.make_tensor_value_info(name, 0, None) for name in feeds]
    outputs = [helper.make_tensor_value_info(name, 0, None) for name in node.output]
    graph = helper.make_graph([node], "constant", inputs, outputs)
    evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=list(opsets)))
    try:
        return [np.asarray(result) for result in evaluator.run(None, feeds)]
    except NotImplementedError:  # an operator that ONNX's reference lacks: left to the importer
        return None
