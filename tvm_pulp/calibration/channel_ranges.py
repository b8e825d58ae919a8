"""Largest magnitude of each channel of some tensors, over samples."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from tvm_pulp.calibration.calibrate import BATCH, observe_tensors
from tvm_pulp.calibration.samples import Samples
from tvm_pulp.passes.model import Model


def channel_ranges(model: Model, samples: Samples, names: Collection[str]) -> dict[str, np.ndarray]:
    """Run the float network on samples.

    Parameters
    ----------
    model : Model
        In canonical form.
    samples : Samples
        Of its inputs.
    names : collection of str
        Of variables of its function, ``[batch, channels, ...]``.

    Returns
    -------
    dict of str to ndarray of float32, ``[channels]``
    """
    found: dict[str, torch.Tensor] = {}

    def observe(name: str, tensor: torch.Tensor) -> None:
        if name in names:
            largest = tensor.abs().transpose(0, 1).flatten(1).amax(dim=1)
            found[name] = torch.maximum(found[name], largest) if name in found else largest

    observe_tensors(model, samples.batches(BATCH), observe)
    return {name: largest.numpy() for name, largest in found.items()}
