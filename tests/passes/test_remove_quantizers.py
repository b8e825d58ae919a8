import numpy as np
from tvm import relax

from tests.passes.small_models import build_model, operators, random_input, run
from tvm_pulp.passes.remove_quantizers import remove_quantizers


def test_what_is_left_computes_in_float():
    def body(builder, x, w):
        scale, zero_point = relax.const(np.float32(0.1)), relax.const(np.int8(3))
        q = builder.emit(relax.op.quantize(x, scale, zero_point, 0, "int8"))
        x = builder.emit(relax.op.dequantize(q, scale, zero_point, 0, "float32"))
        return builder.emit(relax.op.add(builder.emit(relax.op.nn.relu(x)), w))

    bias = random_input(6)
    after = remove_quantizers(build_model(body, parameters={"bias": bias}))
    assert operators(after) == ["nn.relu", "add"]
    x = random_input(2, 4, 6, 6)
    np.testing.assert_array_equal(run(after, x), np.maximum(x, 0) + bias)
