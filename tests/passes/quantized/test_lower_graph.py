"""Integer networks on the cluster, every bit as in NumPy."""

import numpy as np
import pytest
import torch

import tvm_pulp
from examples.models.mobilenet import mobilenet_digits
from examples.models.residual import residual_digits
from tests.passes.quantized.networks import Varied, Windows
from tests.passes.torch_training import Residual
from tvm_pulp.frontends import load_model
from tvm_pulp.oracle.integer import dequantize, run_integer
from tvm_pulp.passes.quantized.lower_graph import build_integer_inference
from tvm_pulp.quantization import Quantization, integer_network
from tvm_pulp.runners.simulator import SimulatorRunner
from tvm_pulp.schedules import lower
from tvm_pulp.target import features, parse
from tvm_pulp.target.tvm_names import PrimFunc


def part_words() -> torch.nn.Module:
    """Linear layers whose rows are no whole number of words."""
    return torch.nn.Sequential(torch.nn.Linear(30, 9), torch.nn.ReLU(), torch.nn.Linear(9, 6))


NETWORKS = {
    "residual": (residual_digits, (1, 32, 32)),
    "mobilenet": (mobilenet_digits, (1, 32, 32)),
    "projected": (Residual, (3, 8, 8)),
    "varied": (Varied, (3, 8, 8)),
    "part words": (part_words, (30,)),
    "windows": (Windows, (3, 32, 32)),
}


@pytest.mark.parametrize("weight_bits", [8, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_cluster_equals_numpy_in_every_bit(name, weight_bits):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    exported = torch.export.export(make().eval(), (torch.zeros(1, *shape),))
    model = load_model(exported)
    x = np.random.default_rng(0).standard_normal((12, *shape)).astype(np.float32)
    options = Quantization({model.inputs[0]: x[:8]}, weight_bits=weight_bits)
    _, graph = integer_network(model, options)
    inputs = {model.inputs[0]: 1.5 * x[8:]}  # some beyond the calibrated range
    expected = dequantize(run_integer(graph, inputs)[graph.output.name], graph.output)
    package = tvm_pulp.compile(exported, quantization=options)
    result = package.run(inputs, steps=4, function="infer", runner=SimulatorRunner(checks=True))
    found = np.concatenate([step.output for step in result.steps])
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 5


def layers_with_weights(name: str) -> list[PrimFunc]:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    exported = torch.export.export(make().eval(), (torch.zeros(1, *shape),))
    model = load_model(exported)
    x = np.random.default_rng(0).standard_normal((8, *shape)).astype(np.float32)
    _, graph = integer_network(model, Quantization({model.inputs[0]: x}))
    functions = build_integer_inference(graph).module.functions.values()
    return [f for f in functions if isinstance(f, PrimFunc) and int(f.attrs["pulp.macs"])]


def test_linear_layers_of_part_words_have_a_template():
    chip, layers = features(parse("pulp")), layers_with_weights("part words")
    assert {str(lower(f, chip).attrs["pulp.schedule"]) for f in layers} == {"quantized_conv2d"}
    assert sorted(int(f.attrs["pulp.macs"]) for f in layers) == [54, 270]


def test_large_windows_dilations_and_groups_have_templates():
    chip, layers = features(parse("pulp")), layers_with_weights("windows")
    schedules = [str(lower(f, chip).attrs["pulp.schedule"]) for f in layers]
    assert sorted(schedules) == [
        *["quantized_conv2d"] * 3, *["quantized_depthwise"] * 4, *["quantized_matmul"] * 3
    ]  # fmt: skip
    grouped = 8 * 8 * 16 * 4 * 9
    assert grouped in [int(f.attrs["pulp.macs"]) for f in layers]  # no zeros between the groups


def test_weights_of_4_bits_take_half_of_the_bytes():
    torch.manual_seed(0)
    exported = torch.export.export(mobilenet_digits().eval(), (torch.zeros(1, 1, 32, 32),))
    model = load_model(exported)
    samples = {model.inputs[0]: np.random.default_rng(0).standard_normal((8, 1, 32, 32)).astype(np.float32)}
    sizes, named = {}, {}
    for bits in (8, 4):
        package = tvm_pulp.compile(exported, quantization=Quantization(samples, weight_bits=bits))
        with np.load(package.directory / "parameters" / "initial.npz") as parameters:
            sizes[bits] = {name: parameters[name].nbytes for name in parameters if name.endswith(".weight")}
        named[bits] = package.metadata.memory["named"]
    assert sizes[4].keys() == sizes[8].keys() and len(sizes[8]) > 5
    for name, size in sizes[8].items():
        assert size / 2 <= sizes[4][name] < size / 2 + 4
    saved = sum(sizes[8].values()) - sum(sizes[4].values())
    # a tensor may start up to 15 bytes behind the one before
    assert abs(named[8] - named[4] - saved) <= 16 * len(sizes[8])
