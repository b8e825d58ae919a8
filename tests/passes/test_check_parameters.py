import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import build_model, random_input
from tvm_pulp.passes.check_parameters import check_parameters, refuse_shared
from tvm_pulp.target.errors import UserError


def scaled(builder, x, w):
    return builder.emit(relax.op.multiply(x, w), "scale")


@pytest.mark.parametrize("value,name", [(np.nan, "NaN"), (np.inf, "infinity")])
def test_values_that_are_no_numbers_are_refused(value, name):
    weight = random_input(6)
    weight[3] = value
    with pytest.raises(UserError, match=f"'layer.weight' holds {name}"):
        check_parameters(build_model(scaled, parameters={"layer.weight": weight}))


def test_a_model_without_trainable_parameters_is_refused():
    with pytest.raises(UserError, match="no trainable parameters"):
        check_parameters(build_model(lambda b, x: b.emit(relax.op.tanh(x))))
    model = build_model(scaled, parameters={"w": random_input(6)}, buffers=frozenset({"w"}))
    with pytest.raises(UserError, match="no trainable parameters"):
        check_parameters(model)


def test_a_parameter_that_two_layers_read_is_refused_with_both():
    def body(builder, x, w):
        view = builder.emit(relax.op.reshape(w, (1, 1, 1, 6)))
        y = builder.emit(relax.op.multiply(x, view), "first")
        return builder.emit(relax.op.add(y, w), "second")

    with pytest.raises(UserError, match="'w' is shared by the layers first, second"):
        check_parameters(build_model(body, parameters={"w": random_input(6)}))


def test_a_constant_may_be_read_twice():
    def body(builder, x, w, c):
        y = builder.emit(relax.op.multiply(x, c), "first")
        y = builder.emit(relax.op.multiply(y, c), "second")
        return builder.emit(relax.op.multiply(y, w))

    parameters = {"w": random_input(6), "first.constant": random_input(6)}
    model = build_model(body, parameters=parameters, buffers=frozenset({"first.constant"}))
    assert check_parameters(model) is model


def test_one_tensor_under_two_names_is_refused_with_both():
    with pytest.raises(UserError, match=r"a\.weight, b\.weight are one shared tensor"):
        refuse_shared("net", [["c.weight"], ["b.weight", "a.weight"]])
    refuse_shared("net", [["c.weight"], []])
