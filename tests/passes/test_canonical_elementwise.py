import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import build_model, call, operators, random_input, run
from tvm_pulp.passes.canonical_elementwise import canonical_elementwise
from tvm_pulp.passes.rewrite import is_number


@pytest.mark.parametrize(
    "body,expected",
    [
        (lambda b, x: relax.op.nn.silu(x), ["sigmoid", "multiply"]),
        (lambda b, x: relax.op.negative(x), ["multiply"]),
        (lambda b, x: relax.op.square(x), ["multiply"]),
        (lambda b, x: relax.op.nn.leakyrelu(x, 0.3), ["nn.relu", "subtract", "multiply", "add"]),
    ],
)
def test_composite_operators_are_written_out(body, expected):
    model = build_model(lambda b, x: b.emit(body(b, x)))
    after = canonical_elementwise(model)
    assert operators(after) == expected
    x = random_input(2, 4, 6, 6)
    np.testing.assert_allclose(run(after, x), run(model, x), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("axis", "channels"), [(1, 4), (-1, 6)])
def test_parametric_relu_has_a_slope_a_channel(axis, channels):
    slope = random_input(channels)
    model = build_model(lambda b, x, w: b.emit(relax.op.nn.prelu(x, w, axis)), parameters={"slope": slope})
    after = canonical_elementwise(model)
    x = random_input(2, 4, 6, 6)
    shape = [-1 if index == axis % 4 else 1 for index in range(4)]
    np.testing.assert_array_equal(run(after, x), np.where(x > 0, x, x * slope.reshape(shape)))


@pytest.mark.parametrize("operator", ["add", "multiply"])
def test_activations_come_before_parameters_and_these_before_numbers(operator):
    function = getattr(relax.op, operator)
    bias = {"b": random_input(6)}
    after = canonical_elementwise(build_model(lambda b, x, w: b.emit(function(w, x)), parameters=bias))
    assert [argument.name for argument in call(after, operator).args] == ["x", "b"]
    after = canonical_elementwise(build_model(lambda b, x: b.emit(function(relax.const(np.float32(2)), x))))
    assert is_number(call(after, operator).args[1])


def test_operators_that_do_not_commute_keep_their_order():
    model = build_model(lambda b, x: b.emit(relax.op.subtract(relax.const(np.float32(2)), x)))
    assert is_number(call(canonical_elementwise(model), "subtract").args[0])


def test_a_constant_of_one_element_is_a_scalar_unless_it_adds_axes():
    one = relax.const(np.full((1, 1, 1), 2, "float32"))
    after = canonical_elementwise(build_model(lambda b, x: b.emit(relax.op.add(x, one))))
    assert call(after, "add").args[1].ty.ndim == 0
    after = canonical_elementwise(build_model(lambda b, x: b.emit(relax.op.add(x, one)), {"x": (4, 3)}))
    assert call(after, "add").args[1].ty.ndim == 3
