import numpy as np
from tvm import relax

from tests.passes.small_models import build_model
from tvm_pulp.passes.name_bindings import name_bindings
from tvm_pulp.passes.rewrite import bindings

WEIGHT = {"p_weight": np.ones((5, 6), "float32"), "p_bias": np.ones(5, "float32")}
RENAMED = {"p_weight": "fc.weight", "p_bias": "fc.bias"}


def linear(builder, x, weight, bias):
    y = builder.emit(relax.op.matmul(x, builder.emit(relax.op.permute_dims(weight))))
    return builder.emit(relax.op.add(y, bias))


def test_known_names_are_kept_and_others_derive_from_parameters():
    model = build_model(linear, {"x": (2, 6)}, WEIGHT)
    add = next(v for v, value in bindings(model.function) if value.op.name == "relax.add")
    function = name_bindings(model.function, {add: "fc"}, RENAMED.values(), RENAMED)
    assert [v.name for v in function.params] == ["x", "fc.weight", "fc.bias"]
    assert [v.name for v, _ in bindings(function)] == ["fc.permute_dims", "fc.matmul", "fc"]


def test_unknown_names_derive_from_what_is_read():
    def body(builder, x):
        return relax.op.tanh(builder.emit(relax.op.nn.relu(x)))

    model = build_model(body)
    function = name_bindings(model.function, {}, ())
    assert [v.name for v, _ in bindings(function)] == ["x.relu", "x.relu.tanh"]


def test_bindings_that_nothing_uses_take_no_names():
    def body(builder, x):
        builder.emit(relax.op.tanh(x))
        return builder.emit(relax.op.nn.relu(x))

    model = build_model(body)
    known = {variable: "layer" for variable, _ in bindings(model.function)}
    assert [v.name for v, _ in bindings(name_bindings(model.function, known, ()))] == ["layer"]
