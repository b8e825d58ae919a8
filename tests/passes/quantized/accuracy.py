"""Accuracy of integer networks and of learning on latents, for the tests on digits and on CIFAR-10."""

from __future__ import annotations

import numpy as np

from tvm_pulp.oracle import latents as uint_q
from tvm_pulp.oracle.integer import dequantize, run_integer
from tvm_pulp.passes.quantized.graph import QuantizedGraph
from tvm_pulp.passes.quantized.uint_q import UintQ

BITS = (8, 7, 6)
MOST_POINTS_LOST = {8: 0.3, 7: 1.0, 6: 3.0}
"""By replays of so many bits, in the mean over the seeds."""
MOST_POINTS_OF_INTEGERS = 0.5


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Percentage of right answers."""
    return 100 * float((logits.argmax(1) == labels).mean())


def outputs(graph: QuantizedGraph, x: np.ndarray, batch: int = 100) -> np.ndarray:
    """Float32 outputs of an integer graph, some samples at a time."""
    parts = [x[start : start + batch] for start in range(0, len(x), batch)]
    name, output = graph.inputs[0], graph.output
    return np.concatenate(
        [dequantize(run_integer(graph, {name: part})[output.name], output) for part in parts]
    )


def replayed(latents: np.ndarray, bits: int) -> np.ndarray:
    """Latents as they come out of a replay memory of so many bits; 32 keeps them as they are."""
    if bits == 32:
        return latents
    form = UintQ.from_range(0.0, float(latents.max()), bits)
    return uint_q.dequantize(uint_q.quantize(latents, form), form)


def losses(of: list[float], against: list[float], what: str) -> np.ndarray:
    """Points lost, a number a seed, printed with their spread."""
    lost = np.array(of) - np.array(against)
    print(f"{what}: {lost.mean():+.2f} points lost, seeds from {lost.min():+.2f} to {lost.max():+.2f}")
    return lost
