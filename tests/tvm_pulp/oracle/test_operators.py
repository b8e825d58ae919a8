import numpy as np
import pytest
import torch
from torch.nn import functional
from tvm import relax

from tests.passes.small_models import build_model, random_input, run
from tvm_pulp.oracle.operators import evaluate
from tvm_pulp.passes.check_operators import OPERATORS

X = relax.Var("x", relax.TensorType((2, 4, 7, 6), "float32"))
WEIGHT = random_input(6, 2, 3, 3, seed=1)
VECTOR = random_input(4, 1, 1, seed=2)

CASES = [
    ("nn.conv2d", lambda x, w: relax.op.nn.conv2d(x, w, 2, [1, 2, 1, 2], groups=2), [WEIGHT]),
    ("nn.conv2d", lambda x, w: relax.op.nn.conv2d(x, w, 2, [0, 1, 2, 0], groups=2), [WEIGHT]),
    ("nn.conv2d", lambda x, w: relax.op.nn.conv2d(x, w, 1, 2, 2, groups=2), [WEIGHT]),
    ("nn.relu", lambda x: relax.op.nn.relu(x), []),
    ("clip", lambda x: relax.op.clip(x, -0.5, 0.75), []),
    ("sigmoid", lambda x: relax.op.sigmoid(x), []),
    ("tanh", lambda x: relax.op.tanh(x), []),
    ("add", lambda x, v: relax.op.add(x, v), [VECTOR]),
    ("subtract", lambda x, v: relax.op.subtract(x, v), [VECTOR]),
    ("multiply", lambda x, v: relax.op.multiply(x, v), [VECTOR]),
    ("divide", lambda x, v: relax.op.divide(x, v), [np.abs(VECTOR) + 1]),
    ("matmul", lambda x, w: relax.op.matmul(x, w), [random_input(6, 5, seed=3)]),
    ("permute_dims", lambda x: relax.op.permute_dims(x, [0, 2, 3, 1]), []),
    ("permute_dims", lambda x: relax.op.permute_dims(x), []),
    ("reshape", lambda x: relax.op.reshape(x, (2, 28, 6)), []),
    ("nn.max_pool2d", lambda x: relax.op.nn.max_pool2d(x, (3, 2), 2, [1, 1, 1, 1]), []),
    ("nn.max_pool2d", lambda x: relax.op.nn.max_pool2d(x, (3, 2), 2, [0, 0, 2, 1]), []),
    ("nn.max_pool2d", lambda x: relax.op.nn.max_pool2d(x, (2, 2), 1, 0, 2), []),
    ("nn.avg_pool2d", lambda x: relax.op.nn.avg_pool2d(x, (3, 2), 2, [1, 1, 1, 1]), []),
    (
        "nn.avg_pool2d",
        lambda x: relax.op.nn.avg_pool2d(x, (3, 2), 2, [1, 1, 1, 1], count_include_pad=True),
        [],
    ),
    ("nn.avg_pool2d", lambda x: relax.op.nn.avg_pool2d(x, (3, 2), 2, [0, 0, 2, 1]), []),
    (
        "nn.avg_pool2d",
        lambda x: relax.op.nn.avg_pool2d(x, (3, 2), 2, [0, 0, 2, 1], count_include_pad=True),
        [],
    ),
    ("nn.adaptive_avg_pool2d", lambda x: relax.op.nn.adaptive_avg_pool2d(x, (3, 4)), []),
    ("mean", lambda x: relax.op.mean(x, [2, 3], keepdims=True), []),
    ("mean", lambda x: relax.op.mean(x, [1]), []),
    ("nn.pad", lambda x: relax.op.nn.pad(x, [0, 0, 1, 2, 3, 0, 0, 1], "constant", 1.5), []),
    ("concat", lambda x, v: relax.op.concat([x, v], 1), [random_input(2, 3, 7, 6, seed=4)]),
    ("nn.softmax", lambda x: relax.op.nn.softmax(x, 1), []),
    ("nn.log_softmax", lambda x: relax.op.nn.log_softmax(x, 3), []),
]


@pytest.mark.parametrize("operator,body,others", CASES)
def test_torch_and_lvm_agree(operator, body, others):
    parameters = {f"p{i}": value for i, value in enumerate(others)}
    model = build_model(lambda b, x, *p: b.emit(body(x, *p)), {"x": (2, 4, 7, 6)}, parameters)
    value = model.function.body.blocks[0].bindings[0].value
    assert value.op.name == f"relax.{operator}"
    x = random_input(2, 4, 7, 6)
    tensors = [torch.from_numpy(a) for a in (x, *others)]
    result = evaluate(value, [tensors] if operator == "concat" else tensors)
    np.testing.assert_allclose(result.numpy(), run(model, x), rtol=1e-5, atol=1e-6)


def test_every_operator_that_is_admitted_is_known():
    assert {operator for operator, _, _ in CASES} | {"nn.batch_norm"} == OPERATORS


def test_an_unknown_operator_is_an_error():
    with pytest.raises(KeyError):
        evaluate(relax.op.nn.gelu(X), [torch.zeros(2)])


def test_clip_has_no_gradient_at_its_bounds_as_relu6_has_none():
    x = torch.tensor([-1.0, 0.0, 3.0, 6.0, 7.0], requires_grad=True)
    evaluate(relax.op.clip(X, 0, 6), [x]).sum().backward()
    expected = torch.tensor([-1.0, 0.0, 3.0, 6.0, 7.0], requires_grad=True)
    functional.relu6(expected).sum().backward()
    torch.testing.assert_close(x.grad, expected.grad)
    assert x.grad.tolist() == [0, 0, 1, 0, 0]


def test_gradients_reach_the_operands_of_padded_pools():
    x = torch.from_numpy(random_input(1, 1, 4, 4)).requires_grad_()
    variable = relax.Var("x", relax.TensorType((1, 1, 4, 4), "float32"))
    evaluate(relax.op.nn.avg_pool2d(variable, (3, 3), 3, [0, 0, 2, 2]), [x]).sum().backward()
    assert torch.allclose(x.grad[0, 0, 0, 0], torch.tensor(1 / 9))
    assert torch.allclose(x.grad[0, 0, 3, 3], torch.tensor(1.0))
