"""Random layers on the cluster, every bit as in NumPy: several layers a program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tvm import IRModule

from tests.passes.quantized.random_layers import draw
from tvm_pulp.make_kernels import make_kernels
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.plan_memory import plan_memory
from tvm_pulp.passes.quantized.graph import QuantizedGraph
from tvm_pulp.passes.quantized.lower_graph import build_integer_inference
from tvm_pulp.runners.base import COMMANDS
from tvm_pulp.runtime.sim import Configuration, Machine
from tvm_pulp.target import features, parse, project, toolchain

CHIP = features(parse("pulp"))
PROGRAMS = 8


def run(graph: QuantizedGraph, x: np.ndarray, directory: Path) -> np.ndarray:
    """Compile a graph, run it on the simulator with all checks, return its float32 output."""
    inference = build_integer_inference(Model("layers", IRModule(), graph.inputs, {}), graph)
    kernels = make_kernels(inference.module, CHIP)
    plan = plan_memory(inference, kernels, CHIP)
    sources = {name: kernel.source for name, kernel in kernels.items()}
    project.write(directory, "layers", plan, sources, dict(inference.parameters), CHIP, 1)
    machine = Machine(Configuration.from_dict(CHIP.simulator_configuration()), checks=True)
    machine.load(toolchain.find().build(directory))
    machine.write(machine.symbols["layers_input_x"].address, x.tobytes())
    command = np.array([COMMANDS["infer"]], np.int32)
    machine.write(machine.symbols["layers_command"].address, command.tobytes())
    result = machine.run()
    assert result.exit_code == 0 and not result.reports
    size = int(np.prod(graph.output.shape))
    found = machine.read(machine.symbols["layers_output_0"].address, 4 * size)
    return np.frombuffer(found, np.float32).reshape(graph.output.shape)


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_the_cluster_equals_numpy_in_every_bit(seed: int, tmp_path: Path) -> None:
    graph, x, expected, _ = draw(seed)
    output = expected[graph.output.name].astype(np.float32) - graph.output.zero_point
    np.testing.assert_array_equal(run(graph, x, tmp_path), output)


def test_there_are_two_hundred_layers_whose_results_vary() -> None:
    drawn = [draw(seed) for seed in range(PROGRAMS)]
    assert sum(layers for *_, layers in drawn) >= 200
    results = [
        expected[operator.output.name] for graph, _, expected, _ in drawn for operator in graph.operators
    ]
    assert np.mean([len(np.unique(result)) > min(result.size // 2, 20) for result in results]) > 0.8
