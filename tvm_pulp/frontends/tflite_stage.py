"""An int8 TFLite network, and the first layers of one that stay in integers while the others train."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tvm_pulp.frontends.tflite_graph import Graph
from tvm_pulp.frontends.tflite_import import import_tflite
from tvm_pulp.frontends.tflite_quantized import import_quantized_tflite
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.quantized.graph import QuantizedGraph
from tvm_pulp.passes.quantized.integer_stage import Stage
from tvm_pulp.passes.split_at_latent import Split


@dataclass(frozen=True)
class TFLiteStage(Stage):
    """The layers of an int8 TFLite network up to its latents.

    Attributes
    ----------
    model : Model
        What they compute, in float32.
    file : Graph
        The whole network.
    latent : str
        The layer that yields the latents.
    """

    model: Model
    file: Graph
    latent: str

    def graph(self, batch: int) -> QuantizedGraph:
        """Make the integer graph for a batch size."""
        return import_quantized_tflite(self.file, batch, self.latent)


class QuantizedTFLite:
    """A whole int8 TFLite network."""

    def __init__(self, file: Graph) -> None:
        self.file = file

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.file.model_name

    @functools.cached_property
    def model(self) -> Model:
        """What the network computes, in float32, its weights dequantised; UserError where that cannot be."""
        return import_tflite(self.file, self.name)

    @property
    def scales(self) -> Mapping[str, np.ndarray]:
        """Of the parameters that are bytes in the file: of none, as `model` has their values."""
        return {}

    def graph(self, batch: int) -> QuantizedGraph:
        """Make the integer graph of all layers for a batch size."""
        return import_quantized_tflite(self.file, batch)

    def up_to(self, split: Split) -> TFLiteStage:
        """Give the layers up to a cut of `model`."""
        layer = split.latent
        while layer not in self.file.layers:  # an activation function in float32 has a name below its layer's
            layer = layer.rpartition(".")[0]
        return TFLiteStage(split.frozen, self.file, layer)
