"""From a float network and sample data to its integer graph, or to the frozen stage of one that learns."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tvm_pulp.calibration.calibrate import calibrate
from tvm_pulp.calibration.channel_ranges import channel_ranges
from tvm_pulp.calibration.samples import Samples, Source, open_samples
from tvm_pulp.frontends.clean_up import clean_up
from tvm_pulp.passes.equalize_layers import equalize_layers, equalized_activations
from tvm_pulp.passes.fold_batch_norm import fold_batch_norm
from tvm_pulp.passes.inference_graph import build_inference
from tvm_pulp.passes.model import Model, with_batch
from tvm_pulp.passes.quantized.graph import QuantizedGraph
from tvm_pulp.passes.quantized.integer_stage import IntegerStage, QuantizedNetwork, Stage
from tvm_pulp.passes.quantized.lower_graph import build_integer_inference
from tvm_pulp.passes.remove_quantizers import remove_quantizers
from tvm_pulp.passes.split_at_latent import split_at_latent, split_at_softmax
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.trained_part import trained_parameters
from tvm_pulp.passes.training_graph import TrainingGraph, build_training
from tvm_pulp.reports.quantization import layer_errors

COMPARED_SAMPLES = 64
"""Calibration samples by which two integer networks are compared: enough for tenths of a dB."""


@dataclass(frozen=True)
class Quantization:
    """How to quantise a network.

    Attributes
    ----------
    calibration : path or mapping
        Samples, see `open_samples`.
    calibrator : str
        "min-max", "percentile", "percentile:99.9" or "mse".
    weight_bits : int
        8 or 4.
    """

    calibration: Source
    calibrator: str = "min-max"
    weight_bits: int = 8


def integer_network(model: Model, options: Quantization) -> tuple[Model, QuantizedGraph]:
    """Quantise a network.

    Parameters
    ----------
    model : Model
        In canonical form.
    options : Quantization
        Where the samples are, and how to choose ranges from them.

    Returns
    -------
    model : Model
        Batch 1, batch norms folded.
    graph : QuantizedGraph
        Of that model.

    Raises
    ------
    UserError
        For bad samples, or a layer that has no integer form.
    """
    stage = integer_stage(model, options)
    return stage.model, stage.graph(stage.model.batch)


def integer_stage(model: Model, options: Quantization) -> IntegerStage:
    """Quantise a network for any batch size; see `integer_network`.

    Where channels of an activation have ranges that differ much, its layers are equalised (`equalize_layers`)
    if the output has less noise then.
    """
    folded = fold_batch_norm(with_batch(model, 1))
    samples = open_samples(options.calibration, folded)
    stage = _calibrated(folded, samples, options)
    few = samples.first(COMPARED_SAMPLES)
    equalized = equalize_layers(folded, channel_ranges(folded, few, equalized_activations(folded)))
    if equalized is folded:
        return stage
    other = _calibrated(equalized, samples, options)
    return max(stage, other, key=lambda s: layer_errors(s.model, s.graph(1), few)[-1].decibels)


def _calibrated(model: Model, samples: Samples, options: Quantization) -> IntegerStage:
    stage = IntegerStage(model, calibrate(model, samples, options.calibrator), options.weight_bits)
    stage.graph(model.batch)  # refuses what has no integer form before anything is built on it
    return stage


def infer_in_integers(model: Model, options: Quantization) -> tuple[TrainingGraph, IntegerStage]:
    """Build the inference graph of a network in integers, all but a softmax at its end.

    Parameters
    ----------
    model : Model
        In canonical form.
    options : Quantization
        Of all its layers.

    Returns
    -------
    graph : TrainingGraph
        With the function ``infer`` only.
    stage : IntegerStage
        The network, or the part before the softmax.

    Raises
    ------
    UserError
        As `integer_network` does.
    """
    split = split_at_softmax(model)
    if split is None:
        stage = integer_stage(model, options)
        return build_integer_inference(stage.graph(stage.model.batch)), stage
    stage = integer_stage(split.frozen, options)
    return build_inference(split.trained, stage), stage


def train_on_latents(
    model: Model, config: TrainConfig, options: Quantization
) -> tuple[TrainingGraph, IntegerStage]:
    """Build the training graph of a network whose first layers are frozen in integers.

    Parameters
    ----------
    model : Model
        In canonical form.
    config : TrainConfig
        With its `latent_layer`.
    options : Quantization
        Of the frozen stage.

    Returns
    -------
    graph : TrainingGraph
        Its model is the part behind the latents.
    stage : IntegerStage
        The part before.

    Raises
    ------
    UserError
        If the layer does not cut the network in two, or as `integer_network` and `build_training` do.
    """
    assert config.latent_layer is not None
    split = split_at_latent(model, config.latent_layer)
    trained_parameters(split.trained, config.trainable, config.freeze_until)  # refuses before the calibration
    stage = integer_stage(split.frozen, options)
    return build_training(split.trained, config, stage), stage


def train_on_imported_latents(imported: QuantizedNetwork, config: TrainConfig) -> tuple[TrainingGraph, Stage]:
    """Build the training graph of a network that came quantised: its first layers stay in integers.

    Those behind the latents compute in float32 and start from their dequantised weights; activations are not
    quantised there any more.

    Parameters
    ----------
    imported : QuantizedNetwork
        The whole network.
    config : TrainConfig
        With its `latent_layer`.

    Returns
    -------
    graph : TrainingGraph
        Its model is the part behind the latents.
    stage : Stage
        The part before.

    Raises
    ------
    UserError
        If the layer does not cut the network in two, or as `build_training` does.
    """
    assert config.latent_layer is not None
    split = split_at_latent(imported.model, config.latent_layer)
    # PyTorch keeps quantised weights as buffers
    weights = replace(split.trained, buffers=split.trained.buffers - imported.scales.keys())
    trained = clean_up(remove_quantizers(weights), 1)
    stage = imported.up_to(split)
    stage.graph(1)  # refuses what has no form in integers or float before anything is built on it
    return build_training(trained, config, stage), stage
