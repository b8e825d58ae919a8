"""Softmax and the cross-entropy of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tvm_pulp.measure.specification import SOURCE, Key, Specification
from tvm_pulp.measure.workloads.workload import Cost, Kind, Workload
from tvm_pulp.passes.operators.cross_entropy import (
    cross_entropy,
    cross_entropy_gradient,
    cross_entropy_training,
)
from tvm_pulp.passes.operators.softmax import softmax

_MAKERS = {
    "forward": cross_entropy,
    "data-grad": cross_entropy_gradient,
    "training": cross_entropy_training,
}
_EXPONENTIAL = 8
"""Instructions that an exponential takes at least: reduction to a small range, a polynomial, scaling."""


def _probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _cost(shape: tuple[int, int]) -> Cost:
    elements = shape[0] * shape[1]
    return Cost(float_operations=elements * _EXPONENTIAL, instructions=elements * (_EXPONENTIAL + 2))


def _make_softmax(s: Specification) -> Workload:
    shape = s.number("batch"), s.number("classes")
    function = softmax("kernel", "softmax", shape, 1, False)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        return {1: _probabilities(arrays[0].astype(np.float64))}

    return Workload(s, function, expected, _cost(shape))


def _make_cross_entropy(s: Specification) -> Workload:
    shape = s.number("batch"), s.number("classes")
    scale = 1.0 / shape[0]
    function = _MAKERS[s.word("step")]("kernel", "cross_entropy", shape, scale)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        rows = np.arange(shape[0])
        probabilities, labels = _probabilities(arrays[0].astype(np.float64)), arrays[1]
        loss = np.array([-scale * np.log(probabilities[rows, labels]).sum()])
        probabilities[rows, labels] -= 1
        gradient = scale * probabilities
        results = {"forward": [loss], "data-grad": [gradient], "training": [loss, gradient]}
        return dict(enumerate(results[s.word("step")], start=2))

    return Workload(s, function, expected, _cost(shape))


_COMMON = [Key("classes", least=4), Key("batch", 1), SOURCE]

KINDS = {
    "softmax": Kind(_COMMON, _make_softmax),
    "cross_entropy": Kind([*_COMMON, Key("step", "forward", tuple(_MAKERS))], _make_cross_entropy),
}
