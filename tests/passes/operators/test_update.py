import numpy as np
import pytest
import torch

from tests.host_executor import run_kernel
from tests.passes.single_operator import assert_close, normal
from tvm_pulp.passes.operators.update import accumulate, sgd


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("clear", [False, True])
def test_three_steps_are_those_of_pytorch(momentum: float, weight_decay: float, clear: bool) -> None:
    shape = (3, 4, 2)
    parameter = torch.nn.Parameter(torch.tensor(normal(*shape).astype(np.float64)))
    optimizer = torch.optim.SGD([parameter], 0.05, momentum, weight_decay=weight_decay)
    kernel = sgd("conv", "weight_update", shape, momentum, weight_decay, clear)
    weight, velocity = normal(*shape), np.zeros(shape, np.float32)
    assert len(kernel.params) == (4 if momentum else 3)
    for step in range(3):
        gradient = normal(*shape, seed=step + 1)
        parameter.grad = torch.tensor(gradient.astype(np.float64))
        optimizer.step()
        state = [velocity] if momentum else []
        weight, after, _, *state = run_kernel(
            kernel, [weight, gradient, np.array([0.05], np.float32), *state]
        )
        assert_close(weight, parameter.detach().numpy(), "parameter", 1e-6)
        assert np.array_equal(after, np.zeros_like(gradient) if clear else gradient)
        if momentum:
            velocity = state[0]
            assert_close(velocity, optimizer.state[parameter]["momentum_buffer"].numpy(), "momentum", 1e-6)


def test_accumulation_adds_in_place() -> None:
    total, part = normal(5, 3), normal(5, 3, seed=1)
    kernel = accumulate("conv", "weight_accumulate", (5, 3))
    assert len(kernel.params) == 2
    assert np.array_equal(run_kernel(kernel, [total, part])[0], total + part)
