from pathlib import Path

import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import call, operators, random_input
from tests.tvm_pulp.frontends.onnx_models import infer
from tests.tvm_pulp.frontends.quantized_tflite_models import run_litert
from tests.tvm_pulp.frontends.tflite_models import Writer, reference
from tvm_pulp.frontends import load_model
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.passes.trained_part import trained_parameters
from tvm_pulp.target.errors import UserError

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
RESNET8 = SHARED / "mlperf_tiny_resnet8_float32.tflite"
DYNAMIC_RANGE = SHARED / "mlperf_tiny_kws_dynamic_range.tflite"
SAME, VALID = 0, 1
RELU, RELU6 = 1, 3


def needs(path):
    return pytest.mark.skipif(not path.exists(), reason=f"{path.name} is not in ../shared/data")


def load(tmp_path, data, **keywords):
    (tmp_path / "net.tflite").write_bytes(data)
    return load_model(tmp_path / "net.tflite", **keywords)


def compare(tmp_path, data, shape, transposes=1):
    """Import for a batch and compare with the NumPy reference; returns the model."""
    model = load(tmp_path, data, batch=2)
    relax.analysis.well_formed(model.module)  # raises if it is not
    x = random_input(2, *shape)
    np.testing.assert_allclose(infer(model, x), reference(data, x), rtol=1e-5, atol=1e-5)
    found = operators(model)
    linear = found.count("matmul")
    assert found.count("permute_dims") == transposes + linear
    return model


def convolution(w, name, x, shape, weight, kind="CONV_2D", bias=True, padding=SAME, stride=1, **options):
    """A convolution with the names that Keras gives; returns its output."""
    suffix = "Conv2D" if kind == "CONV_2D" else "depthwise"
    channels = shape[-1]
    inputs = [x, w.constant(f"model/{name}/{suffix}", weight)]
    if bias:
        inputs.append(w.constant(f"model/{name}/BiasAdd/ReadVariableOp", random_input(channels, seed=9)))
    options = {"Padding": padding, "StrideH": stride, "StrideW": stride, **options}
    options.setdefault("DilationHFactor", 1)
    options.setdefault("DilationWFactor", 1)
    return w.operator(kind, inputs, f"model/{name}/Relu;model/{name}/BiasAdd", shape, **options)


def dense(w, x, features, bias=True):
    inputs = [x, w.constant("model/dense/MatMul", random_input(3, features, seed=8))]
    if bias:
        inputs.append(w.constant("model/dense/BiasAdd/ReadVariableOp", random_input(3, seed=7)))
    return w.operator("FULLY_CONNECTED", inputs, "model/dense/BiasAdd", (1, 3))


@pytest.mark.parametrize("stride,padding", [(1, SAME), (2, SAME), (1, VALID), (2, VALID)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_convolutions(tmp_path, stride, padding, dilation):
    if dilation > 1 and stride > 1:
        pytest.skip("TFLite has no convolution with both")
    reach = 2 * dilation + 1
    extent = -(-7 // stride) if padding == SAME else (7 - reach) // stride + 1
    w = Writer()
    x = w.tensor("image", (1, 7, 7, 4))
    y = convolution(
        w,
        "conv2d",
        x,
        (1, extent, extent, 6),
        random_input(6, 3, 3, 4, seed=1),
        stride=stride,
        padding=padding,
        DilationHFactor=dilation,
        DilationWFactor=dilation,
        FusedActivationFunction=RELU6,
    )
    y = convolution(w, "conv2d_1", y, (1, extent, extent, 2), random_input(2, 1, 1, 6, seed=2), bias=False)
    axes = w.constant("axes", np.array([1, 2], np.int32))
    y = w.operator("MEAN", [y, axes], "model/pool/Mean", (1, 2), KeepDims=0)
    model = compare(tmp_path, w.write([x], [y]), (7, 7, 4))
    assert list(model.parameters) == ["conv2d.weight", "conv2d.bias", "conv2d_1.weight"]
    assert model.parameters["conv2d.weight"].shape == (6, 4, 3, 3)
    expected = ["permute_dims", "nn.conv2d", "reshape", "add", "clip", "nn.conv2d", "mean", "reshape"]
    assert operators(model) == expected
    assert model.inputs == ("image",) and static_shape(model.input_variables[0]) == (2, 7, 7, 4)


@pytest.mark.parametrize("channels,multiplier", [(4, 1), (4, 2), (1, 3)])
def test_depthwise_convolutions(tmp_path, channels, multiplier):
    outputs = channels * multiplier
    w = Writer()
    x = w.tensor("x", (1, 6, 5, channels))
    y = convolution(
        w,
        "depthwise_conv2d",
        x,
        (1, 3, 3, outputs),
        random_input(1, 3, 3, outputs, seed=1),
        "DEPTHWISE_CONV_2D",
        stride=2,
        DepthMultiplier=multiplier,
        FusedActivationFunction=RELU,
    )
    axes = w.constant("axes", np.array([1, 2], np.int32))
    y = w.operator("MEAN", [y, axes], "model/pool/Mean", (1, 1, 1, outputs), KeepDims=1)
    shape = w.constant("shape", np.array([-1, outputs], np.int32))
    y = w.operator("RESHAPE", [y, shape], "model/flatten/Reshape", (1, outputs))
    # an input of one channel is the same in both layouts, so its transpose is a reshape
    model = compare(tmp_path, w.write([x], [y]), (6, 5, channels), transposes=int(channels > 1))
    assert model.parameters["depthwise_conv2d.weight"].shape == (outputs, 1, 3, 3)
    assert call(model, "nn.conv2d").attrs.groups == channels


def test_pools_padding_branches_and_concatenation(tmp_path):
    w = Writer()
    x = w.tensor("x", (1, 7, 8, 4))
    widths = w.constant("widths", np.array([[0, 0], [1, 0], [0, 2], [0, 0]], np.int32))
    y = w.operator("PAD", [x, widths], "model/pad/Pad", (1, 8, 10, 4))
    y = convolution(w, "a", y, (1, 6, 8, 4), random_input(4, 3, 3, 4, seed=1), padding=VALID)
    pool = {"Padding": SAME, "StrideH": 2, "StrideW": 2, "FilterHeight": 3, "FilterWidth": 3}
    left = w.operator("MAX_POOL_2D", [y], "model/left/MaxPool", (1, 3, 4, 4), **pool)
    right = w.operator("AVERAGE_POOL_2D", [y], "model/right/AvgPool", (1, 3, 4, 4), **pool)
    total = w.operator("ADD", [left, right], "model/add/add", (1, 3, 4, 4), FusedActivationFunction=RELU)
    joined = w.operator("CONCATENATION", [total, left], "model/concat/concat", (1, 3, 4, 8), Axis=3)
    pool = {"Padding": VALID, "StrideH": 1, "StrideW": 1, "FilterHeight": 3, "FilterWidth": 4}
    y = w.operator("AVERAGE_POOL_2D", [joined], "model/global/AvgPool", (1, 1, 1, 8), **pool)
    shape = w.constant("shape", np.array([-1, 8], np.int32))
    y = w.operator("RESHAPE", [y, shape], "model/flatten/Reshape", (1, 8))
    y = w.operator("SOFTMAX", [dense(w, y, 8)], "Identity", (1, 3), Beta=1)
    model = compare(tmp_path, w.write([x], [y]), (7, 8, 4))
    assert operators(model)[-3:] == ["matmul", "add", "nn.softmax"]
    assert "nn.pad" not in operators(model)
    assert [int(e) for e in call(model, "nn.conv2d").attrs.padding] == [1, 0, 0, 2]


def test_a_flatten_of_a_map_keeps_the_order_of_the_classifier_s_weights(tmp_path):
    w = Writer()
    x = w.tensor("x", (1, 4, 4, 2))
    y = convolution(w, "conv2d", x, (1, 4, 4, 3), random_input(3, 3, 3, 2, seed=1))
    y = dense(w, y, 48)  # flattens silently
    compare(tmp_path, w.write([x], [y]), (4, 4, 2), transposes=2)


def test_a_network_of_fully_connected_layers(tmp_path):
    w = Writer()
    x = w.tensor("serving_default_x:0", (1, 5))
    y = w.operator("LOGISTIC", [dense(w, x, 5, bias=False)], "out", (1, 3))
    model = compare(tmp_path, w.write([x], [y]), (5,), transposes=0)
    assert list(model.parameters) == ["dense.weight"] and model.inputs == ("serving_default_x:0",)


def test_constants_beside_weights_are_buffers(tmp_path):
    w = Writer()
    x = w.tensor("x", (1, 4, 4, 2))
    y = convolution(w, "conv2d", x, (1, 4, 4, 3), random_input(3, 3, 3, 2, seed=1))
    factor = w.constant("model/scale/mul/y", random_input(3, seed=2))
    y = w.operator("MUL", [y, factor], "model/scale/mul", (1, 4, 4, 3))
    axes = w.constant("axes", np.array([1, 2], np.int32))
    y = w.operator("MEAN", [y, axes], "model/pool/Mean", (1, 3), KeepDims=0)
    model = compare(tmp_path, w.write([x], [y]), (4, 4, 2))
    assert model.buffers == {"scale.constant"}


def test_weights_that_two_layers_share_are_refused(tmp_path):
    w = Writer()
    x = w.tensor("x", (1, 4, 4, 2))
    y = convolution(w, "a", x, (1, 4, 4, 2), random_input(2, 1, 1, 2, seed=1), bias=False)
    options = {"Padding": SAME, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
    y = w.operator("CONV_2D", [y, "model/a/Conv2D"], "model/b/Conv2D", (1, 4, 4, 2), **options)
    with pytest.raises(UserError, match=r"'a\.weight' is shared by"):
        load(tmp_path, w.write([x], [y]))


@needs(RESNET8)
def test_resnet8_of_mlperf_tiny():
    model = load_model(RESNET8, batch=3)
    found = operators(model)
    kinds = {name: found.count(name) for name in set(found)}
    assert found[0] == "permute_dims" and found[-1] == "nn.softmax"
    assert kinds == {
        "permute_dims": 2,  # of the input and of the classifier's weight
        "nn.conv2d": 9,
        "reshape": 10,
        "add": 13,
        "nn.relu": 7,
        "mean": 1,
        "matmul": 1,
        "nn.softmax": 1,
    }
    assert list(model.parameters)[:3] == ["conv2d.weight", "conv2d.bias", "conv2d_1.weight"]
    assert len(model.parameters) == 20 and not model.buffers
    x = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    result = infer(model, x)
    np.testing.assert_allclose(result, reference(RESNET8.read_bytes(), x), atol=2e-5)
    last = trained_parameters(model, ("*",), "activation_4")
    assert last[0] == "conv2d_6.weight" and last[-1] == "dense.bias"


def dequantised(integers, scales, axis):
    along = [-1 if index == axis else 1 for index in range(integers.ndim)]
    return integers.astype(np.float32) * np.reshape(np.asarray(scales, np.float32), along)


def test_a_dynamic_range_model_is_that_of_its_dequantised_weights(tmp_path):
    models = []
    for is_float in (False, True):
        w = Writer()
        y = w.tensor("x", (1, 7, 7, 4))
        for kind, name, shape, axis, options in [
            ("CONV_2D", "conv2d", (6, 3, 3, 4), 0, {}),
            ("DEPTHWISE_CONV_2D", "depthwise_conv2d", (1, 3, 3, 6), 3, {"DepthMultiplier": 1}),
        ]:
            random = np.random.default_rng(len(name))
            integers = random.integers(-127, 128, shape).astype(np.int8)
            scales = random.uniform(0.001, 0.01, 6).astype(np.float32)
            weight = dequantised(integers, scales, axis) if is_float else integers
            y = convolution(w, name, y, (1, 7, 7, 6), weight, kind, **options)
            if not is_float:
                w.quantized(w.operators[-1][1][1], scales, 0, axis)
        axes = w.constant("axes", np.array([1, 2], np.int32))
        y = w.operator("MEAN", [y, axes], "model/pool/Mean", (1, 6), KeepDims=0)
        integers = np.arange(-9, 9).astype(np.int8).reshape(3, 6)
        weight = dequantised(integers, [0.5], 9) if is_float else integers
        inputs = [y, w.constant("model/dense/MatMul", weight)]
        if not is_float:
            w.quantized(inputs[1], 0.5)
        y = w.operator("FULLY_CONNECTED", inputs, "model/dense/BiasAdd", (1, 3))
        models.append(load(tmp_path, w.write(["x"], [y]), batch=2))
    found, expected = models
    assert list(found.parameters) == list(expected.parameters)
    for name, value in expected.parameters.items():
        np.testing.assert_array_equal(found.parameters[name], value)
    x = random_input(2, 7, 7, 4)
    np.testing.assert_array_equal(infer(found, x), infer(expected, x))


@needs(DYNAMIC_RANGE)
def test_the_keyword_spotter_of_mlperf_tiny_in_dynamic_range():
    model = load_model(DYNAMIC_RANGE, batch=8)
    weight = model.parameters["conv2d_1.weight"]
    assert weight.shape == (64, 64, 1, 1) and len(np.unique(weight[0] / np.abs(weight[0]).max())) > 20
    x = random_input(8, 49, 10, 1)
    expected = run_litert(DYNAMIC_RANGE.read_bytes(), x)
    # LiteRT quantises activations to 8 bits before each layer; here they stay in float
    noise = ((infer(model, x) - expected) ** 2).sum() / (expected**2).sum()
    assert 10 * np.log10(noise) < -30


@pytest.mark.parametrize(
    "dtype,message",
    [("int8", "weight of int8 without a scale"), ("uint8", "of type uint8"), ("float16", "of type float16")],
)
def test_other_types_are_refused(tmp_path, dtype, message):
    w = Writer()
    x = w.tensor("x", (1, 4))
    weight = w.constant("model/dense/MatMul", np.ones((3, 4), dtype))
    y = w.operator("FULLY_CONNECTED", [x, weight], "y", (1, 3))
    with pytest.raises(UserError, match=f"layer 'dense'.*{message}"):
        load(tmp_path, w.write([x], [y]))


@pytest.mark.parametrize("kind,operator", [("GELU", "erf"), ("EXP", "exp")])
def test_operators_that_are_not_supported_are_named_with_their_layers(tmp_path, kind, operator):
    w = Writer()
    x = w.tensor("x", (1, 4))
    y = w.operator(kind, [x], "model/activation/out", (1, 4))
    with pytest.raises(UserError, match=f"operator {operator} in layer 'activation"):
        load(tmp_path, w.write([x], [y]))


def test_a_dynamic_batch_is_bound_and_other_axes_are_fixed(tmp_path):
    w = Writer()
    x = w.tensor("x", (1, 5))
    w.signatures["x"] = (-1, 5)
    y = dense(w, x, 5)
    assert load(tmp_path, w.write([x], [y]), batch=4).batch == 4
    w.signatures["x"] = (-1, -1)
    with pytest.raises(UserError, match="axis 1 of input 'x' is dynamic"):
        load(tmp_path, w.write([x], [y]))
    assert load(tmp_path, w.write([x], [y]), input_shapes={"x": [1, 5]}).batch == 1
    with pytest.raises(UserError, match="resize the model before converting"):
        load(tmp_path, w.write([x], [y]), input_shapes={"x": [1, 6]})


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\x1c\0\0\0TFL3", b"\x1c\0\0\0TFL3" + bytes(range(200))]
)
def test_damaged_files_are_refused(tmp_path, content):
    with pytest.raises(UserError, match="TFLite model") as caught:
        load(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_truncated_files_are_refused(tmp_path):
    w = Writer()
    x = w.tensor("x", (1, 5))
    data = w.write([x], [dense(w, x, 5)])
    for length in range(8, len(data) - 1, 37):
        with pytest.raises(UserError):
            load(tmp_path, data[:length])


def test_nan_in_a_weight_is_refused(tmp_path):
    w = Writer()
    x = w.tensor("x", (1, 4))
    weight = np.full((3, 4), np.nan, np.float32)
    y = w.operator("FULLY_CONNECTED", [x, w.constant("model/dense/MatMul", weight)], "y", (1, 3))
    with pytest.raises(UserError, match=r"parameter 'dense\.weight' holds NaN"):
        load(tmp_path, w.write([x], [y]))


def test_nothing_is_printed(tmp_path, capfd):
    w = Writer()
    x = w.tensor("x", (1, 4))
    y = w.operator("MEAN", [x, w.constant("axes", np.array([9], np.int32))], "y", (1,), KeepDims=0)
    with pytest.raises(UserError, match="operator MEAN in layer 'mean' cannot be imported"):
        load(tmp_path, w.write([x], [y]))
    out, err = capfd.readouterr()
    assert out == "" and err == ""
