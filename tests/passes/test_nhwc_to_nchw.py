import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import build_model, operators, random_input, run
from tvm_pulp.passes.nhwc_to_nchw import nhwc_to_nchw
from tvm_pulp.passes.rewrite import static_shape

IMAGE = {"x": (2, 6, 6, 4)}
OHWI = {"conv.weight": random_input(8, 3, 3, 4, seed=1)}
BIAS = {"conv.bias": random_input(8, seed=2)}


def convolution(builder, x, w, **attributes):
    """A convolution of the layouts that TFLite has, with its weight transposed in the graph."""
    weight = builder.emit(relax.op.permute_dims(w, [1, 2, 3, 0]))
    attributes = {"padding": [0, 0, 1, 1], "data_layout": "NHWC", "kernel_layout": "HWIO", **attributes}
    return builder.emit(relax.op.nn.conv2d(x, weight, **attributes))


def check(body, parameters, expected, inputs=None, transposes=1):
    """Compare what is computed; the graph may hold only the transpose at its input."""
    inputs = inputs or IMAGE
    before = build_model(body, inputs, parameters)
    after = nhwc_to_nchw(before)
    assert [name for name in operators(after) if name not in ("permute_dims", "reshape")] == expected
    assert operators(after).count("permute_dims") == transposes
    if transposes == 1:
        assert operators(after)[0] == "permute_dims"
    arrays = [random_input(*shape, seed=i) for i, shape in enumerate(inputs.values())]
    np.testing.assert_allclose(run(after, *arrays), run(before, *arrays), rtol=1e-5, atol=1e-5)
    assert list(after.parameters) == list(before.parameters)
    return after


def test_weights_are_transposed_once_and_biases_reshaped():
    def body(builder, x, w, bias):
        y = builder.emit(relax.op.add(convolution(builder, x, w), bias))
        y = builder.emit(relax.op.nn.relu(y))
        return relax.op.mean(y, [1, 2])

    after = check(body, {**OHWI, **BIAS}, ["nn.conv2d", "add", "nn.relu", "mean"])
    weight = after.parameters["conv.weight"]
    np.testing.assert_array_equal(weight, OHWI["conv.weight"].transpose(0, 3, 1, 2))
    assert weight.flags.c_contiguous
    assert static_shape(after.parameter_variables["conv.weight"]) == (8, 4, 3, 3)
    assert static_shape(after.input_variables[0]) == (2, 6, 6, 4)


def test_depthwise_convolution_with_a_multiplier():
    weight = {"conv.weight": random_input(1, 3, 3, 8, seed=1)}

    def body(builder, x, w):
        y = builder.emit(
            relax.op.nn.conv2d(
                x,
                builder.emit(relax.op.reshape(w, (3, 3, 8, 1))),
                groups=4,
                data_layout="NHWC",
                kernel_layout="HWOI",
            )
        )
        return relax.op.mean(y, [1, 2])

    after = check(body, weight, ["nn.conv2d", "mean"])
    assert after.parameters["conv.weight"].shape == (8, 1, 3, 3)


@pytest.mark.parametrize("pool", [relax.op.nn.avg_pool2d, relax.op.nn.max_pool2d])
def test_pools_and_a_flatten_of_a_pooled_map(pool):
    def body(builder, x):
        y = builder.emit(pool(x, (2, 3), (2, 3), [0, 0, 0, 0], layout="NHWC"))
        y = builder.emit(pool(y, (3, 2), (3, 2), layout="NHWC"))
        return relax.op.reshape(y, (2, 4))

    name = "nn.avg_pool2d" if pool is relax.op.nn.avg_pool2d else "nn.max_pool2d"
    check(body, {}, [name, name])


def test_a_flatten_of_a_larger_map_reads_it_transposed_back():
    def body(builder, x, w):
        return relax.op.reshape(convolution(builder, x, w), (2, -1))

    check(body, OHWI, ["nn.conv2d"], transposes=2)


def test_a_map_at_the_output_is_transposed_back():
    check(lambda b, x, w: convolution(b, x, w), OHWI, ["nn.conv2d"], transposes=2)


def test_what_lies_between_follows():
    weights = {**OHWI, "second.weight": random_input(8, 1, 1, 8, seed=3)}

    def body(builder, x, w, v):
        y = convolution(builder, x, w)
        y = builder.emit(relax.op.nn.pad(y, [0, 0, 1, 2, 0, 1, 0, 0]))
        y = builder.emit(relax.op.clip(y, 0, 6))
        y = builder.emit(relax.op.multiply(y, relax.const(np.float32(0.5))))
        z = convolution(builder, y, v, padding=[0, 0, 0, 0])
        y = builder.emit(relax.op.concat([y, z], axis=-1))
        y = builder.emit(relax.op.nn.softmax(y, axis=3))
        y = builder.emit(relax.op.mean(y, [1, 2], keepdims=True))
        return relax.op.reshape(y, (2, 16))

    names = ["nn.conv2d", "nn.pad", "clip", "multiply", "nn.conv2d", "concat", "nn.softmax", "mean"]
    check(body, weights, names)


def test_parameters_of_whole_maps_are_transposed_where_they_are_read():
    parameters = {**OHWI, "map": random_input(6, 6, 8, seed=4)}

    def body(builder, x, w, m):
        y = builder.emit(relax.op.add(convolution(builder, x, w, padding=[1, 1, 1, 1]), m))
        return relax.op.mean(y, [1, 2])

    check(body, parameters, ["nn.conv2d", "add", "mean"], transposes=2)


def test_a_residual_of_the_input_shares_its_transpose():
    weight = {"conv.weight": random_input(4, 3, 3, 4, seed=1)}

    def body(builder, x, w):
        y = builder.emit(relax.op.add(convolution(builder, x, w, padding=[1, 1, 1, 1]), x))
        return relax.op.mean(y, [1, 2])

    check(body, weight, ["nn.conv2d", "add", "mean"])


def test_transposes_of_the_model_itself_cancel():
    """A net converted from NCHW holds a transpose to NHWC at its input and one back before its end."""

    def body(builder, x, w):
        y = builder.emit(relax.op.permute_dims(x, [0, 2, 3, 1]))
        y = builder.emit(relax.op.permute_dims(convolution(builder, y, w), [0, 3, 1, 2]))
        return relax.op.reshape(y, (2, -1))

    check(body, OHWI, ["nn.conv2d"], {"x": (2, 4, 6, 6)}, transposes=0)


def test_elementwise_operators_before_the_first_convolution():
    def body(builder, x, w):
        y = builder.emit(relax.op.multiply(x, relax.const(np.float32(1 / 255))))
        return relax.op.mean(convolution(builder, y, w), [1, 2])

    model = nhwc_to_nchw(build_model(body, IMAGE, OHWI))
    assert operators(model) == ["permute_dims", "multiply", "nn.conv2d", "mean"]


def test_a_model_without_nhwc_operators_is_returned_as_it_is():
    model = build_model(lambda b, x: b.emit(relax.op.nn.avg_pool2d(x, (2, 2))))
    assert nhwc_to_nchw(model) is model
