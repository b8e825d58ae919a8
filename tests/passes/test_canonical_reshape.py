import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import build_model, call, operators, random_input, run
from tvm_pulp.passes.canonical_reshape import canonical_reshape
from tvm_pulp.passes.rewrite import static_shape


@pytest.mark.parametrize(
    "view,shape",
    [
        (lambda x: relax.op.flatten(x), (32,)),
        (lambda x: relax.op.squeeze(x), (2, 4, 4)),
        (lambda x: relax.op.squeeze(x, [-1]), (2, 4, 4)),
        (lambda x: relax.op.expand_dims(x, 1), (2, 1, 4, 4, 1)),
        (lambda x: relax.op.reshape(x, (2, -1)), (2, 16)),
        (lambda x: relax.op.permute_dims(x, [0, 3, 1, 2]), (2, 1, 4, 4)),
    ],
)
def test_views_become_reshapes_to_literal_shapes(view, shape):
    model = build_model(lambda b, x: b.emit(view(x)), {"x": (2, 4, 4, 1)})
    after = canonical_reshape(model)
    assert operators(after) == ["reshape"]
    assert [int(e) for e in call(after, "reshape").args[1].values] == list(shape)
    x = random_input(2, 4, 4, 1)
    np.testing.assert_array_equal(run(after, x), run(model, x))


def test_views_of_views_become_one_and_those_that_cancel_go():
    def body(builder, x):
        y = builder.emit(relax.op.flatten(x))
        y = builder.emit(relax.op.expand_dims(y, 0))
        return relax.op.tanh(builder.emit(relax.op.reshape(y, (2, 4, 3))))

    assert operators(canonical_reshape(build_model(body, {"x": (2, 4, 3)}))) == ["tanh"]
    after = canonical_reshape(build_model(body, {"x": (2, 12)}))
    assert operators(after) == ["reshape", "tanh"]


def test_a_transpose_that_moves_data_stays():
    model = build_model(lambda b, x: b.emit(relax.op.permute_dims(x, [0, 3, 1, 2])))
    assert operators(canonical_reshape(model)) == ["permute_dims"]


def test_the_transpose_of_a_parameter_stays_even_if_an_axis_is_1():
    weight = {"w": np.ones((1, 6), "float32")}
    model = build_model(
        lambda b, x, w: relax.op.matmul(x, b.emit(relax.op.permute_dims(w))), {"x": (2, 6)}, weight
    )
    after = canonical_reshape(model)
    assert operators(after) == ["permute_dims", "matmul"]
    assert static_shape(after.function.body.body) == (2, 1)
