import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import build_model, names, operators, random_input, run
from tvm_pulp.passes.rewrite import (
    bindings,
    inferred,
    is_number,
    number,
    operands,
    operator_name,
    reason,
    rewrite,
    rewrite_function,
    static_shape,
)


def body(builder, x):
    y = builder.emit(relax.op.nn.relu(x), "y")
    builder.emit(relax.op.tanh(x), "unused")
    return relax.op.add(y, relax.op.sigmoid(y))


def test_without_a_transform_the_meaning_stays_and_unused_bindings_go():
    model = build_model(body)
    again = build_model(body)
    again = type(again)("net", rewrite(model.module, lambda emit, name, value: None), ("x",), {})
    assert operators(again) == ["nn.relu", "sigmoid", "add"]
    x = random_input(2, 4, 6, 6)
    np.testing.assert_array_equal(run(again, x), run(model, x))


def test_nested_calls_are_bound_under_names_that_tell_where_they_belong():
    def transform(emit, name, value):
        if operator_name(value) == "nn.relu":
            return relax.op.add(relax.op.tanh(value.args[0]), value.args[0])
        return None

    model = build_model(lambda b, x: b.emit(relax.op.nn.relu(x), "layer"))
    function = rewrite_function(model.function, transform)
    assert next(v.name for v, _ in bindings(function)) == "layer.tanh"


def test_names_with_dots_stay_and_become_unique():
    def transform(emit, name, value):
        return emit(value, "block.layer")

    model = build_model(body)
    function = rewrite_function(model.function, transform)
    assert [v.name for v, _ in bindings(function)][:3] == ["block.layer", "block.layer_3", "block.layer_4"]


def test_a_returned_variable_stands_for_the_binding():
    def transform(emit, name, value):
        return value.args[0] if operator_name(value) == "nn.relu" else None

    model = build_model(lambda b, x: relax.op.tanh(b.emit(relax.op.nn.relu(x))))
    function = rewrite_function(model.function, transform)
    assert [operator_name(value) for _, value in bindings(function)] == ["tanh"]


def test_an_intermediate_result_may_be_returned_too():
    def two(builder, x):
        y = builder.emit(relax.op.nn.relu(x))
        return relax.Tuple([y, relax.op.tanh(y)])

    model = build_model(two)
    function = rewrite_function(model.function, lambda emit, name, value: None)
    assert len(function.ret_ty.fields) == 2
    relax.analysis.well_formed(type(model.module)({"main": function}))  # raises if it is not


def test_a_tuple_of_one_is_unwrapped():
    model = build_model(lambda b, x: relax.Tuple([b.emit(relax.op.nn.relu(x))]))
    function = rewrite_function(model.function, lambda emit, name, value: None)
    assert isinstance(function.ret_ty, relax.TensorType)


def test_an_error_in_a_transform_comes_through():
    def transform(emit, name, value):
        raise KeyError(name)

    with pytest.raises(KeyError):
        rewrite(build_model(body).module, transform)


def test_reason_is_one_line_without_the_dump_of_the_operator():
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    y = relax.Var("y", relax.TensorType((4, 3), "float32"))
    with pytest.raises(ValueError) as caught:
        inferred(relax.op.add(x, y))
    text = reason(caught.value)
    assert text.startswith("add: the first input shape at dim 0")
    assert "\n" not in text


def test_helpers_read_expressions():
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    pair = relax.op.concat([x, x], axis=1)
    assert [v.name for v in operands(pair)] == ["x", "x"]
    assert static_shape(inferred(pair)) == (2, 6)
    assert is_number(relax.const([[2.5]], "float32"))
    assert number(relax.const([[2.5]], "float32")) == 2.5
    assert not is_number(relax.const([1.0, 2.0], "float32"))
    assert not is_number(x)
    with pytest.raises(ValueError):
        static_shape(relax.Var("n", relax.TensorType(dtype="float32", ndim=2)))
    assert names(build_model(body))[0] == "y"
