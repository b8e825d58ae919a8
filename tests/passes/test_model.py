"""Tests of the Model dataclass and of `with_batch`."""

import numpy as np
import pytest
from tvm import IRModule, relax

from tvm_pulp.passes.model import Model, layer_of, with_batch
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.target.errors import UserError


def build(body, batch=1, parameters=None):
    parameters = parameters or {}
    builder = relax.BlockBuilder()
    image = relax.Var("x", relax.TensorType((batch, 4, 3, 3), "float32"))
    variables = [relax.Var(n, relax.TensorType(v.shape, "float32")) for n, v in parameters.items()]
    with builder.function("main", [image, *variables]):
        with builder.dataflow():
            result = builder.emit_output(body(builder, image, *variables))
        builder.emit_func_output(result)
    return Model("net", IRModule({"main": builder.get()["main"]}), ("x",), parameters)


def classifier(builder, image, weight, bias):
    flat = builder.emit(relax.op.reshape(image, (static_shape(image)[0], 36)), "flat")
    scale = builder.emit(relax.op.reshape(bias, (1, 5)), "scale")
    product = builder.emit(relax.op.matmul(flat, relax.op.permute_dims(weight, [1, 0])), "fc.matmul")
    return relax.op.add(product, scale)


PARAMETERS = {"fc.weight": np.ones((5, 36), "float32"), "fc.bias": np.ones(5, "float32")}


@pytest.mark.parametrize("old,new", [(1, 1), (1, 8), (8, 1), (4, 6)])
def test_batch_of_reshape_follows_and_parameters_stay(old, new):
    model = with_batch(build(classifier, old, PARAMETERS), new)
    assert model.batch == new
    assert static_shape(model.function.body.body) == (new, 5)
    assert list(model.parameter_variables) == ["fc.weight", "fc.bias"]
    assert [v.name for v in model.function.params] == ["x", "fc.weight", "fc.bias"]
    assert static_shape(model.parameter_variables["fc.bias"]) == (5,)


@pytest.mark.parametrize(
    "body",
    [
        lambda b, x: relax.op.permute_dims(x, [1, 0, 2, 3]),
        lambda b, x: relax.op.mean(x, axis=[0]),
        lambda b, x: relax.op.mean(x),
        lambda b, x: relax.op.nn.softmax(x, axis=-4),
        lambda b, x: relax.op.concat([x, x], axis=0),
        lambda b, x: relax.op.matmul(relax.op.reshape(x, (2, 36)), relax.op.reshape(x, (36, 2))),
    ],
)
def test_operators_across_samples_are_refused(body):
    with pytest.raises(UserError, match="batch"):
        with_batch(build(body, 2), 4)


def test_parameter_with_the_batch_size_in_its_shape_is_refused():
    model = build(lambda b, x, w: relax.op.add(x, w), 2, {"w": np.ones((2, 4, 3, 3), "float32")})
    with pytest.raises(UserError, match="cannot be changed from 2 to 3"):
        with_batch(model, 3)


def test_batch_below_one_is_refused():
    with pytest.raises(UserError, match="batch size 0"):
        with_batch(build(lambda b, x: relax.op.nn.relu(x)), 0)


def test_layer_of():
    assert layer_of("features.0.weight") == "features.0"
    assert layer_of("weight") == "weight"
