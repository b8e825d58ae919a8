"""Import of TFLite models; those with float activations here."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tflite
from tvm import IRModule, relax
from tvm.error import InternalError, OpError

from tvm_pulp.frontends.clean_up import clean_up
from tvm_pulp.frontends.shapes import Dimension, resolve_shapes
from tvm_pulp.frontends.tflite_graph import Graph
from tvm_pulp.frontends.tflite_operators import Converter, Table
from tvm_pulp.frontends.tflite_quantized import import_quantized_tflite
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.name_bindings import name_bindings
from tvm_pulp.passes.quantized.graph import QuantizedGraph
from tvm_pulp.passes.rewrite import closed_on_error, reason
from tvm_pulp.target.errors import UserError

_FLATBUFFER_ERRORS = (
    AttributeError,
    IndexError,
    OverflowError,
    TypeError,
    UnicodeDecodeError,
    ValueError,
    struct.error,
)


def load_tflite(
    path: Path,
    name: str,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int = 1,
) -> Model | QuantizedGraph:
    """Import a `.tflite` file: an int8 model as an integer graph, others as `import_tflite` does.

    Parameters
    ----------
    path : Path
        The model; its first subgraph is imported.
    name : str
        Name of the model.
    input_shapes : mapping, optional
        Checked against the shapes in the file, which are fixed beside the batch.
    batch : int
        Batch size of a float model; int8 models have batch 1.

    Raises
    ------
    UserError
        For a damaged file or an operator that is not supported.
    """
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise UserError(f"{path}: not a TFLite model (its identifier is missing): convert the model again")
    try:
        graph = Graph(tflite.Model.GetRootAsModel(data, 0), name)
        if graph.is_quantized:
            return import_quantized_tflite(graph)
    except _FLATBUFFER_ERRORS as error:
        raise UserError(f"{path}: damaged TFLite model ({reason(error)[:120]}): convert it again") from error
    return import_tflite(graph, name, input_shapes=input_shapes, batch=batch)


def import_tflite(
    graph: Graph,
    name: str,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int = 1,
) -> Model:
    """Turn a graph whose activations are float32 into a `Model`.

    Parameters
    ----------
    graph : Graph
        Weights that are int8 (a dynamic-range model) are dequantised.
    name : str
        Name of the model.
    input_shapes : mapping, optional
        Checked against the shapes in the file, which are fixed beside the batch.
    batch : int
        Batch size of the model.

    Returns
    -------
    Model
        In canonical form; inputs keep their NHWC layout. Weights and biases of convolutions and fully
        connected layers are parameters, named after their layers ("conv2d_1.weight"); other constants are
        buffers.

    Raises
    ------
    UserError
        For an operator or type that is not supported.
    """
    graph.check()
    dimensions: dict[str, list[Dimension]] = {i.name: list(i.signature) for i in graph.inputs}
    shapes = resolve_shapes(name, dimensions, input_shapes, batch)
    for tensor in graph.inputs:
        if tuple(shapes[tensor.name][1:]) != tensor.shape[1:]:
            raise UserError(
                f"{name}: input '{tensor.name}' has the shape {list(tensor.shape)} in the file, where it is "
                "fixed: "
                "resize the model before converting it to TFLite"
            )
    function, values, names = _convert(graph, name)
    function = name_bindings(function, names, values)
    inputs = tuple(tensor.name for tensor in graph.inputs)
    parameters = {v.name: values[v.name] for v in function.params if v.name in values}
    return clean_up(Model(name, IRModule({"main": function}), inputs, parameters), batch)


def _convert(graph: Graph, name: str) -> tuple[relax.Function, dict[str, np.ndarray], dict[relax.Var, str]]:
    table = Table()
    arguments = []
    for tensor in graph.inputs:
        arguments.append(relax.Var(tensor.name, relax.TensorType(tensor.shape, "float32")))
    values = {tensor.name: graph.value(tensor) for tensor in graph.parameters}
    for parameter, value in values.items():
        arguments.append(relax.Var(parameter, relax.TensorType(value.shape, "float32")))
    for argument in arguments:
        table.set_expr(argument.name, argument)
    builder = relax.BlockBuilder()
    converter = Converter(graph, table, builder)
    try:
        with warnings.catch_warnings(), closed_on_error(lambda: builder):
            warnings.simplefilter("ignore")
            with builder.function("main", arguments):
                with builder.dataflow():
                    result = builder.emit_output(converter.convert())
                builder.emit_func_output(result)
    except (AssertionError, InternalError, KeyError, OpError, *_FLATBUFFER_ERRORS) as error:
        raise UserError(
            f"{name}: operator {converter.current} cannot be imported: {reason(error)[:200]}"
        ) from error
    return builder.get()["main"], values, converter.names
