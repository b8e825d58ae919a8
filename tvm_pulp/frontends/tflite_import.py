"""Import of TFLite models that compute in float32, or shall do so."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from tvm import IRModule, relax
from tvm.error import InternalError, OpError

from tvm_pulp.frontends.clean_up import clean_up
from tvm_pulp.frontends.shapes import Dimension, resolve_shapes
from tvm_pulp.frontends.tflite_graph import Graph
from tvm_pulp.frontends.tflite_operators import Converter, Table
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.name_bindings import name_bindings
from tvm_pulp.passes.remove_quantizers import remove_quantizers
from tvm_pulp.passes.rewrite import closed_on_error, reason
from tvm_pulp.target.errors import UserError

FLATBUFFER_ERRORS = (
    AttributeError,
    IndexError,
    OverflowError,
    TypeError,
    UnicodeDecodeError,
    ValueError,
    struct.error,
)
"""What reading a damaged file may raise."""


def import_tflite(
    graph: Graph,
    name: str,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int = 1,
) -> Model:
    """Turn a graph into a `Model`, which computes in float32.

    Parameters
    ----------
    graph : Graph
        Weights that are int8 (a dynamic-range model) are dequantised. In an int8 model activations are not
        quantised any more.
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
    if not graph.is_quantized:
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
    model = remove_quantizers(Model(name, IRModule({"main": function}), inputs, parameters))
    return clean_up(model, batch)


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
    for tensor in graph.scaled_constants:
        table.set_expr(tensor.name, relax.const(graph.value(tensor)))
    converter = Converter(graph, table, builder)
    try:
        with warnings.catch_warnings(), closed_on_error(lambda: builder):
            warnings.simplefilter("ignore")
            with builder.function("main", arguments):
                with builder.dataflow():
                    result = builder.emit_output(converter.convert())
                builder.emit_func_output(result)
    except (AssertionError, InternalError, KeyError, OpError, *FLATBUFFER_ERRORS) as error:
        raise UserError(
            f"{name}: operator {converter.current} cannot be imported: {reason(error)[:200]}"
        ) from error
    return builder.get()["main"], values, converter.names
