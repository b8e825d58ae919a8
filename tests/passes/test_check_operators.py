import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import build_model
from tvm_pulp.passes.check_operators import check_operators
from tvm_pulp.target.errors import UserError


@pytest.mark.parametrize(
    "body,message",
    [
        (lambda b, x: b.emit(relax.op.nn.gelu(x), "block3"), r"operator nn\.gelu in layer 'block3'"),
        (lambda b, x: b.emit(relax.op.sum(x, [1]), "total"), "operator sum in layer 'total'"),
        (lambda b, x: b.emit(relax.op.astype(x, "float16"), "half"), "operator astype in layer 'half'"),
        (
            lambda b, x: b.emit(relax.op.nn.pad(x, [1] * 8, "reflect"), "edge"),
            "padding mode reflect in layer 'edge'",
        ),
        (lambda b, x: b.emit(relax.op.nn.pad(x, [0] * 7 + [-1]), "crop"), "'crop' crops"),
    ],
)
def test_unknown_operators_are_named_with_their_layers(body, message):
    with pytest.raises(UserError, match=message) as caught:
        check_operators(build_model(body))
    assert "\n" not in str(caught.value)


def test_a_computed_kernel_is_refused():
    model = build_model(lambda b, x: b.emit_te(_twice, x))
    with pytest.raises(UserError, match="operator _twice"):
        check_operators(model)


def _twice(tensor):
    from tvm import te

    return te.compute(tensor.shape, lambda *i: tensor[i] * 2, name="twice")


def test_other_types_than_float32_are_refused():
    model = build_model(lambda b, x, w: b.emit(relax.op.tanh(x)), parameters={"w": np.ones(3, "float64")})
    with pytest.raises(UserError, match="argument 'w' is of type float64: only float32"):
        check_operators(model)


def test_supported_operators_pass():
    model = build_model(lambda b, x: b.emit(relax.op.nn.relu(x)))
    assert check_operators(model) is model
