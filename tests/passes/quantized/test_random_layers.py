"""Random layers on the cluster, every bit as in NumPy: several layers a program."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import tvm_pulp
from tests.passes.quantized.random_layers import draw
from tvm_pulp import compiler
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.runners.simulator import SimulatorRunner

PROGRAMS = 8


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_the_cluster_equals_numpy_in_every_bit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x, expected, _ = draw(seed)
    network = SimpleNamespace(name="random", graph=lambda _: graph)
    monkeypatch.setattr(compiler, "load_source", lambda *_, **__: network)
    package = tvm_pulp.compile(None)
    result = package.run({"x": x}, steps=1, function="infer", runner=SimulatorRunner(checks=True))
    output = expected[graph.output.name].astype(np.float32) - graph.output.zero_point
    np.testing.assert_array_equal(result.steps[0].output, output)


def test_there_are_two_hundred_layers_whose_results_vary() -> None:
    drawn = [draw(seed) for seed in range(PROGRAMS)]
    assert sum(layers for *_, layers in drawn) >= 200
    results = [
        expected[operator.output.name] for graph, _, expected, _ in drawn for operator in graph.operators
    ]
    assert np.mean([len(np.unique(result)) > min(result.size // 2, 20) for result in results]) > 0.8


def test_weights_of_4_bits_occur_in_all_kinds_of_layers() -> None:
    drawn = [operator for seed in range(PROGRAMS) for operator in draw(seed)[0].operators]
    weighted = [o for o in drawn if isinstance(o, g.QuantizedConv2d | g.QuantizedLinear)]
    narrow = [o for o in weighted if o.weight_bits == 4]
    convolutions = [o for o in narrow if isinstance(o, g.QuantizedConv2d)]
    assert len(convolutions) < len(narrow)
    assert any(o.attributes.groups == o.source.shape[1] > 1 for o in convolutions)
    assert any(o.attributes.groups == 1 and o.weight.shape[2:] == (1, 1) for o in convolutions)
    assert any(o.attributes.groups == 1 and o.weight.shape[2:] != (1, 1) for o in convolutions)
    assert any(o.weight.size % 8 for o in narrow)
