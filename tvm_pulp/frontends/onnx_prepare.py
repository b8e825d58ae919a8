"""Make an ONNX graph simple: static shapes, constants computed, parameters as initialisers, layers named."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import inliner, numpy_helper

from tvm_pulp.frontends.onnx_fold import RANDOM, constant_node, fold, read_tensors
from tvm_pulp.frontends.shapes import Dimension, resolve_shapes
from tvm_pulp.passes.rewrite import reason
from tvm_pulp.target.errors import UserError

# Inputs that are settings rather than tensors that could be trained, by operator.
_SETTINGS = {
    "Clip": (1, 2),
    "Pad": (1, 2, 3),
    "Dropout": (1, 2),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
}
# Inputs that are parameters even where an exporter writes them as constants, by operator.
_PARAMETERS = {"Conv": (1, 2), "Gemm": (1, 2), "MatMul": (1,), "BatchNormalization": (1, 2, 3, 4)}
_OPTIONAL_BIAS = {"Conv", "Gemm"}
_USUAL_NAMES = {
    "Conv": {1: "weight", 2: "bias"},
    "Gemm": {1: "weight", 2: "bias"},
    "MatMul": {0: "weight", 1: "weight"},
    "Add": {0: "bias", 1: "bias"},
}


@dataclass(frozen=True)
class Prepared:
    """A graph that is ready to be imported, and the version of its operators."""

    graph: onnx.GraphProto
    opset: int


def prepare(
    proto: onnx.ModelProto,
    name: str,
    input_shapes: Mapping[str, Sequence[int]] | None,
    batch: int,
    quantized: bool = False,
) -> Prepared:
    """Simplify a copy of the model.

    Local functions are inlined, inputs get static shapes, what depends on constants and shapes alone is
    computed, and every node's name is its layer. Initialisers are then exactly the tensors that could be
    trained. If `quantized`, inputs may be bytes.

    Raises
    ------
    UserError
        For dynamic dimensions, operators of other domains, or parameters and inputs that are not float32.
    """
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    _check(model, name)
    if model.functions:
        model = inliner.inline_local_functions(model)
    graph = model.graph
    for node in graph.node:
        node.name = layer_name(node)
        if node.domain not in ("", "ai.onnx"):
            raise UserError(
                f"{name}: operator {node.op_type} of domain {node.domain} in layer '{node.name}' is not "
                "supported"
            )
    _set_input_shapes(graph, name, input_shapes, batch)
    fold(model)
    _remove_random_masks(graph)
    _separate_settings(graph)
    _name_anonymous(graph)
    _check_types(graph, name, quantized)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    return Prepared(graph, opset)


def _check(model: onnx.ModelProto, name: str) -> None:
    if not model.graph.node:
        raise UserError(f"{name}: the ONNX graph is empty: export the model again")
    values = [*model.graph.input, *model.graph.output]
    without = [v.type.tensor_type for v in values if not v.type.tensor_type.HasField("shape")]
    for tensor in without:
        tensor.shape.SetInParent()  # hand-made models leave it out, which the checker minds
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise UserError(f"{name}: not a valid ONNX model ({reason(error)[:200]}): export it again") from error
    for tensor in without:
        tensor.ClearField("shape")


def layer_name(node: onnx.NodeProto) -> str:
    """Path of the module that a node comes from, if the exporter tells it; else its name or its output's."""
    for entry in node.metadata_props:
        if (
            entry.key == "pkg.torch.onnx.name_scopes"
        ):  # torch's dynamo exporter: "['', 'block', 'block.conv', 'conv2d']"
            scopes = [scope for scope in ast.literal_eval(entry.value)[:-1] if scope]
            return scopes[-1] if scopes else node.name or node.output[0]
    if node.name.startswith("/"):  # torch's TorchScript exporter: "/blocks/blocks.0/conv/Conv"
        path: list[str] = []
        for part in node.name.strip("/").split("/")[:-1]:
            if path and part.startswith(path[-1] + "."):
                path[-1] = part
            else:
                path.append(part)
        return ".".join(path) or node.name.strip("/")
    return node.name or node.output[0]


def _set_input_shapes(
    graph: onnx.GraphProto, name: str, input_shapes: Mapping[str, Sequence[int]] | None, batch: int
) -> None:
    initialisers = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initialisers]
    dimensions: dict[str, list[Dimension]] = {}
    for value in inputs:
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            if value.name not in (input_shapes or {}):
                raise UserError(
                    f"{name}: input '{value.name}' has no shape: give it by input_shapes, "
                    f"for example {{'{value.name}': [{batch}, 3, 32, 32]}}"
                )
            for _ in (input_shapes or {})[value.name]:
                tensor.shape.dim.add()
        dimensions[value.name] = [
            d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param or None
            for d in tensor.shape.dim
        ]
    shapes = resolve_shapes(name, dimensions, input_shapes, batch)
    for value in inputs:
        for dimension, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            dimension.dim_value = size
    del graph.value_info[:]  # may hold symbols that are numbers now
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")


def _remove_random_masks(graph: onnx.GraphProto) -> None:
    """Remove products with random tensors, which is how exporters write some dropouts in training mode."""
    known = {node.output[0] for node in graph.node if node.op_type == "Constant"}
    random: set[str] = set()
    same: dict[str, str] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
        from_random = [name for name in node.input if name in random]
        others = [name for name in node.input if name and name not in random | known]
        if node.op_type in RANDOM or (from_random and not others):
            random.update(node.output)
        elif node.op_type == "Mul" and len(from_random) == len(others) == 1:
            same[node.output[0]] = others[0]
    kept = [node for node in graph.node if (random | same.keys()).isdisjoint(node.output)]
    if any(name in random for node in kept for name in node.input):
        return  # noise that is no dropout: the importer refuses its operator
    for value in graph.output:
        value.name = same.get(value.name, value.name)
    del graph.node[:]
    graph.node.extend(kept)


def _separate_settings(graph: onnx.GraphProto) -> None:
    """Make constants of initialisers that are settings, and initialisers of constants that are weights."""
    initialisers = {tensor.name: tensor for tensor in graph.initializer}
    constants = {node.output[0]: node for node in graph.node if node.op_type == "Constant"}
    added = []
    for node in list(graph.node):
        for index in _SETTINGS.get(node.op_type, ()):
            if index < len(node.input) and node.input[index] in initialisers:
                setting = f"{node.input[index]}.{node.output[0]}.{index}"
                value = numpy_helper.to_array(initialisers[node.input[index]])
                added.append(constant_node(setting, value))
                node.input[index] = setting
        for index in _PARAMETERS.get(node.op_type, ()):
            constant = constants.get(node.input[index]) if index < len(node.input) else None
            if constant is None:
                continue
            if (
                node.op_type in _OPTIONAL_BIAS
                and index == 2
                and not numpy_helper.to_array(constant.attribute[0].t).any()
            ):
                node.input[index] = ""  # torch's exporter writes zeros where a layer has no bias
            else:
                tensor = onnx.TensorProto()
                tensor.CopyFrom(constant.attribute[0].t)
                tensor.name = constant.output[0]
                graph.initializer.append(tensor)
                graph.node.remove(constant)
                del constants[tensor.name]
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    read = set(read_tensors(nodes, graph))
    for tensor in [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)
    for value in [v for v in graph.input if v.name in initialisers]:
        graph.input.remove(value)


def _name_anonymous(graph: onnx.GraphProto) -> None:
    """Name initialisers that torch's exporter computed ("onnx::Conv_12") after the layer that reads them."""
    names = {tensor.name for tensor in graph.initializer}
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, index))
    for tensor in graph.initializer:
        uses = readers.get(tensor.name, [])
        if not tensor.name.startswith("onnx::") or len(uses) != 1:
            continue
        node, index = uses[0]
        usual = _USUAL_NAMES.get(node.op_type, {}).get(index)
        name = f"{node.name}.{usual}"
        if usual is not None and name not in names:
            names.add(name)
            tensor.name = name
            node.input[index] = name


def _check_types(graph: onnx.GraphProto, name: str, quantized: bool) -> None:
    types = {value.name: ("input", value.type.tensor_type.elem_type) for value in graph.input}
    types |= {tensor.name: ("parameter", tensor.data_type) for tensor in graph.initializer}
    for tensor_name, (what, kind) in types.items():
        is_bytes = quantized and what == "input" and kind in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
        if kind != onnx.TensorProto.FLOAT and not is_bytes:
            dtype = onnx.TensorProto.DataType.Name(kind).lower()
            raise UserError(
                f"{name}: {what} '{tensor_name}' is of type {dtype}: only float32 models can be trained, "
                "so convert it to float32"
            )
