"""Import of quantised ONNX models, with `QuantizeLinear` and `DequantizeLinear` or quantised operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tvm_pulp.frontends.onnx_dynamic import write_out_dynamic
from tvm_pulp.frontends.onnx_import import import_onnx, prepared_model
from tvm_pulp.frontends.onnx_qoperators import is_qoperator, write_out_qoperators
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.quantized.integer_stage import ImportedStage

_QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
_BYTES = {np.dtype(np.int8), np.dtype(np.uint8)}


def is_quantized(proto: onnx.ModelProto) -> bool:
    """Tell whether a model holds operators that quantise."""
    operators = (node.op_type for node in proto.graph.node)
    return any(
        kind in _QUANTIZERS or kind == "DynamicQuantizeLinear" or is_qoperator(kind) for kind in operators
    )


def import_quantized_onnx(
    proto: onnx.ModelProto,
    name: str,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int = 1,
) -> Model | ImportedStage:
    """Turn a quantised ONNX model into what an integer graph is made of.

    One whose weights alone are quantised, or whose data are at run time, becomes a float model.

    Parameters
    ----------
    proto : onnx.ModelProto
        It is not changed.
    name : str
        Name of the model.
    input_shapes : mapping, optional
        Shapes by input name, needed where dimensions beside the batch are dynamic.
    batch : int
        Batch size of a float model.

    Raises
    ------
    UserError
        For an operator that can be computed neither in integers nor in float.
    """
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    for node in model.graph.node:
        if node.op_type in _QUANTIZERS:
            node.domain = ""  # ONNX Runtime's own ones mean the same
    write_out_dynamic(model, name)
    write_out_qoperators(model, name)
    scales = fold_weights(model)
    if not is_quantized(model):
        return import_onnx(model, name, input_shapes=input_shapes, batch=batch)
    prepared = prepared_model(model, name, input_shapes=input_shapes, batch=1, quantized=True)
    return ImportedStage(prepared, scales, divides=True)


def fold_weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Compute what quantises or dequantises constants, in float32; the results are initialisers.

    Returns
    -------
    dict of str to ndarray of float32
        Scales of the bytes among the initialisers, of shapes that broadcast to theirs.
    """
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    constants |= {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    folded, kept = [], []
    for node in graph.node:
        inputs = [name for name in node.input if name]
        if node.op_type in _QUANTIZERS and all(name in constants for name in inputs):
            constants[node.output[0]] = _evaluate(node, {name: constants[name] for name in inputs})
            folded.append(node)
        else:
            kept.append(node)
    read = {name for node in kept for name in node.input} | {value.name for value in graph.output}
    for tensor in [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)  # so that a parameter can have the name of its integers
    names = read - {node.output[0] for node in folded}
    floats = {node.output[0]: node.input[0] for node in folded if node.op_type == "QuantizeLinear"}
    renamed: dict[str, str] = {}
    scales: dict[str, np.ndarray] = {}
    for node in folded:
        source, output = node.input[0], node.output[0]
        if output not in read:
            continue
        renamed[output] = _parameter_name(floats.get(source, source), names)
        names.add(renamed[output])
        graph.initializer.append(numpy_helper.from_array(constants[output], renamed[output]))
        if constants[source].dtype in _BYTES:
            rank = constants[output].ndim
            scales[renamed[output]] = _along_axis(node, constants[node.input[1]], rank)
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)
    return scales


def _evaluate(node: onnx.NodeProto, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    outputs = [helper.make_tensor_value_info(node.output[0], 0, None)]
    graph = helper.make_graph([node], "constant", inputs, outputs)
    # ONNX's reference has no earlier versions, which mean the same
    evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    return np.asarray(evaluator.run(None, dict(feeds))[0])


def _parameter_name(quantized: str, used: set[str]) -> str:
    """Name of a float parameter after that of its integers."""
    base = quantized.removeprefix("onnx::").removesuffix("_quantized")
    name, count = base, 1
    while name in used:
        count += 1
        name = f"{base}_{count}"
    return name


def _along_axis(node: onnx.NodeProto, scale: np.ndarray, rank: int) -> np.ndarray:
    if scale.size == 1:
        return scale.reshape(())
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1) % rank
    return scale.reshape([-1 if index == axis else 1 for index in range(rank)])
