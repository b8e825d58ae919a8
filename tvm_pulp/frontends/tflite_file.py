"""Read a TFLite file, of float32 or of int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import tflite

from tvm_pulp.frontends.tflite_graph import Graph
from tvm_pulp.frontends.tflite_import import FLATBUFFER_ERRORS, import_tflite
from tvm_pulp.frontends.tflite_stage import QuantizedTFLite
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import reason
from tvm_pulp.target.errors import UserError


def load_tflite(
    path: Path,
    name: str,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int = 1,
) -> Model | QuantizedTFLite:
    """Import a `.tflite` file: an int8 model so that it can be cut in two, others as `import_tflite` does.

    Parameters
    ----------
    path : Path
        The model; its first subgraph is imported.
    name : str
        Name of the model.
    input_shapes : mapping, optional
        Checked against the shapes in the file, which are fixed beside the batch.
    batch : int
        Batch size of a float model.

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
            network = QuantizedTFLite(graph)
            network.graph(1)  # refuses what has no integer form
            return network
    except FLATBUFFER_ERRORS as error:
        raise UserError(f"{path}: damaged TFLite model ({reason(error)[:120]}): convert it again") from error
    return import_tflite(graph, name, input_shapes=input_shapes, batch=batch)
