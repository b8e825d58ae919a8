"""Run the float network on sample data and find the range of every tensor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from tqdm import tqdm

from tvm_pulp.calibration.calibrators import Range, calibrator
from tvm_pulp.calibration.histogram import Histogram
from tvm_pulp.calibration.samples import Samples
from tvm_pulp.oracle.forward import forward
from tvm_pulp.passes.model import Model, with_batch
from tvm_pulp.passes.quantized.quantize import needed_ranges
from tvm_pulp.target.errors import UserError

BATCH = 16
"""Samples a pass: enough to keep PyTorch busy, few enough that the activations fit the caches."""


def calibrate(model: Model, samples: Samples, method: str = "min-max") -> dict[str, Range]:
    """Find the ranges of the tensors that a model has when it is quantised.

    Parameters
    ----------
    model : Model
        In canonical form, batch norms folded.
    samples : Samples
        Of `open_samples`; they are read once, a few at a time.
    method : str
        See `calibrator`.

    Returns
    -------
    dict of str to (float, float)
        By the names of the inputs and of the function's variables.

    Raises
    ------
    UserError
        If a layer has no integer form, or if a tensor is not finite for some sample.
    """
    choose = calibrator(method)
    names = needed_ranges(model)
    histograms: dict[str, Histogram] = {}

    def observe(name: str, tensor: torch.Tensor) -> None:
        if name not in names:
            return
        try:
            histograms.setdefault(name, Histogram()).add(tensor.numpy())
        except ValueError as error:
            raise UserError(
                f"{model.name}: tensor '{name}' becomes NaN or infinite for the calibration data: "
                "check the data and the parameters"
            ) from error

    bar = tqdm(total=samples.count, desc="calibrate", unit="sample", disable=not sys.stderr.isatty(), delay=1)
    with bar:
        observe_tensors(model, samples.batches(BATCH), observe, bar.update)
    return {name: choose(histogram) for name, histogram in histograms.items()}


def observe_tensors(
    model: Model,
    batches: Iterable[Mapping[str, np.ndarray]],
    observe: Callable[[str, torch.Tensor], None],
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Run the float network and show every input and every variable of its function to a function.

    Parameters
    ----------
    model : Model
        In canonical form, of any batch size.
    batches : iterable of mapping of str to ndarray
        ``[batch, ...]`` by input name.
    observe : callable
        ``observe(name, tensor)``.
    progress : callable
        Told the samples of a batch when it is done.
    """
    parameters = {name: torch.from_numpy(np.array(value)) for name, value in model.parameters.items()}
    models = {model.batch: model}
    with torch.no_grad():
        for batch in batches:
            count = len(next(iter(batch.values())))
            if count not in models:
                models[count] = with_batch(model, count)
            inputs = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in batch.items()}
            for name, tensor in inputs.items():
                observe(name, tensor)
            forward(models[count], inputs, parameters, observe=observe)
            progress(count)
