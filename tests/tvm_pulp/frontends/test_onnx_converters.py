import numpy as np
import pytest
from onnx import helper

from tests.passes.small_models import call, operators, random_input
from tests.tvm_pulp.frontends.onnx_models import import_and_compare, onnx_model
from tvm_pulp.frontends.onnx_converters import decimal

WEIGHT = random_input(6, 4, 3, 3, seed=1)


def node(kind, *more_inputs, **attributes):
    return helper.make_node(kind, ["x", *more_inputs], ["z"], name="layer", **attributes)


def compare(main, initializers=None, shape=(2, 4, 6, 6), opset=17, scale=1.0):
    """Import a node followed by an offset that makes the model trainable."""
    nodes = [main, helper.make_node("Add", ["z", "offset"], ["y"])]
    initializers = {**(initializers or {}), "offset": np.array([0.5], np.float32)}
    x = scale * random_input(*shape)
    return import_and_compare(onnx_model(nodes, initializers, shape, opset), x)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 0, 2, 1], "strides": [2, 1]},
        {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"auto_pad": "VALID", "strides": [2, 2]},
    ],
)
def test_conv(attributes):
    model = compare(node("Conv", "w", "b", **attributes), {"w": WEIGHT, "b": random_input(6, seed=2)})
    assert operators(model) == ["nn.conv2d", "reshape", "add", "add"]
    compare(node("Conv", "w", **attributes), {"w": WEIGHT})


def test_depthwise_and_grouped_conv():
    compare(node("Conv", "w", group=4, pads=[1, 1, 1, 1]), {"w": random_input(8, 1, 3, 3, seed=1)})
    compare(node("Conv", "w", group=2), {"w": random_input(6, 2, 1, 1, seed=1)})


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"strides": [2, 2], "pads": [0, 1, 1, 0]},
        {"strides": [2, 2], "ceil_mode": 1},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "VALID"},
    ],
)
def test_pools(kind, attributes):
    model = compare(node(kind, kernel_shape=[3, 3], **attributes), shape=(2, 3, 8, 8))
    assert operators(model)[0] == ("nn.max_pool2d" if kind == "MaxPool" else "nn.avg_pool2d")


def test_average_pool_that_counts_padding():
    attributes = {"kernel_shape": [3, 3], "pads": [1, 0, 1, 1], "strides": [2, 2], "count_include_pad": 1}
    compare(node("AveragePool", **attributes), shape=(2, 3, 7, 7))


def test_max_pool_with_dilation():
    compare(node("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]))


def test_global_average_pool_is_a_mean():
    model = compare(node("GlobalAveragePool"))
    assert operators(model) == ["mean", "add"]


@pytest.mark.parametrize(
    "low,high,expected",
    [(0.0, 6.0, "clip"), (None, 1.0, "clip"), (0.0, None, "nn.relu"), (-1.0, 1.0, "clip")],
)
@pytest.mark.parametrize("as_constant", [True, False])
def test_clip_has_constant_bounds(low, high, expected, as_constant):
    bounds = {"low": low, "high": high}
    bounds = {name: np.float32(value) for name, value in bounds.items() if value is not None}
    names = ["low" if low is not None else "", *(["high"] if high is not None else [])]
    clip = node("Clip", *names)
    if not as_constant:
        model = compare(clip, bounds, scale=4.0)
    else:
        constants = [helper.make_node("Constant", [], [n], value_float=v) for n, v in bounds.items()]
        nodes = [*constants, clip, helper.make_node("Add", ["z", "offset"], ["y"])]
        proto = onnx_model(nodes, {"offset": np.array([0.5], np.float32)})
        model = import_and_compare(proto, 4 * random_input(2, 4, 6, 6))
    assert operators(model) == [expected, "add"]
    assert list(model.parameters) == ["offset"]


def test_batch_norm_has_the_momentum_of_pytorch_and_exact_attributes():
    names = ["scale", "bias", "mean", "var"]
    values = {name: np.abs(random_input(4, seed=i)) + 0.5 for i, name in enumerate(names)}
    model = compare(node("BatchNormalization", *names, epsilon=1e-3, momentum=0.9), values)
    attributes = call(model, "nn.batch_norm").attrs
    assert attributes.momentum == 0.1 and attributes.epsilon == 1e-3
    assert model.buffers == {"mean", "var"}


def test_decimal():
    assert decimal(np.float32(1e-5).item()) == 1e-5
    assert decimal(np.float32(0.9).item()) == 0.9


@pytest.mark.parametrize("opset", [11, 17, 18])
def test_pad(opset):
    pads = np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64)
    compare(node("Pad", "pads"), {"pads": pads}, opset=opset)
    compare(node("Pad", "pads", "value"), {"pads": pads, "value": np.float32(2)}, opset=opset)


def test_pad_of_some_axes():
    values = {"pads": np.array([1, 0, 0, 2], np.int64), "axes": np.array([-1, 2], np.int64)}
    compare(node("Pad", "pads", "", "axes"), values, opset=18)


def test_padding_before_a_convolution_goes_into_it():
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["y"], strides=[2, 2]),
    ]
    pads = np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int64)
    model = import_and_compare(onnx_model(nodes, {"pads": pads, "w": WEIGHT}), random_input(2, 4, 6, 6))
    assert operators(model) == ["nn.conv2d"]
    assert [int(e) for e in call(model, "nn.conv2d").attrs.padding] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "attributes,has_c",
    [
        ({"transB": 1}, True),
        ({"transB": 1}, False),
        ({}, True),
        ({"alpha": 0.5, "beta": 2.0, "transB": 1}, True),
    ],
)
def test_gemm_keeps_the_weight_in_its_own_layout(attributes, has_c):
    shape = (5, 12) if attributes.get("transB") else (12, 5)
    values = {"fc.weight": random_input(*shape, seed=1), **({"fc.bias": random_input(5)} if has_c else {})}
    model = compare(node("Gemm", *values, **attributes), values, (3, 12))
    assert model.parameters["fc.weight"].shape == shape
    found = operators(model)
    assert ("permute_dims" in found) == ("transB" in attributes) and "matmul" in found


@pytest.mark.parametrize("kind", ["Min", "Max", "Sum"])
def test_operators_of_many_operands(kind):
    nodes = [
        helper.make_node("Tanh", ["x"], ["a"]),
        helper.make_node("Constant", [], ["c"], value_float=0.25),
        helper.make_node(kind, ["a", "c"], ["z"]),
        helper.make_node("Mul", ["z", "scale"], ["y"]),
    ]
    model = import_and_compare(onnx_model(nodes, {"scale": random_input(6)}), random_input(2, 4, 6, 6))
    assert operators(model)[1] == {"Min": "clip", "Max": "clip", "Sum": "add"}[kind]


def test_dropout_and_identity_are_gone():
    nodes = [
        helper.make_node("Dropout", ["x", "ratio"], ["a", "mask"]),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("Mul", ["b", "scale"], ["c"]),
        helper.make_node("Dropout", ["c"], ["y"]),
    ]
    values = {"ratio": np.float32(0.5), "scale": random_input(6)}
    model = import_and_compare(onnx_model(nodes, values), random_input(2, 4, 6, 6))
    assert operators(model) == ["multiply"]


INT = np.int64


@pytest.mark.parametrize(
    "main,values,opset,expected",
    [
        (node("Softmax", axis=-1), {}, 17, ["nn.softmax"]),
        (node("Softmax", axis=3), {}, 11, None),
        (node("LogSoftmax", axis=1), {}, 17, ["nn.log_softmax"]),
        (node("Relu"), {}, 17, ["nn.relu"]),
        (node("Sigmoid"), {}, 17, ["sigmoid"]),
        (node("Tanh"), {}, 17, ["tanh"]),
        (node("Neg"), {}, 17, ["multiply"]),
        (node("HardSigmoid", alpha=0.2, beta=0.5), {}, 17, ["multiply", "add", "clip"]),
        (node("HardSwish"), {}, 17, ["add", "clip", "divide", "multiply"]),
        (node("Flatten", axis=1), {}, 17, ["reshape"]),
        (node("Flatten", axis=-2), {}, 17, ["reshape"]),
        (node("Reshape", "s"), {"s": np.array([0, -1], INT)}, 17, ["reshape"]),
        (node("Reshape", "s"), {"s": np.array([2, 24, 6], INT)}, 11, ["reshape"]),
        (node("Transpose", perm=[0, 2, 3, 1]), {}, 17, ["permute_dims"]),
        (node("Unsqueeze", axes=[1, 4]), {}, 11, ["reshape"]),
        (node("Unsqueeze", "a"), {"a": np.array([1, -1], INT)}, 17, ["reshape"]),
        (node("ReduceMean", axes=[2, 3], keepdims=1), {}, 11, ["mean"]),
        (node("ReduceMean", axes=[-1], keepdims=0), {}, 17, ["mean", "reshape"]),
        (node("ReduceMean", "a"), {"a": np.array([2, 3], INT)}, 18, ["mean"]),
        (helper.make_node("Concat", ["x", "x"], ["z"], axis=-3), {}, 17, ["concat"]),
        (node("Sub", "p"), {"p": random_input(4, 1, 1)}, 17, ["subtract"]),
        (node("Div", "p"), {"p": np.abs(random_input(6)) + 1}, 17, ["divide"]),
        (helper.make_node("Mul", ["p", "x"], ["z"]), {"p": random_input(6)}, 17, ["multiply"]),
        (node("MatMul", "p"), {"p": random_input(6, 5)}, 17, ["matmul"]),
    ],
)
def test_operators_that_tvm_converts(main, values, opset, expected):
    model = compare(main, values, opset=opset)
    if expected is not None:
        assert operators(model) == [*expected, "add"]


@pytest.mark.parametrize("opset", [11, 17])
def test_squeeze(opset):
    axes = np.array([2, 3], INT)
    main = node("Squeeze", axes=[2, 3]) if opset == 11 else node("Squeeze", "a")
    model = compare(main, {} if opset == 11 else {"a": axes}, (2, 4, 1, 1), opset)
    assert operators(model) == ["reshape", "add"]
