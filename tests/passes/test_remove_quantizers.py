import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import build_model, operators, random_input, run
from tvm_pulp.passes.remove_quantizers import remove_quantizers


def quantized(builder, x, scale=0.1, zero_point=3, dtype="int8"):
    settings = relax.const(np.float32(scale)), relax.const(np.dtype(dtype).type(zero_point))
    q = builder.emit(relax.op.quantize(x, *settings, 0, dtype))
    return builder.emit(relax.op.dequantize(q, *settings, 0, "float32"))


def test_what_is_left_computes_in_float():
    def body(builder, x, w):
        x = quantized(builder, x)
        return builder.emit(relax.op.add(builder.emit(relax.op.nn.relu(x)), w))

    bias = random_input(6)
    after = remove_quantizers(build_model(body, parameters={"bias": bias}))
    assert operators(after) == ["nn.relu", "add"]
    x = random_input(2, 4, 6, 6)
    np.testing.assert_array_equal(run(after, x), np.maximum(x, 0) + bias)


@pytest.mark.parametrize(
    ("scale", "zero_point", "dtype", "expected"),
    [
        (0.1, -128, "int8", ["nn.relu", "add"]),
        (0.1, 0, "uint8", ["nn.relu", "add"]),
        (6 / 255, -128, "int8", ["clip", "add"]),
        (6 / 255, 0, "uint8", ["clip", "add"]),
        (0.1, -127, "int8", ["add"]),
        (0.1, 128, "uint8", ["add"]),
    ],
)
def test_integers_that_begin_at_zero_rectify(scale, zero_point, dtype, expected):
    def body(builder, x, w):
        return builder.emit(relax.op.add(quantized(builder, x, scale, zero_point, dtype), w))

    bias, x = random_input(6), 5 * random_input(2, 4, 6, 6)
    after = remove_quantizers(build_model(body, parameters={"bias": bias}))
    assert operators(after) == expected
    low = 0 if len(expected) > 1 else -np.inf
    np.testing.assert_array_equal(run(after, x), np.clip(x, low, 6 if "clip" in expected else np.inf) + bias)


def test_what_is_never_negative_is_not_rectified_again():
    def body(builder, x):
        x = quantized(builder, builder.emit(relax.op.nn.relu(x)), 6 / 200, -128)
        x = quantized(builder, builder.emit(relax.op.nn.max_pool2d(x)), 6 / 200, -128)
        x = quantized(builder, builder.emit(relax.op.add(x, x)), 0.1, -128)
        return builder.emit(relax.op.nn.softmax(x))

    after = remove_quantizers(build_model(body))
    assert operators(after) == ["nn.relu", "nn.max_pool2d", "add", "nn.softmax"]


def test_a_rectifier_is_bounded_where_the_integers_end_at_six():
    def body(builder, x):
        x = quantized(builder, builder.emit(relax.op.nn.relu(x)), 6 / 255, -128)
        return builder.emit(relax.op.nn.softmax(x))

    x = 9 * random_input(2, 4, 6, 6)
    after = remove_quantizers(build_model(body))
    assert operators(after) == ["nn.relu", "clip", "nn.softmax"]
    assert run(after, x).shape == x.shape


def test_the_output_is_not_rectified():
    def body(builder, x):
        return quantized(builder, builder.emit(relax.op.add(x, x)), 0.1, -128)

    assert operators(remove_quantizers(build_model(body))) == ["add"]
