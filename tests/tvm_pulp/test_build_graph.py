"""What a network, training and quantisation make together; networks that came quantised and train."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import QuantFormat, QuantType
from torch import nn

import tvm_pulp
from tests.tvm_pulp.frontends.quantized_onnx_models import Network, quantized_by_onnxruntime
from tests.tvm_pulp.frontends.quantized_tflite_models import RELU6, SAME
from tests.tvm_pulp.frontends.quantized_tflite_models import Network as Int8TFLite
from tvm_pulp.check import check
from tvm_pulp.command_line import main
from tvm_pulp.frontends import load_network
from tvm_pulp.oracle.integer import integer_output
from tvm_pulp.package.integer_graph import read_integer_graph
from tvm_pulp.passes.quantized.float_operators import FloatLayers
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.quantization import Quantization
from tvm_pulp.target.errors import UserError

RANDOM = np.random.default_rng(3)
IMAGE = (1, 4, 8, 8)


def weights(*shape):
    return RANDOM.integers(-127, 128, shape).astype(np.int8)


def quantised_network(gated=False):
    """Two convolutions and a linear layer; between the former, if `gated`, a function in float32."""
    net = Network()
    x = net.quantized("x", 0.05, 2)
    w = net.weight("first.weight", weights(8, 4, 3, 3), RANDOM.uniform(0.001, 0.004, 8))
    y = net.node("Conv", [x, w], "first", strides=[2, 2], pads=[1, 1, 1, 1])
    if gated:
        y = net.node("Softmax", [net.quantized(y, 0.04, 2)], "gate", axis=1)
    y = net.quantized(net.node("Relu", [y], "relu"), 0.02, -128)
    w = net.weight("second.weight", weights(8, 8, 3, 3), RANDOM.uniform(0.001, 0.004, 8))
    y = net.quantized(net.node("Relu", [net.node("Conv", [y, w], "second")], "second_relu"), 0.03, -128)
    y = net.node("Flatten", [y], "flat")
    w = net.weight("fc.weight", weights(3, 32), RANDOM.uniform(0.001, 0.004, 3))
    y = net.quantized(net.node("Gemm", [y, w], "fc", transB=1), 0.05, -4)
    return net.model({"x": IMAGE}, y)


@pytest.mark.parametrize("gated", [False, True])
def test_layers_behind_the_latents_train_from_dequantised_weights(gated):
    proto = quantised_network(gated)
    package = tvm_pulp.compile(proto, train=TrainConfig(batch_size=3, latent_layer="relu"))
    assert package.metadata.trainable == ("second.weight", "fc.weight")
    assert ("gate" in package.metadata.float_layers) == gated
    initial = package.initial_tensors()
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    scales = stored["second.weight_scale"].reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(initial["second.weight"], stored["second.weight"] * scales)
    assert initial["first.weight"].dtype == np.int8
    x = RANDOM.normal(size=(6, *IMAGE[1:])).astype(np.float32)
    report = check(package, {"x": x, "labels": np.array([0, 1, 2, 2, 1, 0])}, steps=2)
    assert report.passed, str(report)
    latents = read_integer_graph(package.directory / "src")
    whole = load_network(proto)
    assert [o.layer for o in whole.operators][: len(latents.operators)] == [
        o.layer for o in latents.operators
    ]
    assert any(isinstance(operator, FloatLayers) for operator in latents.operators) == gated
    found = integer_output(latents, {"x": x})
    assert found.shape == (6, 8, 4, 4) and found.min() == 0


def test_it_infers_like_the_quantised_network_but_for_activations(tmp_path):
    proto = quantised_network()
    package = tvm_pulp.compile(proto, train=TrainConfig(latent_layer="second"))
    x = RANDOM.normal(size=(2, *IMAGE[1:])).astype(np.float32)
    found = package.run({"x": x}, function="infer").outputs
    step = 0.05  # of the output, which is not rounded any more
    bytes_ = integer_output(load_network(proto), {"x": x})
    inside = np.abs(bytes_) < 5.5
    assert inside.any() and np.abs(found - bytes_)[inside].max() <= step


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_rectifiers_that_the_converter_left_to_the_integers_train(form, tmp_path):
    layers = [nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU6()]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 3))
    x = RANDOM.normal(size=(64, *IMAGE[1:])).astype(np.float32)
    path = quantized_by_onnxruntime(network, x, tmp_path, form, QuantType.QUInt8)
    assert "Relu" not in {node.op_type for node in onnx.load(path).graph.node}
    package = tvm_pulp.compile(path, train=TrainConfig(batch_size=4, latent_layer="0"))
    found = package.run({"x": x[:8]}, function="infer").outputs
    expected = network.eval()(torch.from_numpy(x[:8])).detach().numpy()
    assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()
    report = check(package, {"x": x[:8], "labels": np.arange(8) % 3}, steps=2)
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train"], "the model is quantised: name the layer up to which it stays so (--latent-layer)"),
        (["--train", "--latent-layer", "fc"], "behind layer 'fc' nothing is left to train"),
        (["--calibration", "x.npz"], "the model is quantised already: leave out the calibration"),
    ],
)
def test_options_that_a_quantised_network_does_not_take(options, message, tmp_path, capsys):
    onnx.save(quantised_network(), tmp_path / "net.onnx")
    assert main(["compile", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "net.tar"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "net.tar").exists()


@pytest.mark.parametrize(
    ("train", "calibrated", "message"),
    [
        (TrainConfig(), True, "name it \\(--latent-layer\\)"),
        (TrainConfig(latent_layer="fc"), False, "give sample data \\(--calibration\\)"),
    ],
)
def test_latents_of_a_float_network_need_samples(train, calibrated, message):
    net = Network()
    net.initializers["fc.weight"] = np.ones((16, 2), np.float32)
    proto = net.model({"x": (1, 16)}, net.node("MatMul", ["x", "fc.weight"], "fc"))
    quantization = Quantization({"x": np.ones((1, 16), np.float32)}) if calibrated else None
    with pytest.raises(UserError, match=message):
        tvm_pulp.compile(proto, train=train, quantization=quantization)


def tflite_network():
    """Two convolutions, of which the second's ReLU is left to its integers, and a linear layer."""
    net = Int8TFLite(2)
    net.activation("x", (1, 8, 8, 4), 0.03, 4)
    y = net.convolution("x", "first", (8, 3, 3, 4), (1, 4, 4, 8), stride=2, FusedActivationFunction=RELU6)
    z = net.convolution(y, "second", (8, 3, 3, 8), (1, 4, 4, 8), zero_point=-128, Padding=SAME)
    factors = net.writer.constant("factors", np.full((1, 1, 1, 8), 64, np.int8))
    net.writer.quantized(factors, 0.02, 0)
    z = net.operator("MUL", [z, factors], "scaled", (1, 4, 4, 8), 0.07, -128)
    z = net.operator("ADD", [y, z], "sum", (1, 4, 4, 8), 0.1, -128)
    shape = net.writer.constant("shape", np.array([1, 128], np.int32))
    z = net.operator("RESHAPE", [z, shape], "flat", (1, 128), 0.1, -128)
    return net.write(["x"], [net.weighted("FULLY_CONNECTED", z, "logits", (3, 128), (1, 3), scale=0.1)])


@pytest.mark.parametrize("layer", ["first", "add"])
def test_layers_behind_the_latents_of_int8_tflite_train(layer, tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(tflite_network())
    package = tvm_pulp.compile(path, train=TrainConfig(batch_size=4, latent_layer=layer))
    second = ("second.weight", "second.bias") if layer == "first" else ()
    assert set(package.metadata.trainable) == {*second, "logits.weight", "logits.bias"}
    x = RANDOM.integers(-128, 128, (8, 8, 8, 4)).astype(np.int8)
    report = check(package, {"x": x, "labels": np.arange(8) % 3}, steps=2)
    assert report.passed, str(report)
    found = package.run({"x": x}, function="infer").outputs
    network = load_network(path)
    bytes_ = (integer_output(network, {"x": x}).astype(np.float32) + 10) * network.output.scale
    inside = np.abs(bytes_) < 11
    assert inside.sum() > 12 and np.abs(found - bytes_)[inside].max() <= 0.3


def test_an_int8_tflite_model_names_its_layers(tmp_path, capsys):
    path = tmp_path / "net.tflite"
    path.write_bytes(tflite_network())
    command = ["compile", str(path), "-o", str(tmp_path / "net.tar"), "--train"]
    assert main(command) == 1
    assert "name the layer up to which it stays so (--latent-layer)" in capsys.readouterr().err
    assert main([*command, "--latent-layer", "frist"]) == 1
    assert "there is no layer 'frist'; near names: first" in capsys.readouterr().err
    assert main([*command, "--latent-layer", "second"]) == 1
    assert "besides its output, first is read behind it" in capsys.readouterr().err
    assert not (tmp_path / "net.tar").exists()
