"""Int8 TFLite models in integers, against the reference kernels of LiteRT's interpreter: every bit.

Its kernels for x86 round otherwise: the second rounding is half up there, for fully connected layers too.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import tvm_pulp
from tests.tvm_pulp.frontends.quantized_tflite_models import (
    NONE,
    RELU,
    RELU6,
    VALID,
    Network,
    run_litert,
)
from tests.tvm_pulp.frontends.quantized_tflite_operators import (
    IMAGE,
    IMAGES,
    ROW,
    ROWS,
    padded,
)
from tvm_pulp.command_line import main
from tvm_pulp.frontends import load_model, load_network
from tvm_pulp.frontends.tflite_quantized_layers import rescaling
from tvm_pulp.oracle.integer import integer_output
from tvm_pulp.package.integer_graph import read_integer_graph
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.graph import QuantizedGraph
from tvm_pulp.runners.simulator import SimulatorRunner
from tvm_pulp.target.errors import UserError


def load(data, tmp_path):
    (tmp_path / "net.tflite").write_bytes(data)
    return load_network(tmp_path / "net.tflite")


def random_bytes(shape, seed=1, count=16):
    return np.random.default_rng(seed).integers(-128, 128, (count, *shape[1:])).astype(np.int8)


def import_and_compare(net, output, shape, tmp_path):
    data = net.write(["x"], [output])
    graph = load(data, tmp_path)
    assert isinstance(graph, QuantizedGraph)
    x = random_bytes(shape)
    expected, found = run_litert(data, x, reference=True), integer_output(graph, {"x": x})
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 15
    return graph


@pytest.mark.parametrize("name", IMAGES)
def test_operators_of_images(name, tmp_path):
    net = Network(len(name))
    net.activation("x", IMAGE, 0.04, -5)
    import_and_compare(net, IMAGES[name](net), IMAGE, tmp_path)


@pytest.mark.parametrize("name", ROWS)
def test_operators_of_rows(name, tmp_path):
    net = Network(len(name))
    net.activation("x", ROW, 0.04, -5)
    import_and_compare(net, ROWS[name](net), ROW, tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_random_layers(seed, tmp_path):
    random = np.random.default_rng(seed)
    net = Network(seed)
    height, width, channels, outputs, kh, kw = (int(n) for n in random.integers(1, 7, 6))
    height, width, stride = height + 3, width + 3, int(random.integers(1, 3))
    scales, zero_points = random.uniform(0.001, 0.2, 2), random.integers(-128, 128, 2)
    net.activation("x", (1, height, width, channels), scales[0], int(zero_points[0]))
    shape = (1, -(-height // stride), -(-width // stride), outputs)
    options = {"scale": scales[1], "zero_point": int(zero_points[1])}
    options |= {"per_channel": bool(seed % 2), "stride": stride}
    y = net.convolution("x", "y", (outputs, kh, kw, channels), shape, **options)
    import_and_compare(net, y, (1, height, width, channels), tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_random_depthwise_and_linear_layers_on_the_cluster(seed, tmp_path):
    random = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in random.integers(3, 14, 3))
    stride = 1 + seed % 2
    rows, columns = (int(n) for n in random.integers(stride, 4, 2))
    net = Network(seed)
    net.activation("x", (1, height, width, channels), 0.04, int(random.integers(-128, 128)))
    shape = (1, -(-height // stride), -(-width // stride), channels)
    options = {"stride": stride, "kind": "DEPTHWISE_CONV_2D", "scale": random.uniform(0.02, 0.1)}
    activation, zero_point = ((NONE, 5), (RELU, -128), (RELU6, -40))[seed % 3]
    options |= {"FusedActivationFunction": activation, "zero_point": zero_point}
    y = net.convolution("x", "depthwise", (1, rows, columns, channels), shape, **options)
    inputs = shape[1] * shape[2] * channels
    y = net.weighted("FULLY_CONNECTED", y, "y", (9, inputs), (1, 9), scale=0.1)
    x = random_bytes((1, height, width, channels), seed, count=2)
    graph = load(net.write(["x"], [y]), tmp_path)
    package = tvm_pulp.compile(tmp_path / "net.tflite")
    result = package.run({"x": x}, function="infer", runner=SimulatorRunner(checks=True))
    np.testing.assert_array_equal(result.outputs, integer_output(graph, {"x": x}))
    assert len(np.unique(result.outputs)) > 9


@pytest.mark.parametrize(
    "largest,ratio,spare",
    [(2**29, 0.01, True), (2**30, 0.01, False), (2**20, 0.7, False), (2**29, 2.0**-31, False)],
)
def test_sums_that_can_be_doubled(largest, ratio, spare):
    """Only with shifts to the right: 0.7 has none, and 2^-31 adds half a divisor of 30 bits."""
    node = SimpleNamespace(kind="CONV_2D")
    output = g.QuantizedTensor("y", (1, 1), 1.0, 0)
    _, requantization = rescaling(node, np.array([ratio, 0.02]), np.array([largest, 5]), output, (0, 255))
    assert requantization.spare_bit is spare


def test_padding_is_taken_into_the_convolution(tmp_path):
    net = Network()
    net.activation("x", IMAGE, 0.04, -5)
    graph = import_and_compare(net, padded(net), IMAGE, tmp_path)
    assert [type(o) for o in graph.operators] == [g.QuantizedInput, g.QuantizedConv2d, g.Transpose]


def whole_net():
    net = Network(2)
    net.activation("x", (1, 16, 16, 3), 0.03, 4)
    a = net.convolution("x", "a", (8, 3, 3, 3), (1, 8, 8, 8), stride=2, FusedActivationFunction=RELU6)
    b = net.convolution(a, "b", (1, 3, 3, 8), (1, 8, 8, 8), kind="DEPTHWISE_CONV_2D")
    c = net.convolution(b, "c", (8, 1, 1, 8), (1, 8, 8, 8))
    d = net.operator("ADD", [a, c], "d", (1, 8, 8, 8), 0.071, 3, FusedActivationFunction=RELU)
    widths = net.writer.constant("widths", np.array([[0, 0], [1, 0], [1, 0], [0, 0]], np.int32))
    d = net.operator("PAD", [d, widths], "padded", (1, 9, 9, 8), 0.071, 3)
    e = net.convolution(d, "e", (16, 3, 3, 8), (1, 4, 4, 16), stride=2, Padding=VALID)
    pool = {"FilterHeight": 2, "FilterWidth": 2, "StrideH": 2, "StrideW": 2, "Padding": VALID}
    e = net.operator("AVERAGE_POOL_2D", [e], "f", (1, 2, 2, 16), 0.05, -10, **pool)
    e = net.weighted("FULLY_CONNECTED", e, "logits", (10, 64), (1, 10), scale=0.1)
    return net.write(["x"], [net.operator("SOFTMAX", [e], "y", (1, 10), 1 / 256, -128, Beta=1.0)])


def test_a_net_on_the_cluster(tmp_path):
    data, x = whole_net(), random_bytes((1, 16, 16, 3), count=3)
    load(data, tmp_path)
    package = tvm_pulp.compile(tmp_path / "net.tflite")
    result = package.run({"x": x}, function="infer", runner=SimulatorRunner(checks=True))
    assert result.outputs.dtype == np.int8
    np.testing.assert_array_equal(result.outputs, run_litert(data, x, reference=True))


ON_THE_CLUSTER = [
    "sum with a constant a channel", "sum with one value a channel", "difference with a constant image",
    "product", "product with one value a channel", "transpose", "slice", "strided slice", "split",
    "nearest, doubled", "nearest, aligned corners", "slopes a channel", "mean of channels",
]  # fmt: skip


@pytest.mark.parametrize("name", ON_THE_CLUSTER)
def test_operators_on_the_cluster(name, tmp_path):
    net = Network(len(name))
    net.activation("x", IMAGE, 0.04, -5)
    graph, x = load(net.write(["x"], [IMAGES[name](net)]), tmp_path), random_bytes(IMAGE, count=2)
    package = tvm_pulp.compile(tmp_path / "net.tflite")
    result = package.run({"x": x}, function="infer", runner=SimulatorRunner(checks=True))
    np.testing.assert_array_equal(result.outputs, integer_output(graph, {"x": x}))
    again = read_integer_graph(package.directory / "src")
    np.testing.assert_array_equal(integer_output(again, {"x": x}), result.outputs)


def test_a_batch_of_the_file_becomes_one(tmp_path):
    """A file for four images at once, with a reshape and a linear layer behind them."""

    def write(batch):
        net = Network(5)
        net.activation("x", (batch, 8, 8, 4), 0.04, -5)
        y = net.convolution("x", "y", (8, 3, 3, 4), (batch, 4, 4, 8), stride=2)
        shape = net.writer.constant("shape", np.array([batch, 128], np.int32))
        y = net.operator("RESHAPE", [y, shape], "flat", (batch, 128), 0.05, -10)
        return net.write(["x"], [net.weighted("FULLY_CONNECTED", y, "z", (7, 128), (batch, 7))])

    x = random_bytes(IMAGE)
    expected = run_litert(write(1), x, reference=True)
    graph = load(write(4), tmp_path)
    assert graph.output.shape == (1, 7)
    np.testing.assert_array_equal(integer_output(graph, {"x": x}), expected)


def test_a_tensor_that_mixes_the_batch_is_named(tmp_path):
    net = Network()
    net.activation("x", (4, 16), 0.04, -5)
    shape = net.writer.constant("shape", np.array([1, 64], np.int32))
    data = net.write(["x"], [net.operator("RESHAPE", ["x", shape], "y", (1, 64), 0.04, -5)])
    with pytest.raises(
        UserError, match="which the batch of 4 does not divide: convert the model for a batch"
    ):
        load(data, tmp_path)


def test_float_ends(tmp_path):
    net = Network()
    net.writer.tensor("x", IMAGE)
    net.operator("QUANTIZE", ["x"], "q", IMAGE, 0.03, 2)
    net.convolution("q", "c", (4, 1, 1, 4), IMAGE)
    net.writer.operator("DEQUANTIZE", ["c"], "y", IMAGE)
    data = net.write(["x"], ["y"])
    halves = np.random.default_rng(0).integers(-200, 200, (4, *IMAGE[1:]))
    x = (halves.astype(np.float32) / 2 * np.float32(0.03)).astype(np.float32)
    graph, expected = load(data, tmp_path), run_litert(data, x, reference=True)
    np.testing.assert_array_equal(integer_output(graph, {"x": x}), expected)
    result = tvm_pulp.compile(tmp_path / "net.tflite").run({"x": x}, function="infer")
    np.testing.assert_array_equal(result.outputs, expected)


def unknown(net):
    return net.operator("EXP", ["x"], "y", ROW, 0.1, 0)


def wide(net):
    net.writer.operator("RELU", ["x"], "y", ROW, "int8")
    return net.writer.quantized("y", [0.1, 0.2])


def weight_with_zero_point(net):
    y = net.weighted("FULLY_CONNECTED", "x", "y", (10, 64), (1, 10))
    net.writer.quantized("y/weight", net.writer.quantizations["y/weight"][0], 3)
    return y


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            unknown,
            r"net: operator 0 \(EXP\) in layer 'exp' has no integer form: compile the float network with -",
        ),
        (wide, "net: tensor 'relu' is int8 with 2 scales: integer networks are of int8 with one scale a"),
        (weight_with_zero_point, r"layer 'y' \(FULLY_CONNECTED\): its weight has a zero point"),
    ],
)
def test_what_has_no_integer_form_is_named(build, message, tmp_path):
    net = Network()
    net.activation("x", ROW, 0.04, -5)
    with pytest.raises(UserError, match=message):
        load(net.write(["x"], [build(net)]), tmp_path)


def test_an_int8_model_is_not_trained(tmp_path):
    (tmp_path / "net.tflite").write_bytes(whole_net())
    with pytest.raises(UserError, match="net: the model is quantised: a float32 model is needed to train"):
        load_model(tmp_path / "net.tflite")


def test_the_command_takes_and_gives_bytes(tmp_path, capsys):
    data, x = whole_net(), random_bytes((1, 16, 16, 3), count=2)
    (tmp_path / "net.tflite").write_bytes(data)
    tar, inputs, outputs = (str(tmp_path / name) for name in ("net.tar", "in.npz", "out.npz"))
    assert main(["compile", "--target", "pulp", str(tmp_path / "net.tflite"), "-o", tar]) == 0
    np.savez(inputs, x=x)
    assert main(["run", tar, "--inputs", inputs, "--outputs", outputs, "--no-timing"]) == 0
    with np.load(outputs) as found:
        assert found["output"].dtype == np.int8
        np.testing.assert_array_equal(found["output"], run_litert(data, x, reference=True))
    np.savez(inputs, x=x.astype(np.int32) + 100)
    assert main(["run", tar, "--inputs", inputs]) == 1
    assert "the model takes whole numbers from -128 to 127: quantise the data" in capsys.readouterr().err
