"""How much each layer of an integer graph differs from the float network: noise, direction, saturation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from tvm_pulp.calibration.calibrate import BATCH, observe_tensors
from tvm_pulp.calibration.samples import Samples
from tvm_pulp.oracle.integer import dequantize, run_integer
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.quantized.graph import Operator, QuantizedGraph, QuantizedTensor
from tvm_pulp.reports.table import table


@dataclass
class LayerError:
    """One tensor of the integer graph beside the float network's, over all samples.

    Attributes
    ----------
    layer, tensor : str
        Of the model.
    values : int
        Elements compared.
    signal, noise, product, square : float
        Sums over the elements of float^2, (float - integer)^2, float * integer and integer^2.
    saturated : int
        Elements at either end of the bytes' range that err by more than a step.
    """

    layer: str
    tensor: str
    values: int = 0
    signal: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    square: float = 0.0
    saturated: int = 0

    @property
    def decibels(self) -> float:
        """Signal-to-noise ratio in dB; infinite without noise."""
        return 10 * float(np.log10(self.signal / self.noise)) if self.noise and self.signal else np.inf

    @property
    def cosine(self) -> float:
        """Cosine of the angle between float and integer tensor; 1 where one of them is 0."""
        norms = float(np.sqrt(self.signal * self.square))
        return self.product / norms if norms else 1.0


def layer_errors(model: Model, graph: QuantizedGraph, samples: Samples) -> list[LayerError]:
    """Run both networks and compare every tensor that they share.

    Parameters
    ----------
    model : Model
        The float network that was quantised, batch norms folded.
    graph : QuantizedGraph
        Of `quantize_model`.
    samples : Samples
        Best others than those of the calibration.

    Returns
    -------
    list of LayerError
        In execution order.
    """
    tensors = {o.output.name: o for o in graph.operators if isinstance(o, Operator)}
    errors = {name: LayerError(operator.layer, name) for name, operator in tensors.items()}
    compared: set[str] = set()
    for batch in samples.batches(BATCH):
        integers = run_integer(graph, batch)

        def observe(name: str, exact: torch.Tensor, integers: dict[str, np.ndarray] = integers) -> None:
            if name in errors:
                compared.add(name)
                _add(errors[name], exact.numpy(), integers[name], tensors[name].output)

        observe_tensors(model, [batch], observe)
    return [error for name, error in errors.items() if name in compared]


def _add(error: LayerError, exact: np.ndarray, integers: np.ndarray, tensor: QuantizedTensor) -> None:
    exact, found = exact.astype(np.float64), dequantize(integers, tensor).astype(np.float64)
    error.values += exact.size
    error.signal += float((exact**2).sum())
    error.noise += float(((exact - found) ** 2).sum())
    error.product += float((exact * found).sum())
    error.square += float((found**2).sum())
    at_an_end = (integers == 0) | (integers == 255)
    error.saturated += int((at_an_end & (np.abs(exact - found) > tensor.scale)).sum())


def quantization_report(errors: list[LayerError], worst: int = 3) -> str:
    """A table of all layers, and the names of those that lose most from their input to their output."""
    rows = [
        [
            error.layer,
            f"{error.decibels:.1f}",
            f"{error.cosine:.6f}",
            f"{error.saturated}",
            f"{100 * error.saturated / error.values:.3f}%",
        ]
        for error in errors
    ]
    losses = [(before.decibels - after.decibels, after.layer) for before, after in itertools.pairwise(errors)]
    most = [f"{layer} ({loss:.1f} dB)" for loss, layer in sorted(losses, reverse=True)[:worst] if loss > 0]
    text = table(["layer", "signal/noise dB", "cosine", "saturated", "share"], rows)
    return text + (f"\nlayers that lose most: {', '.join(most)}" if most else "")
