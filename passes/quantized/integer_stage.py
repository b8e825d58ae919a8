"""The frozen stage of a network that learns: everything before the latents, in integers."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tvm import relax

from tvm_pulp.passes.model import Model, with_batch
from tvm_pulp.passes.quantized.graph import QuantizedGraph
from tvm_pulp.passes.quantized.imported import imported_graph
from tvm_pulp.passes.quantized.lower_ends import integer_inputs
from tvm_pulp.passes.quantized.lower_graph import (
    emit_integer_graph,
    integer_parameters,
    parameter_variables,
)
from tvm_pulp.passes.quantized.quantize import quantize_model
from tvm_pulp.passes.quantized.replay_format import ReplayFormat, replay_format
from tvm_pulp.passes.quantized.walk import Ranges
from tvm_pulp.passes.split_at_latent import Split


class Stage(abc.ABC):
    """Layers that compute in integers for any batch size; its output are the latents.

    Attributes
    ----------
    model : Model
    """

    model: Model

    @abc.abstractmethod
    def graph(self, batch: int) -> QuantizedGraph:
        """Make the integer graph for a batch size."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return self.model.inputs

    @functools.cached_property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """What the kernels read, by name; the same for every batch size."""
        return integer_parameters(self.graph(self.model.batch))

    def input_variables(self, batch: int) -> list[relax.Var]:
        """Make variables for the inputs of a batch."""
        return integer_inputs(self.graph(batch))

    def parameter_variables(self) -> dict[str, relax.Var]:
        """Make variables for the parameters, by name."""
        return parameter_variables(self.parameters)

    def emit(
        self,
        builder: relax.BlockBuilder,
        inputs: Sequence[relax.Var],
        parameters: Mapping[str, relax.Var],
        batch: int,
        dtype: str = "float32",
    ) -> relax.Var:
        """Emit the kernels; the result are the latents, float32 or uint8 ``[batch, ...]``."""
        graph = dataclasses.replace(self.graph(batch), output_dtype=dtype)
        return emit_integer_graph(builder, graph, inputs, parameters, "latents")

    def replay_format(self, bits: int) -> ReplayFormat:
        """Choose how the latents are kept for replay, see `replay_format`."""
        return replay_format(self.graph(1), bits)


@dataclass(frozen=True)
class IntegerStage(Stage):
    """A network that is quantised here.

    Attributes
    ----------
    model : Model
        In float32, batch norms folded.
    ranges : mapping of str to (float, float)
        Of `calibrate`.
    weight_bits : int
        8 or 4.
    """

    model: Model
    ranges: Ranges
    weight_bits: int = 8

    def graph(self, batch: int) -> QuantizedGraph:
        """Quantise for a batch size."""
        return quantize_model(with_batch(self.model, batch), self.ranges, self.weight_bits)


class QuantizedNetwork(Protocol):
    """A network that came quantised, whole."""

    @property
    def name(self) -> str:
        """Name of the network."""

    @property
    def model(self) -> Model:
        """What it computes; `remove_quantizers` makes it compute in float32."""

    @property
    def scales(self) -> Mapping[str, np.ndarray]:
        """Scales of the weights, float32, by the names of the parameters that are bytes in the file."""

    def graph(self, batch: int) -> QuantizedGraph:
        """Make the integer graph of all layers for a batch size."""

    def up_to(self, split: Split) -> Stage:
        """Give the layers up to a cut of `model`."""


@dataclass(frozen=True)
class ImportedStage(Stage):
    """A network that came quantised, or the first layers of one.

    Attributes
    ----------
    model : Model
        With `quantize` and `dequantize`, see `imported_graph`.
    scales : mapping of str to ndarray of float32
        Of the weights, by the parameters' names.
    divides : bool
        Whether inputs are divided by their scale.
    """

    model: Model
    scales: Mapping[str, np.ndarray]
    divides: bool

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.model.name

    def graph(self, batch: int) -> QuantizedGraph:
        """Make the integer graph for a batch size."""
        return imported_graph(with_batch(self.model, batch), self.scales, self.divides)

    def up_to(self, split: Split) -> ImportedStage:
        """Give the layers up to a cut of `model`."""
        return dataclasses.replace(self, model=split.frozen)
