import pytest

from tvm_pulp.frontends.shapes import resolve_shapes
from tvm_pulp.target.errors import UserError


def test_the_batch_is_bound_and_others_come_from_the_user():
    dimensions = {"x": ["n", 3, "h", "w"], "z": [None, 5]}
    shapes = resolve_shapes("net", dimensions, {"x": [7, 3, 8, 9]}, 4)
    assert shapes == {"x": [4, 3, 8, 9], "z": [4, 5]}


def test_static_shapes_need_nothing():
    assert resolve_shapes("net", {"x": [2, 3]}, None, 4) == {"x": [2, 3]}
    assert resolve_shapes("net", {"x": [2, 3]}, {"x": [9, 3]}, 4) == {"x": [2, 3]}


def test_a_symbol_has_one_number():
    assert resolve_shapes("net", {"x": ["n", "h", "h"]}, {"x": [1, 6, 6]}, 2) == {"x": [2, 6, 6]}
    with pytest.raises(
        UserError, match="axis 2 of input 'x' must be 6 like another axis of the symbol h, but 7"
    ):
        resolve_shapes("net", {"x": ["n", "h", "h"]}, {"x": [1, 6, 7]}, 2)


@pytest.mark.parametrize(
    "dimensions,given,message",
    [
        ({"x": ["n", 3, "h"]}, None, "axis 2 of input 'x' is dynamic: give its shape by input_shapes"),
        ({"x": ["n", 3, None]}, None, "for example {'x': [2, 3, 32]}"),
        ({"x": ["n", 3]}, {"y": [1, 3]}, "names 'y', but the inputs are: x"),
        ({"x": ["n", 3]}, {"x": [1, 3, 4]}, "gives [1, 3, 4] for 'x', which has 2 axes"),
        ({"x": ["n", 3]}, {"x": [1, 4]}, "gives [1, 4] for 'x', whose shape in the model is ['?', 3]"),
        ({"x": ["n", "c"]}, {"x": [1, 0]}, "gives [1, 0] for 'x'"),
    ],
)
def test_what_is_missing_or_contradicts_is_refused(dimensions, given, message):
    with pytest.raises(UserError) as caught:
        resolve_shapes("net", dimensions, given, 2)
    assert message in str(caught.value) and str(caught.value).startswith("net: ")
