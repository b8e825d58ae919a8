"""PyTorch's quantised exports in integers, against the exported module in PyTorch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )
    from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

import tvm_pulp
from examples.models.residual import residual_digits
from tvm_pulp.frontends import load_model, load_network
from tvm_pulp.oracle.integer import integer_output
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.float_operators import DequantizedLayer
from tvm_pulp.runners.simulator import SimulatorRunner
from tvm_pulp.target.errors import UserError


def quantized(network, x, per_channel=True, quantizer=None):
    """Export, quantise on samples and export again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.export.export(network.eval(), (x[:1],)).module()
        configuration = get_symmetric_quantization_config(is_per_channel=per_channel)
        quantizer = quantizer or XNNPACKQuantizer().set_global(configuration)
        prepared = prepare_pt2e(module, quantizer)
        for index in range(len(x)):
            prepared(x[index : index + 1])
        return torch.export.export(convert_pt2e(prepared), (x[:1],))


def off_by(program, graph, x):
    """Differences to PyTorch in units of the last place."""
    module = program.module()
    expected = np.concatenate([module(x[i : i + 1]).detach().numpy() for i in range(len(x))])
    found = integer_output(graph, {graph.inputs[0]: x.numpy()})
    return np.rint((found - expected) / graph.output.scale)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, groups=8)
        self.linear = nn.Linear(8 * 9, 5)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        x = nn.functional.relu(self.depthwise(x))
        return self.linear(nn.functional.max_pool2d(x, 1).flatten(1))


@pytest.mark.parametrize("per_channel", [True, False])
def test_layers_come_out_as_in_pytorch(per_channel, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(40, 3, 8, 8)
    program = quantized(Small(), x[:8], per_channel)
    graph = load_network(program)
    off = off_by(program, graph, x)
    assert np.abs(off).max() <= 1 and (off != 0).mean() <= 0.01
    weights = {o.layer: o.weight for o in graph.operators if hasattr(o, "weight")}
    assert list(weights) == ["conv", "depthwise", "linear"]
    assert all(weight.dtype == np.int8 and np.abs(weight).max() == 127 for weight in weights.values())
    torch.export.save(program, tmp_path / "net.pt2")
    again = load_network(tmp_path / "net.pt2")
    np.testing.assert_array_equal(off_by(program, again, x), off)


def test_a_net_on_the_cluster():
    torch.manual_seed(0)
    x = torch.randn(32, 1, 32, 32)
    program = quantized(residual_digits(), x[:8])
    graph = load_network(program)
    assert sum(isinstance(operator, g.QuantizedAdd) for operator in graph.operators) == 3
    off = off_by(program, graph, x)
    # sums have multipliers of 21 bits: one in 10^4 is off by one there, which spreads in the layers behind
    assert np.abs(off).max() <= 1 and (off != 0).mean() <= 0.05
    inputs = {graph.inputs[0]: x[:2].numpy()}
    result = tvm_pulp.compile(program).run(inputs, function="infer", runner=SimulatorRunner(checks=True))
    np.testing.assert_array_equal(result.outputs, integer_output(graph, inputs))


class Gated(Small):
    """A function with a factor between layers, and a softmax at the end."""

    def forward(self, x):
        x = nn.functional.hardswish(self.conv(x))
        x = nn.functional.leaky_relu(self.depthwise(x), 0.1)
        return torch.softmax(self.linear(nn.functional.max_pool2d(x, 1).flatten(1)), 1)


def test_layers_that_are_not_quantised_compute_in_float():
    """Intel's quantiser leaves what no layer of integers reads in float: sums, functions, the output."""
    torch.manual_seed(0)
    x = torch.randn(24, 3, 8, 8)
    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    program = quantized(Gated(), x[:8], quantizer=quantizer)
    graph = load_network(program)
    layers = [o.layer for o in graph.operators if isinstance(o, DequantizedLayer)]
    assert layers == ["conv", "depthwise", "linear"]
    module = program.module()
    expected = np.concatenate([module(x[i : i + 1]).detach().numpy() for i in range(len(x))])
    inputs = {graph.inputs[0]: x.numpy()}
    found = integer_output(graph, inputs)
    # a byte next to a half may differ by one, and then a sum by a step of its weight
    assert np.abs(found - expected).max() < 2e-3 and (np.abs(found - expected) > 1e-6).mean() < 0.2
    few = {name: value[:2] for name, value in inputs.items()}
    result = tvm_pulp.compile(program).run(few, function="infer", runner=SimulatorRunner(checks=True))
    np.testing.assert_allclose(result.outputs, found[:2], rtol=1e-5, atol=1e-6)


def test_data_that_are_quantised_at_run_time_stay_in_float():
    torch.manual_seed(0)
    x, network = torch.randn(8, 3, 8, 8), Small()
    configuration = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    program = quantized(network, x, quantizer=XNNPACKQuantizer().set_global(configuration))
    model = load_model(program, batch=8)
    assert set(model.parameters) == set(dict(network.named_parameters())) and not model.buffers
    weight = model.parameters["linear.weight"]
    step = network.linear.weight.abs().amax(1, keepdim=True).detach().numpy() / 127
    assert (np.abs(weight - network.linear.weight.detach().numpy()) <= step * 0.51).all()
    np.testing.assert_array_equal(weight, np.float32(step) * np.rint(weight / step))


class Narrow(nn.Module):
    """Quantisation written by hand: to 7 bits, and to a type that is too wide."""

    def __init__(self, dtype, low, high):
        super().__init__()
        self.settings = (0.1, 3, low, high, dtype)

    def forward(self, x):
        operators = torch.ops.quantized_decomposed
        q = operators.quantize_per_tensor(x, *self.settings)
        return operators.dequantize_per_tensor(q, *self.settings)


def test_a_narrow_range_saturates():
    x = torch.linspace(-30, 30, 400).reshape(4, 100)
    program = torch.export.export(Narrow(torch.int8, -64, 63), (x[:1],))
    graph = load_network(program)
    assert not off_by(program, graph, x).any()


def test_wide_integers_are_refused():
    program = torch.export.export(Narrow(torch.int16, -32768, 32767), (torch.zeros(1, 8),))
    with pytest.raises(UserError, match="is quantised to int16: int8 or uint8 is needed"):
        load_network(program)
