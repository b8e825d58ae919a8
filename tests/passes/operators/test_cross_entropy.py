import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.host_executor import run_kernel
from tests.passes.single_operator import assert_close, normal
from tvm_pulp.passes.operators.cross_entropy import (
    cross_entropy,
    cross_entropy_gradient,
    cross_entropy_training,
)


@pytest.mark.parametrize(("samples", "classes"), [(1, 2), (8, 10), (3, 1000), (300, 4)])
@pytest.mark.parametrize("magnitude", [1, 300])
def test_agrees_with_pytorch(samples: int, classes: int, magnitude: float) -> None:
    logits = magnitude * normal(samples, classes)
    labels = np.random.default_rng(1).integers(0, classes, samples).astype(np.int32)
    exact = torch.tensor(logits.astype(np.float64), requires_grad=True)
    loss = functional.cross_entropy(exact, torch.tensor(labels).long())
    loss.backward()
    shape, scale = (samples, classes), 1 / samples
    _, _, actual = run_kernel(cross_entropy("loss", "forward", shape, scale), [logits, labels])
    assert_close(actual, loss.detach().numpy().reshape(1), "loss")
    _, _, gradient = run_kernel(cross_entropy_gradient("loss", "gradient", shape, scale), [logits, labels])
    assert_close(gradient, exact.grad.numpy(), "gradient")
    both = run_kernel(cross_entropy_training("loss", "and_gradient", shape, scale), [logits, labels])
    np.testing.assert_array_equal(both[2], actual)
    np.testing.assert_array_equal(both[3], gradient)
