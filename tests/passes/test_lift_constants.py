import numpy as np
from tvm import relax

from tests.passes.small_models import build_model, operators, random_input, run
from tvm_pulp.passes.lift_constants import lift_constants

VECTOR = relax.const(np.arange(6, dtype="float32"))


def test_float_constants_become_buffers_named_after_their_reader():
    def body(builder, x):
        y = builder.emit(relax.op.subtract(x, VECTOR), "mean")
        return builder.emit(relax.op.multiply(y, relax.const(np.float32(3))), "scale")

    model = build_model(body)
    after = lift_constants(model)
    assert list(after.parameters) == ["mean.constant"] and after.buffers == {"mean.constant"}
    assert [v.name for v in after.function.params] == ["x", "mean.constant"]
    assert after.function.params[1].ty.ndim == 1
    assert operators(after) == operators(model)
    x = random_input(2, 4, 6, 6)
    np.testing.assert_array_equal(run(after, x), run(model, x))


def test_scale_and_offset_of_a_batch_norm_get_the_usual_names():
    statistics = {"bn.running_mean": random_input(1), "bn.running_var": np.ones(1, "float32")}

    def body(builder, x, mean, variance):
        ones, zeros = relax.const(np.ones(1, "float32")), relax.const(np.zeros(1, "float32"))
        result = builder.emit(relax.op.nn.batch_norm(x, ones, zeros, mean, variance, axis=1), "norm")
        return builder.emit(result[0])

    after = lift_constants(build_model(body, {"x": (2, 1, 3, 3)}, statistics))
    assert list(after.parameters) == ["bn.running_mean", "bn.running_var", "bn.weight", "bn.bias"]
    assert after.buffers == {"bn.weight", "bn.bias"}


def test_names_that_are_taken_get_a_number():
    def body(builder, x, w):
        y = builder.emit(relax.op.add(x, VECTOR), "y")
        return builder.emit(relax.op.multiply(y, w), "z")

    after = lift_constants(build_model(body, parameters={"y.constant": random_input(6)}))
    assert list(after.parameters) == ["y.constant", "y.constant_2"]


def test_a_model_without_constants_is_returned_as_it_is():
    model = build_model(lambda b, x: b.emit(relax.op.tanh(x)))
    assert lift_constants(model) is model
