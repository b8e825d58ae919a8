"""Training on the latents of a frozen stage in integers: the cluster beside NumPy and PyTorch."""

import numpy as np
import pytest
import torch

import tvm_pulp
from examples.models.mobilenet import mobilenet_digits
from tvm_pulp.frontends import load_model
from tvm_pulp.oracle import Oracle
from tvm_pulp.oracle.integer import dequantize, run_integer
from tvm_pulp.passes.split_at_latent import split_at_latent, split_at_softmax
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.quantization import Quantization, integer_stage
from tvm_pulp.runners.simulator import SimulatorRunner
from tvm_pulp.target.errors import UserError

BATCH = 4


@pytest.fixture(scope="module")
def exported():
    torch.manual_seed(0)
    return torch.export.export(mobilenet_digits().eval(), (torch.zeros(1, 1, 32, 32),))


@pytest.fixture(scope="module")
def samples():
    random = np.random.default_rng(0)
    images = random.standard_normal((12, 1, 32, 32)).astype(np.float32)
    return {"x": images, "labels": random.integers(0, 10, 12).astype(np.int32)}


def named(exported, samples):
    return {load_model(exported).inputs[0]: samples["x"], "labels": samples["labels"]}


@pytest.mark.parametrize(("layer", "micro_batch", "weight_bits"), [("2", None, 8), ("4", 2, 8), ("3", 2, 4)])
def test_trains_on_the_latents_of_the_integer_stage(exported, samples, layer, micro_batch, weight_bits):
    data = named(exported, samples)
    name = next(iter(data))
    options = Quantization({name: data[name]}, weight_bits=weight_bits)
    config = TrainConfig(
        learning_rate=0.05, momentum=0.9, batch_size=BATCH, micro_batch=micro_batch, latent_layer=layer
    )
    package = tvm_pulp.compile(exported, train=config, quantization=options)
    report = package.check(data, steps=3, runner=SimulatorRunner(timing=False, checks=True))
    assert report.passed, str(report)
    layers = {call.layer for call in package.metadata.functions[next(iter(package.metadata.functions))]}
    split = split_at_latent(load_model(exported), layer)
    assert not set(package.metadata.trainable) & set(split.frozen.parameters)
    assert set(package.metadata.trainable) <= set(split.trained.parameters)
    assert any(parameter.rpartition(".")[0] in layers for parameter in split.frozen.parameters)


def test_infers_with_the_integer_stage(exported, samples):
    data = named(exported, samples)
    name = next(iter(data))
    options = Quantization({name: data[name]})
    config = TrainConfig(batch_size=BATCH, latent_layer="2")
    package = tvm_pulp.compile(exported, train=config, quantization=options)
    found = package.run({name: data[name][:3]}, function="infer", runner=SimulatorRunner(checks=True)).outputs
    split = split_at_latent(load_model(exported), "2")
    graph = integer_stage(split.frozen, options).graph(1)
    latents = dequantize(run_integer(graph, data)[graph.output.name][:3], graph.output)
    expected = Oracle(split.trained, config, ()).infer({split.latent: latents})
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_stage_is_the_same_for_every_batch_size(exported, samples):
    split = split_at_latent(load_model(exported), "3")
    name = split.frozen.inputs[0]
    stage = integer_stage(split.frozen, Quantization({name: samples["x"]}))
    values = [run_integer(stage.graph(batch), {name: samples["x"]}) for batch in (1, 12)]
    assert list(values[0]) == list(values[1])
    for one, other in zip(values[0].values(), values[1].values(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("layer", "calibrated", "words"),
    [
        (None, True, "latent layer"),
        ("2", False, "--calibration"),
        ("99", True, "99"),
    ],
)
def test_refuses_what_does_not_fit(exported, samples, layer, calibrated, words):
    data = named(exported, samples)
    name = next(iter(data))
    options = Quantization({name: data[name]}) if calibrated else None
    with pytest.raises(UserError, match=words):
        tvm_pulp.compile(exported, train=TrainConfig(latent_layer=layer), quantization=options)


def test_a_softmax_at_the_end_stays_in_float(samples):
    torch.manual_seed(0)
    network = torch.nn.Sequential(mobilenet_digits(), torch.nn.Softmax(1)).eval()
    exported = torch.export.export(network, (torch.zeros(1, 1, 32, 32),))
    model = load_model(exported)
    name = model.inputs[0]
    options = Quantization({name: samples["x"]})
    package = tvm_pulp.compile(exported, quantization=options)
    found = package.run(
        {name: samples["x"][:3]}, function="infer", runner=SimulatorRunner(checks=True)
    ).outputs
    split = split_at_softmax(model)
    assert split is not None and split_at_softmax(split.frozen) is None
    graph = integer_stage(split.frozen, options).graph(1)
    logits = dequantize(run_integer(graph, {name: samples["x"][:3]})[graph.output.name], graph.output)
    expected = torch.softmax(torch.from_numpy(logits), 1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
