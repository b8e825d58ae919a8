"""The replay store in NumPy, bit for bit as the cluster keeps it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from tvm_pulp.oracle.integer import integer_output
from tvm_pulp.oracle.latents import dequantize, pack, requantize, unpack
from tvm_pulp.passes.quantized.graph import QuantizedGraph
from tvm_pulp.passes.quantized.replay_format import replay_format


class ReplayStore:
    """Latents of samples in packed form, with their labels.

    Parameters
    ----------
    graph : QuantizedGraph
        The frozen stage.
    bits : int
        Of a stored value.
    labels : ndarray
        Of the store's slots, ``[capacity, ...]``, as they are before anything is stored.

    Attributes
    ----------
    latents : ndarray of uint8, ``[capacity, bytes of a sample]``
    labels : ndarray
    """

    def __init__(self, graph: QuantizedGraph, bits: int, labels: np.ndarray) -> None:
        self._graph = dataclasses.replace(graph, output_dtype="uint8")
        self._form = replay_format(graph, bits)
        self.labels = labels.copy()
        self.latents = np.zeros((len(labels), self._form.bytes), np.uint8)

    def store(self, inputs: Mapping[str, np.ndarray], labels: np.ndarray, slots: np.ndarray) -> None:
        """Compute the latents of samples and overwrite slots, all different, by them and their labels."""
        integers = requantize(integer_output(self._graph, inputs), self._form.requantization)
        self.latents[slots] = pack(integers.reshape(len(slots), -1), self._form.latents.bits)
        self.labels[slots] = labels

    def replay(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the latents, float32 ``[samples, ...]``, and labels in some slots."""
        elements = math.prod(self._form.shape)
        integers = unpack(self.latents[slots], self._form.latents.bits, elements)
        values = dequantize(integers, self._form.latents)
        return values.reshape(len(slots), *self._form.shape), self.labels[slots]
