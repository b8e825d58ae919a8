import numpy as np
import pytest
import torch
from torch import nn

from tests.passes.small_models import run
from tvm_pulp.calibration.channel_ranges import channel_ranges
from tvm_pulp.calibration.samples import open_samples
from tvm_pulp.frontends import load_model
from tvm_pulp.passes.equalize_layers import equalize_layers, equalized_activations
from tvm_pulp.quantization import Quantization, integer_stage
from tvm_pulp.reports.quantization import layer_errors


class Net(nn.Module):
    """Pointwise, depthwise and full convolutions whose channels differ by a factor of up to a thousand."""

    def __init__(self, bounded: bool = False):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.last = nn.Conv2d(8, 4, 3, bias=False)
        self.activation = nn.ReLU6() if bounded else nn.ReLU()
        spread = torch.logspace(-2, 1, 8).reshape(-1, 1, 1, 1)
        with torch.no_grad():
            for conv, factors in ((self.first, spread), (self.depthwise, spread.flip(0))):
                conv.weight *= factors
                conv.bias.abs_().mul_(factors.reshape(-1))  # positive, so that no channel is always 0
            # what follows makes all channels matter again
            self.depthwise.weight /= spread
            self.last.weight /= spread.flip(0).reshape(1, -1, 1, 1)

    def forward(self, x):
        x = self.activation(self.first(x))
        return self.last(self.activation(self.depthwise(x)))


def imported(**options):
    torch.manual_seed(0)
    network = Net(**options).eval()
    return load_model(torch.export.export(network, (torch.zeros(1, 3, 8, 8),)))


def samples(model, count=32):
    x = np.random.default_rng(0).standard_normal((count, 3, 8, 8)).astype(np.float32)
    return x, open_samples({model.inputs[0]: x}, model)


def test_ranges_are_alike_and_the_function_the_same():
    model = imported()
    x, data = samples(model)
    names = equalized_activations(model)
    assert len(names) == 2
    before = channel_ranges(model, data, names)
    equalized = equalize_layers(model, before)
    after = channel_ranges(equalized, data, names)
    for name in names:
        assert before[name].max() / before[name].min() > 100
        assert after[name].max() / after[name].min() < np.sqrt(before[name].max() / before[name].min())
    first = after[names[0]]  # read by the depthwise convolution: all channels reach the same value
    assert first.max() / first.min() == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(run(equalized, x[:1]), run(model, x[:1]), rtol=1e-4, atol=1e-5)


def test_an_upper_bound_is_left_alone():
    model = imported(bounded=True)
    _, data = samples(model)
    assert equalized_activations(model) == []
    assert equalize_layers(model, channel_ranges(model, data, [])) is model


def test_ranges_that_hardly_differ_are_left_alone():
    model = imported()
    even = {name: np.ones(8, np.float32) for name in equalized_activations(model)[:1]}
    rest = equalized_activations(model)[1]
    weight = np.abs(model.parameters["last.weight"]).max(axis=(0, 2, 3))
    assert equalize_layers(model, {**even, rest: weight}) is model


def test_channels_that_are_always_zero():
    model = imported()
    ranges = {name: np.zeros(8, np.float32) for name in equalized_activations(model)}
    assert equalize_layers(model, ranges) is model


def test_the_integer_network_has_less_noise(monkeypatch):
    model = imported()
    x, data = samples(model)
    stage = integer_stage(model, Quantization({model.inputs[0]: x}))
    monkeypatch.setattr("tvm_pulp.quantization.equalize_layers", lambda model, ranges: model)
    plain = integer_stage(model, Quantization({model.inputs[0]: x}))
    noise = [layer_errors(s.model, s.graph(1), data)[-1].decibels for s in (stage, plain)]
    assert noise[0] > noise[1] + 6  # one bit
