"""Networks that come quantised with layers in float32: against ONNX's reference, and on the cluster.

Scales are powers of two, so that the reference's sums are exact and the bytes before float layers the same.
"""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import tvm_pulp
from tests.tvm_pulp.frontends.quantized_onnx_models import Network
from tvm_pulp.command_line import main
from tvm_pulp.frontends import load_network
from tvm_pulp.oracle.integer import integer_output
from tvm_pulp.package.integer_graph import read_integer_graph
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.float_operators import (
    Dequantize,
    DequantizedLayer,
    FloatLayers,
    float_reasons,
)
from tvm_pulp.runners.simulator import SimulatorRunner
from tvm_pulp.target.errors import UserError

RANDOM = np.random.default_rng(7)
START = RANDOM.bit_generator.state
IMAGE, ROW = (1, 4, 6, 6), (1, 16)


@pytest.fixture(autouse=True)
def same_numbers():
    """Every test has the same numbers, whichever tests ran before it."""
    RANDOM.bit_generator.state = START


def weights(*shape):
    return RANDOM.integers(-127, 128, shape).astype(np.int8)


def scales(count):
    return 2.0 ** -RANDOM.integers(6, 9, count)


def convolution(net, x, name="conv", outputs=8, channels=4, scale=2**-4, **attributes):
    """A layer on data of a scale; its biases are whole numbers of its sums' units."""
    units = scales(outputs)
    net.initializers[f"{name}.bias"] = (RANDOM.integers(-900, 900, outputs) * units * scale).astype(
        np.float32
    )
    weight = net.weight(f"{name}.weight", weights(outputs, channels, 3, 3), units)
    return net.node("Conv", [x, weight, f"{name}.bias"], name, **attributes)


def pooled(net, x, outputs=8):
    """Flatten an average and a linear layer of 5 results."""
    x = net.node("GlobalAveragePool", [x], "pool")
    x = net.quantized(net.node("Flatten", [x], "flat"), 2**-3, -3)
    return net.node("Gemm", [x, net.weight("fc.weight", weights(5, outputs), scales(5))], "fc", transB=1)


def last_linear(net):
    y = net.quantized(convolution(net, net.quantized("x", 2**-4, 2)), 2**-2, 1)
    return pooled(net, y)


def last_convolution(net):
    return convolution(net, net.quantized("x", 2**-4, 2), pads=[1, 1, 1, 1])


def last_pointwise(net):
    weight = net.weight("conv.weight", weights(8, 4, 1, 1), scales(8))
    return net.node("Conv", [net.quantized("x", 2**-4, 2), weight], "conv")


def last_depthwise(net):
    return convolution(net, net.quantized("x", 2**-4, 2), outputs=4, channels=1, group=4)


def softmax_of_sums(net):
    return net.node("Softmax", [last_linear(net)], "softmax", axis=1)


def softmax_of_bytes(net):
    y = net.quantized(convolution(net, net.quantized("x", 2**-4, 2)), 2**-2, 1)
    y = net.node("MaxPool", [y], "max", kernel_shape=[4, 4])
    return net.node("Softmax", [net.node("Flatten", [y], "flat")], "softmax", axis=1)


def gate_in_the_middle(net):
    """A layer's own sigmoid times its sums, none of them quantised."""
    y = convolution(net, net.quantized("x", 2**-4, 2))
    y = net.node("Mul", [y, net.node("Sigmoid", [y], "sigmoid")], "swish")
    return pooled(net, net.quantized(y, 2**-2, -100))


def float_first_layer(net):
    net.initializers["first.weight"] = RANDOM.normal(size=(4, 4, 3, 3)).astype(np.float32) / 6
    y = net.node("Relu", [net.node("Conv", ["x", "first.weight"], "first")], "relu")
    return net.node("Relu", [convolution(net, net.quantized(y, 2**-4, -128))], "last")


def two_readers(net):
    """A sum that is quantised, and read in float32 too."""
    y = convolution(net, net.quantized("x", 2**-4, 2), outputs=4, pads=[1, 1, 1, 1])
    y_bytes = net.quantized(y, 2**-2, 1)
    z = convolution(net, y_bytes, "second", outputs=4, scale=2**-2, pads=[1, 1, 1, 1])
    return net.node("Add", [y, z], "sum")


CASES = {
    last_linear: [],
    last_convolution: [],
    last_pointwise: [],
    last_depthwise: [],
    softmax_of_sums: ["softmax"],
    softmax_of_bytes: ["softmax"],
    gate_in_the_middle: ["sigmoid", "swish"],
    float_first_layer: ["first", "relu", "last"],
    two_readers: ["sum"],
}


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_integers_up_to_the_last_bytes(build):
    net = Network()
    proto = net.model({"x": IMAGE}, build(net))
    x = RANDOM.normal(size=(6, *IMAGE[1:])).astype(np.float32) * 2
    graph = load_network(proto)
    assert list(float_reasons(graph)) == CASES[build]
    assert any(isinstance(operator, g.QuantizedConv2d | DequantizedLayer) for operator in graph.operators)
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    found = integer_output(graph, {"x": x})
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    package = tvm_pulp.compile(proto)
    result = package.run({"x": x[:2]}, function="infer", runner=SimulatorRunner(checks=True))
    np.testing.assert_allclose(result.outputs, found[:2], rtol=1e-6, atol=1e-6 * np.abs(found).max())
    again = read_integer_graph(package.directory / "src")
    np.testing.assert_array_equal(integer_output(again, {"x": x}), found)
    assert package.metadata.float_layers == float_reasons(graph)


def test_sums_leave_in_every_bit(tmp_path):
    net = Network()
    proto = net.model({"x": IMAGE}, last_depthwise(net))
    x = RANDOM.normal(size=(2, *IMAGE[1:])).astype(np.float32)
    result = tvm_pulp.compile(proto).run({"x": x}, function="infer", runner=SimulatorRunner())
    np.testing.assert_array_equal(result.outputs, integer_output(load_network(proto), {"x": x}))


def test_a_tensor_that_is_read_in_float_is_not_rounded():
    net = Network()
    graph = load_network(net.model({"x": IMAGE}, two_readers(net)))
    kinds = [type(operator) for operator in graph.operators]
    assert kinds == [g.Quantize, DequantizedLayer, g.Quantize, DequantizedLayer, FloatLayers]
    assert Dequantize not in kinds


def test_a_scalar_parameter_stands_in_a_table():
    net = Network()
    net.initializers["half"] = np.float32(0.5)
    y = net.quantized(net.node("Mul", [net.quantized("x", 0.1), "half"], "half_of"), 0.05)
    graph = load_network(net.model({"x": ROW}, y))
    assert [type(operator) for operator in graph.operators] == [g.Quantize, g.Lookup]


def test_weights_beyond_int8_compute_in_float():
    net = Network(np.uint8)
    net.initializers |= {
        "w": RANDOM.integers(0, 256, (5, 16)).astype(np.uint8),
        "w_scale": np.float32(0.01),
        "w_zero": np.uint8(100),
    }
    weight = net.node("DequantizeLinear", ["w", "w_scale", "w_zero"], "w_dq")
    y = net.node("Gemm", [net.quantized("x", 0.1, 100), weight], "fc", transB=1)
    graph = load_network(net.model({"x": ROW}, net.quantized(y, 0.2, 90)))
    (why,) = float_reasons(graph).values()
    assert "beyond int8" in why


def test_an_operator_without_any_form_is_named():
    net = Network()
    y = net.node("Erf", [net.quantized("x", 0.1)], "erf")
    with pytest.raises(UserError, match="operator erf in layer 'erf' is not supported"):
        load_network(net.model({"x": ROW}, y))


def test_the_command_names_the_layers(tmp_path, capsys):
    net = Network()
    onnx.save(net.model({"x": IMAGE}, gate_in_the_middle(net)), tmp_path / "net.onnx")
    tar = str(tmp_path / "net.tar")
    line = "layer swish computes in float32: its data are not quantised"
    for options in ([], ["--dump-quantization"]):
        assert main(["compile", "--target", "pulp", str(tmp_path / "net.onnx"), "-o", tar, *options]) == 0
        printed = capsys.readouterr().out
        assert printed.count(line) == 1 and printed.splitlines()[-1] == f"wrote {tar}"
    assert re.search("fc +dequantized layer +float32", printed)


def test_the_report_of_a_float_network_needs_samples(tmp_path, capsys):
    net = Network()
    net.initializers["fc.weight"] = np.ones((16, 2), np.float32)
    onnx.save(net.model({"x": ROW}, net.node("MatMul", ["x", "fc.weight"], "fc")), tmp_path / "net.onnx")
    options = ["-o", str(tmp_path / "net.tar"), "--dump-quantization"]
    assert main(["compile", "--target", "pulp", str(tmp_path / "net.onnx"), *options]) == 1
    assert "--dump-quantization is for integers; add --calibration" in capsys.readouterr().err
    assert not (tmp_path / "net.tar").exists()
