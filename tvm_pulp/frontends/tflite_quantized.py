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


def import_quantized_tflite(graph: Graph, samples: int = 1, latent: str | None = None) -> QuantizedGraph:
    """Turn a TFLite graph of int8 tensors into an integer graph.

    Images are NCHW in the result; inputs and the output keep the layout that the user knows, NHWC. Signed
    bytes become unsigned ones: 128 is added to them and to their zero points.

    Parameters
    ----------
    graph : Graph
    samples : int
        Batch of the result, whatever the file's is.
    latent : str, optional
        Layer whose result the graph ends with, in float32 and NCHW, instead of the network's output.

    Raises
    ------
    UserError
        For an operator or a type that is not supported, naming the layer.
    """
    importer = Importer(graph, samples)
    for tensor in graph.inputs:
        importer.input(tensor.index)
    for position, (kind, layer) in enumerate(zip(graph.kinds, graph.layers, strict=True)):
        if kind not in CONVERTERS:
            raise UserError(
                f"{graph.model_name}: operator {position} ({kind}) in layer '{layer}' has no integer form: "
                f"compile the float network with --calibration, or use {', '.join(sorted(CONVERTERS))}"
            )
        CONVERTERS[kind](importer, Node(graph, position))
        if layer == latent:
            return importer.up_to(layer)
    return importer.finish()
