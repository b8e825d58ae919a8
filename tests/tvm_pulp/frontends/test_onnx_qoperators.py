"""ONNX's quantised operators against its reference and against ONNX Runtime."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantFormat, QuantType

import tvm_pulp
from examples.models.mobilenet import mobilenet_digits
from examples.models.residual import residual_digits
from tests.tvm_pulp.frontends.quantized_onnx_models import (
    INT8,
    Network,
    import_and_compare,
    quantized_by_onnxruntime,
    run_onnxruntime,
)
from tvm_pulp.frontends import load_network
from tvm_pulp.oracle.integer import integer_output
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.runners.simulator import SimulatorRunner
from tvm_pulp.target.errors import UserError

RANDOM = np.random.default_rng(0)
IMAGE = (1, 4, 8, 8)


def weights(net, name, shape, scales):
    net.initializers |= {
        name: RANDOM.integers(-127, 128, shape).astype(np.int8),
        f"{name}_scale": scales.astype(np.float32),
        f"{name}_zero": np.zeros(scales.shape, np.int8),
    }
    return [name, f"{name}_scale", f"{name}_zero"]


def random_bytes(shape, count=8):
    return RANDOM.integers(-128, 128, (count, *shape[1:])).astype(np.int8)


@pytest.mark.parametrize("per_channel", [True, False])
def test_qlinear_conv(per_channel):
    net = Network()
    w = weights(net, "conv.weight", (8, 4, 3, 3), 2.0 ** -RANDOM.integers(6, 9, 8 if per_channel else ()))
    net.initializers["conv.bias"] = RANDOM.integers(-2000, 2000, 8).astype(np.int32)
    # an even zero point: ONNX's reference adds it before it rounds, unlike ONNX's QuantizeLinear
    x, y = net.quantization("x", 2**-4, -7), net.quantization("y", 2**-1, 4)
    net.node("QLinearConv", ["x", *x, *w, *y, "conv.bias"], "conv", pads=[1, 1, 1, 1], strides=[1, 2])
    graph = import_and_compare(net.model({"x": IMAGE}, "conv", INT8, INT8), random_bytes(IMAGE))
    assert [type(o) for o in graph.operators] == [g.QuantizedInput, g.QuantizedConv2d]


def test_qlinear_matmul():
    net = Network()
    w = weights(net, "weight", (16, 5), np.array(2.0**-7))
    x, y = net.quantization("x", 2**-4, -7), net.quantization("y", 2**-2, 3)
    net.node("QLinearMatMul", ["x", *x, *w, *y], "product")
    import_and_compare(net.model({"x": (1, 16)}, "product", INT8, INT8), random_bytes((1, 16), 20))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [2.0**-8, 2.0 ** -np.arange(7, 12)])
def test_integer_product_that_is_scaled(bias, scale):
    net = Network()
    net.initializers |= {
        "zero": np.int8(5),
        "weight": RANDOM.integers(-127, 128, (16, 5)).astype(np.int8),
        "bias": RANDOM.integers(-500, 500, 5).astype(np.int32),
        "scale": np.asarray(scale, np.float32),
    }
    y = net.node("MatMulInteger", ["x", "weight", "zero"], "product")
    if bias:
        y = net.node("Add", [y, "bias"], "biased")
    y = net.node("Cast", [y], "cast", to=TensorProto.FLOAT)
    y = net.node("Mul", [y, "scale"], "scaled")
    y = net.node("QuantizeLinear", [y, *net.quantization("y", 2**-1, 3)], "y")
    graph = import_and_compare(net.model({"x": (1, 16)}, y, INT8, INT8), random_bytes((1, 16), 20))
    assert [type(o) for o in graph.operators] == [g.QuantizedInput, g.QuantizedLinear]


def test_integer_convolution_that_is_scaled():
    net = Network()
    net.initializers |= {
        "zero": np.int8(5),
        "weight": RANDOM.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8),
        "scale": (2.0 ** -np.arange(7, 13)).reshape(1, 6, 1, 1).astype(np.float32),
    }
    y = net.node("ConvInteger", ["x", "weight", "zero"], "product")
    y = net.node("Mul", [net.node("Cast", [y], "cast", to=TensorProto.FLOAT), "scale"], "scaled")
    y = net.node("QuantizeLinear", [y, *net.quantization("y", 2**-1, 3)], "y")
    import_and_compare(net.model({"x": IMAGE}, y, INT8, INT8), random_bytes(IMAGE))


@pytest.mark.parametrize(("make", "most"), [(mobilenet_digits, 0), (residual_digits, 0.05)])
def test_nets_that_onnxruntime_quantised(make, most, tmp_path):
    torch.manual_seed(0)
    x = RANDOM.standard_normal((32, 1, 32, 32)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = quantized_by_onnxruntime(make(), x, tmp_path, QuantFormat.QOperator, QuantType.QInt8)
    graph = load_network(path)
    found, expected = integer_output(graph, {"x": x}), run_onnxruntime(path, x)
    off = np.rint((found - expected) / graph.output.scale)
    assert np.abs(off).max() <= (1 if most else 0) and (off != 0).mean() <= most
    result = tvm_pulp.compile(path).run({"x": x[:2]}, function="infer", runner=SimulatorRunner(checks=True))
    np.testing.assert_array_equal(result.outputs, found[:2])


def dynamic(net):
    net.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="dynamic"))
    net.initializers["w"] = np.ones((16, 5), np.uint8)
    return net.node("MatMulInteger", ["q", "w", "z"], "product")


def unscaled(net):
    net.initializers["w"] = np.ones((16, 5), np.uint8)
    q = net.node("QuantizeLinear", ["x", *net.quantization("x", 0.1, 3)], "q")
    return net.node("MatMulInteger", [q, "w"], "product")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (dynamic, "MatMulInteger in layer 'product' yields int32 that is not scaled by the data's scale"),
        (unscaled, "MatMulInteger in layer 'product' yields int32 that no constant scales to float"),
    ],
)
def test_what_has_no_integer_form_is_named(build, message):
    net = Network()
    output = build(net)
    with pytest.raises(UserError, match=message):
        load_network(net.model({"x": (1, 16)}, output, output_type=TensorProto.INT32))
