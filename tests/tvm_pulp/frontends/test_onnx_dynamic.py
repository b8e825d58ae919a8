"""Dynamically quantised ONNX models become float ones with dequantised weights."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnxruntime.quantization import QuantType, quantize_dynamic

import tvm_pulp
from tests.tvm_pulp.frontends.onnx_models import onnx_model
from tvm_pulp.check import check
from tvm_pulp.frontends import load_model
from tvm_pulp.oracle.forward import forward
from tvm_pulp.target.errors import UserError


def quantised(network, shape, directory, dtype):
    plain, path = directory / "float.onnx", directory / "dynamic.onnx"
    torch.onnx.export(
        network.eval(), (torch.zeros(1, *shape),), plain, dynamo=False, input_names=["x"], opset_version=17
    )
    quantize_dynamic(plain, path, weight_type=dtype, per_channel=True)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [QuantType.QInt8, QuantType.QUInt8])
def test_weights_are_dequantised(dtype, tmp_path):
    torch.manual_seed(0)
    convolution, linear = torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.Linear(72, 5)
    network = torch.nn.Sequential(convolution, torch.nn.ReLU(), torch.nn.Flatten(), linear)
    path = quantised(network, (3, 8, 8), tmp_path, dtype)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"} < kinds
    model = load_model(path, batch=4)
    x = torch.randn(4, 3, 8, 8)
    parameters = {name: torch.from_numpy(np.array(value)) for name, value in model.parameters.items()}
    found = forward(model, {"x": x}, parameters)[0]
    with torch.no_grad():
        for layer in (convolution, linear):
            shape = layer.weight.shape
            (value,) = (v for v in parameters.values() if v.numel() == layer.weight.numel())
            value = value if value.ndim == 4 else value.T
            step = (
                layer.weight.abs().max()
                if dtype is QuantType.QInt8
                else layer.weight.max() - layer.weight.min()
            ) / 127
            assert (value - layer.weight).abs().max() <= step
            layer.weight.copy_(value.reshape(shape))
        expected = network(x)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.filterwarnings("ignore")
def test_it_trains(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    path = quantised(network, (6,), tmp_path, QuantType.QInt8)
    package = tvm_pulp.compile(path, train=tvm_pulp.TrainConfig(batch_size=4))
    x, labels = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32), np.array([0, 1, 2, 0])
    assert check(package, {"x": x, "labels": labels}).passed


@pytest.mark.parametrize("reader", ["Relu", "MatMulInteger"])
def test_other_readers_are_named(reader):
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("Cast", ["q"], ["f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Relu", ["f"], ["y"]),
    ]
    if reader == "MatMulInteger":
        nodes[1:] = [
            helper.make_node("MatMulInteger", ["q", "w", "z"], ["i"], name="product"),
            helper.make_node("Cast", ["i"], ["f"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", ["f", "s"], ["y"]),
        ]
    with pytest.raises(UserError, match="quantise the model statically, or start from the float network"):
        load_model(onnx_model(nodes, {"w": np.ones((6, 6), np.int8)}))
