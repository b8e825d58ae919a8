import math

import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import build_model, call, operators, random_input, run
from tvm_pulp.passes.canonical_clip import canonical_clip


def number(value):
    return relax.const(np.float32(value))


@pytest.mark.parametrize(
    "bound,expected",
    [
        (lambda b, x: relax.op.nn.relu6(x), (0, 6)),
        (lambda b, x: relax.op.clip(x, -1, 1), (-1, 1)),
        (lambda b, x: relax.op.clip(x, 0, math.inf), None),
        (lambda b, x: relax.op.maximum(x, number(0)), None),
        (lambda b, x: relax.op.maximum(number(-2), x), (-2, math.inf)),
        (lambda b, x: relax.op.minimum(x, number(1)), (-math.inf, 1)),
        (lambda b, x: relax.op.minimum(b.emit(relax.op.nn.relu(x)), number(6)), (0, 6)),
        (lambda b, x: relax.op.clip(b.emit(relax.op.clip(x, -1, 2)), 0, 6), (0, 2)),
    ],
)
def test_bounds_become_relu_or_one_clip(bound, expected):
    model = build_model(lambda b, x: b.emit(bound(b, x)))
    after = canonical_clip(model)
    if expected is None:
        assert operators(after) == ["nn.relu"]
    else:
        assert operators(after) == ["clip"]
        found = call(after, "clip")
        assert (found.args[1].value, found.args[2].value) == expected
    x = 4 * random_input(2, 4, 6, 6)
    np.testing.assert_array_equal(run(after, x), run(model, x))


def test_a_clip_between_infinities_goes():
    model = build_model(lambda b, x: relax.op.tanh(b.emit(relax.op.clip(x, -math.inf, math.inf))))
    assert operators(canonical_clip(model)) == ["tanh"]


def test_bounds_that_exclude_each_other_stay_two():
    model = build_model(lambda b, x: relax.op.clip(b.emit(relax.op.clip(x, 0, 1)), 2, 3))
    assert operators(canonical_clip(model)) == ["clip", "clip"]


def test_the_inner_bound_stays_for_others_that_read_it():
    def body(builder, x):
        inner = builder.emit(relax.op.nn.relu(x))
        return relax.op.add(inner, builder.emit(relax.op.minimum(inner, number(6))))

    after = canonical_clip(build_model(body))
    assert operators(after) == ["nn.relu", "clip", "add"]


def test_a_maximum_of_two_tensors_is_left_alone():
    model = build_model(lambda b, x: relax.op.maximum(x, b.emit(relax.op.tanh(x))))
    assert operators(canonical_clip(model)) == ["tanh", "maximum"]
