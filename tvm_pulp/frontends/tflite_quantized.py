"""Import of TFLite models that are quantised to int8 throughout, with TFLite's own arithmetic."""

from __future__ import annotations

from tvm_pulp.frontends.tflite_graph import Graph
from tvm_pulp.frontends.tflite_quantized_elementwise import ELEMENTWISE
from tvm_pulp.frontends.tflite_quantized_importer import Converter, Importer, Node
from tvm_pulp.frontends.tflite_quantized_layers import LAYERS
from tvm_pulp.frontends.tflite_quantized_movement import MOVEMENT
from tvm_pulp.frontends.tflite_quantized_operators import OPERATORS
from tvm_pulp.passes.quantized.graph import QuantizedGraph
from tvm_pulp.target.errors import UserError

CONVERTERS: dict[str, Converter] = {**LAYERS, **ELEMENTWISE, **MOVEMENT, **OPERATORS}


def import_quantized_tflite(graph: Graph) -> QuantizedGraph:
    """Turn a TFLite graph of int8 tensors into an integer graph.

    Images are NCHW in the result; inputs and the output keep the layout that the user knows, NHWC. Signed
    bytes become unsigned ones: 128 is added to them and to their zero points.

    Raises
    ------
    UserError
        For an operator or a type that is not supported, naming the layer.
    """
    importer = Importer(graph)
    for tensor in graph.inputs:
        importer.input(tensor.index)
    for position, (kind, layer) in enumerate(zip(graph.kinds, graph.layers, strict=True)):
        if kind not in CONVERTERS:
            raise UserError(
                f"{graph.model_name}: operator {position} ({kind}) in layer '{layer}' has no integer form: "
                f"compile the float network with --calibration, or use {', '.join(sorted(CONVERTERS))}"
            )
        CONVERTERS[kind](importer, Node(graph, position))
    return importer.finish()
