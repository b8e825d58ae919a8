"""From a float network and sample data to its integer graph."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.calibration.calibrate import calibrate
from tvm_pulp.calibration.samples import Source, open_samples
from tvm_pulp.passes.fold_batch_norm import fold_batch_norm
from tvm_pulp.passes.model import Model, with_batch
from tvm_pulp.passes.quantized.graph import QuantizedGraph
from tvm_pulp.passes.quantized.quantize import quantize_model


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
    folded = fold_batch_norm(with_batch(model, 1))
    samples = open_samples(options.calibration, folded)
    ranges = calibrate(folded, samples, options.calibrator)
    return folded, quantize_model(folded, ranges, options.weight_bits)
