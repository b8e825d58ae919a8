"""Batch norms in training mode: forward with the statistics of the batch, and all gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tvm_pulp.measure.specification import SOURCE, Key, Specification
from tvm_pulp.measure.workloads.workload import Cost, Expected, Kind, Workload
from tvm_pulp.passes.operators.batch_norm import Activation, batch_norm_training
from tvm_pulp.passes.operators.batch_norm_gradient import batch_norm_gradient

_EPSILON = 1e-5
_AXES = (0, 2, 3)


def _channels(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64).reshape(1, -1, 1, 1)


def _make(s: Specification) -> Workload:
    shape = s.number("batch"), s.number("channels"), s.number("h"), s.number("w")
    activation = Activation(rectifies=s.word("relu") == "yes")
    cost = _cost(math.prod(shape), s.word("step") == "forward", activation.rectifies)
    if s.word("step") == "forward":
        function = batch_norm_training("kernel", "batch_norm", shape, _EPSILON, activation, biased=False)
        return Workload(s, function, _forward(activation), cost)
    function = batch_norm_gradient(
        "kernel", "batch_norm", shape, activation, biased=False, data_gradient=True
    )
    return Workload(s, function, _backward(activation), cost)


def _cost(elements: int, forward: bool, rectifies: bool) -> Cost:
    """Return the fewest operations in two sweeps over the data.

    Forward: sum, sum of squares, a multiply-add; backward: two sums, two multiply-adds. With a rectifier, its
    maximum forward, and backward its input once more (a multiply-add) and the mask, two instructions. Each
    sweep loads what it reads, the second one stores.
    """
    floats = 3 if forward else 4 + rectifies
    others = 3 + rectifies if forward else 5 + 2 * rectifies
    return Cost(float_operations=floats * elements, instructions=(floats + others) * elements)


def _forward(activation: Activation) -> Expected:
    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        data, scale, offset = arrays[0].astype(np.float64), _channels(arrays[1]), _channels(arrays[2])
        mean, variance = data.mean(_AXES), data.var(_AXES)
        inverse = 1 / np.sqrt(variance + _EPSILON)
        output = (data - _channels(mean)) * _channels(inverse) * scale + offset
        output = np.maximum(output, 0) if activation.rectifies else output
        return {3: output, 4: mean, 5: variance, 6: inverse}

    return expected


def _backward(activation: Activation) -> Expected:
    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        gradient, data = arrays[0].astype(np.float64), arrays[1].astype(np.float64)
        mean, inverse, scale, offset = (_channels(array) for array in arrays[2:6])
        normal = (data - mean) * inverse
        if activation.rectifies:
            gradient = np.where(normal * scale + offset > 0, gradient, 0)
        by_scale, by_offset = (gradient * normal).sum(_AXES), gradient.sum(_AXES)
        share = 1.0 / (data.size / data.shape[1])
        rest = gradient - _channels(by_offset) * share - normal * _channels(by_scale) * share
        return {6: rest * inverse * scale, 7: by_scale, 8: by_offset}

    return expected


KINDS = {
    "batch_norm": Kind(
        [
            Key("channels"),
            Key("h"),
            Key("w"),
            Key("batch", 1),
            Key("relu", "no", ("no", "yes")),
            Key("step", "forward", ("forward", "data-grad")),
            SOURCE,
        ],
        _make,
    )
}
