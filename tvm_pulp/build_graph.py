"""From an imported network to the graph that is compiled, in float32, in integers or in part in either."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.calibration.samples import open_samples
from tvm_pulp.frontends import Imported
from tvm_pulp.passes.inference_graph import build_inference
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.quantized.graph import QuantizedGraph
from tvm_pulp.passes.quantized.integer_stage import IntegerStage, QuantizedNetwork
from tvm_pulp.passes.quantized.lower_graph import build_integer_inference
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.training_graph import TrainingGraph, build_training
from tvm_pulp.quantization import (
    COMPARED_SAMPLES,
    Quantization,
    infer_in_integers,
    train_on_imported_latents,
    train_on_latents,
)
from tvm_pulp.reports.integer_layers import integer_layers_report
from tvm_pulp.reports.quantization import layer_errors, quantization_report
from tvm_pulp.target.errors import UserError


@dataclass(frozen=True)
class BuiltGraph:
    """The graph, and what of it is in integers.

    Attributes
    ----------
    graph : TrainingGraph
    integers : QuantizedGraph or None
        By which the latents, or the output, can be computed in NumPy.
    report : str
        What the layers of that lose, or what they compute in.
    """

    graph: TrainingGraph
    integers: QuantizedGraph | None = None
    report: str = ""


def build_graph(
    imported: Imported, train: TrainConfig | None, quantization: Quantization | None
) -> BuiltGraph:
    """Build the graph of a package.

    Parameters
    ----------
    imported : Model or QuantizedNetwork
        Of `load_source`.
    train : TrainConfig or None
        What to train and how; None for inference.
    quantization : Quantization or None
        How to quantise a network in float32, or its layers up to the latents.

    Raises
    ------
    UserError
        If the network, `train` and `quantization` do not go together, or a layer cannot be computed.
    """
    if not isinstance(imported, Model):
        return _quantized(imported, train, quantization)
    _check_latent_layer(train, quantization)
    if quantization is not None:
        graph, stage = (
            infer_in_integers(imported, quantization)
            if train is None
            else train_on_latents(imported, train, quantization)
        )
        return BuiltGraph(graph, stage.graph(1), _losses(stage, quantization))
    return BuiltGraph(build_inference(imported) if train is None else build_training(imported, train))


def _quantized(
    imported: QuantizedNetwork, train: TrainConfig | None, quantization: Quantization | None
) -> BuiltGraph:
    """Build the graph of a network that came quantised."""
    name = imported.name
    if quantization is not None:
        raise UserError(f"{name}: the model is quantised already: leave out the calibration")
    if train is None:
        integers = imported.graph(1)
        return BuiltGraph(build_integer_inference(integers), integers, integer_layers_report(integers))
    if train.latent_layer is None:
        raise UserError(
            f"{name}: the model is quantised: name the layer up to which it stays so (--latent-layer), those "
            "behind it train in float32; or start from the float network"
        )
    graph, stage = train_on_imported_latents(imported, train)
    integers = stage.graph(1)
    return BuiltGraph(graph, integers, integer_layers_report(integers))


def _check_latent_layer(train: TrainConfig | None, quantization: Quantization | None) -> None:
    if train is None:
        return
    if train.latent_layer is None and quantization is not None:
        raise UserError(
            "a network that trains is quantised up to its latent layer only: name it (--latent-layer), or "
            "leave out the calibration"
        )
    if train.latent_layer is not None and quantization is None:
        raise UserError(
            f"latent layer '{train.latent_layer}': the layers up to it are quantised, so give sample data "
            "(--calibration); to freeze them in float32 name the layer by --freeze-until"
        )


def _losses(stage: IntegerStage, options: Quantization) -> str:
    """Compare the integer graph with the float network on the first samples."""
    samples = open_samples(options.calibration, stage.model).first(COMPARED_SAMPLES)
    return quantization_report(layer_errors(stage.model, stage.graph(1), samples))
