import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import build_model, operators, random_input, run
from tvm_pulp.passes.remove_identity import remove_identity

ONE = relax.const(np.float32(1))


@pytest.mark.parametrize(
    "identity",
    [
        lambda x: relax.op.astype(x, "float32"),
        lambda x: relax.op.reshape(x, (2, 4, 6, 6)),
        lambda x: relax.op.flatten(x) if x.ty.ndim == 1 else relax.op.broadcast_to(x, (2, 4, 6, 6)),
        lambda x: relax.op.permute_dims(x, [0, 1, 2, 3]),
        lambda x: relax.op.nn.pad(x, [0] * 8),
        lambda x: relax.op.squeeze(x, []),
        lambda x: relax.op.strided_slice(x, [1], [0], [4]),
        lambda x: relax.op.add(x, relax.const(np.float32(0))),
        lambda x: relax.op.multiply(x, ONE),
        lambda x: relax.op.divide(x, ONE),
    ],
)
def test_identities_go(identity):
    model = build_model(lambda b, x: relax.op.tanh(b.emit(identity(x))))
    assert operators(remove_identity(model)) == ["tanh"]


def test_dropout_goes():
    model = build_model(lambda b, x: relax.op.tanh(b.emit(b.emit(relax.op.nn.dropout(x, 0.5))[0])))
    assert operators(remove_identity(model)) == ["tanh"]


@pytest.mark.parametrize(
    "change",
    [
        lambda x: relax.op.reshape(x, (2, 24, 6)),
        lambda x: relax.op.permute_dims(x, [0, 1, 3, 2]),
        lambda x: relax.op.permute_dims(x),
        lambda x: relax.op.nn.pad(x, [0, 0, 0, 0, 1, 0, 0, 0]),
        lambda x: relax.op.strided_slice(x, [1], [1], [4]),
        lambda x: relax.op.add(x, ONE),
        lambda x: relax.op.subtract(ONE, x),
        lambda x: relax.op.divide(ONE, x),
        lambda x: relax.op.add(x, relax.const(np.zeros((3, 1, 1, 1, 1), "float32"))),
    ],
)
def test_what_changes_something_stays(change):
    model = build_model(lambda b, x: b.emit(change(x)))
    after = remove_identity(model)
    assert operators(after) == operators(model)
    x = random_input(2, 4, 6, 6)
    np.testing.assert_array_equal(run(after, x), run(model, x))
