import numpy as np
import pytest
import torch
from torch.nn import functional
from tvm import relax

from tests.host_executor import run_kernel
from tests.passes.single_operator import assert_close, check_operator, normal
from tvm_pulp.passes.operators.batch_norm import (
    batch_norm_inference,
    batch_norm_running,
    batch_norm_statistics,
)
from tvm_pulp.target.tvm_names import PrimFunc

SHAPES = [(2, 3, 4, 5), (8, 4), (2, 3, 7), (8, 3, 24, 24), (1, 2, 80, 72)]


def arrays(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    channels = shape[1]
    return {
        "data": 2 * normal(*shape) + 3,
        "bn.weight": normal(channels, seed=1),
        "bn.bias": normal(channels, seed=2),
        "bn.running_mean": normal(channels, seed=3),
        "bn.running_var": abs(normal(channels, seed=4)) + 0.5,
    }


def build(builder: relax.BlockBuilder, *arguments: relax.Var) -> relax.Expr:
    result = builder.emit(relax.op.nn.batch_norm(*arguments, axis=1, epsilon=1e-3))
    return relax.TupleGetItem(result, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_training_mode_agrees_with_pytorch(shape: tuple[int, ...]) -> None:
    def reference(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return functional.batch_norm(x, None, None, w, b, training=True, eps=1e-3)

    module = check_operator(build, reference, arrays(shape), ("data", "bn.weight", "bn.bias"), {"bn"})
    names = {v.name_hint for v, f in module.functions.items() if isinstance(f, PrimFunc)}
    assert {n for n in names if "gradient" in n and "loss" not in n} == {
        "bn_parameter_gradients",
        "bn_data_gradient",
    }


def test_parameters_alone_need_no_data_gradient() -> None:
    def reference(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return functional.batch_norm(x, None, None, w, b, training=True, eps=1e-3)

    module = check_operator(build, reference, arrays((2, 3, 4, 5)), ("bn.bias",), {"bn"})
    assert "bn_data_gradient" not in {v.name_hint for v in module.get_global_vars()}


@pytest.mark.parametrize("shape", SHAPES)
def test_running_statistics_are_one_multiply_add_an_element(shape: tuple[int, ...]) -> None:
    values = list(arrays(shape).values())
    kernel = batch_norm_inference("bn", "infer", shape, 1e-3)
    x, weight, bias, mean, variance = (torch.tensor(value.astype(np.float64)) for value in values)
    expected = functional.batch_norm(x, mean, variance, weight, bias, eps=1e-3)
    assert_close(run_kernel(kernel, values)[-1], expected.numpy(), "output")


def test_statistics_of_data_far_from_zero() -> None:
    """The variance is of the deviations from the mean: no difference of large squares."""
    data = (1000 + 0.5 * normal(4, 3, 16, 16)).astype(np.float32)
    _, mean, variance, inverse = run_kernel(batch_norm_statistics("bn", "s", data.shape, 1e-5), [data])
    exact = data.astype(np.float64)
    assert_close(mean, exact.mean((0, 2, 3)), "mean", 1e-6)
    assert_close(variance, exact.var((0, 2, 3)), "variance", 1e-5)
    assert_close(inverse, 1 / np.sqrt(exact.var((0, 2, 3)) + 1e-5), "inverse deviation", 1e-5)


def test_running_update_is_pytorchs() -> None:
    data = normal(3, 4, 2, 2)
    norm = torch.nn.BatchNorm2d(4, momentum=0.2).double()
    before = normal(4, seed=7), abs(normal(4, seed=8))
    norm.running_mean.copy_(torch.tensor(before[0]))
    norm.running_var.copy_(torch.tensor(before[1]))
    norm(torch.tensor(data).double())
    statistics = data.mean((0, 2, 3)), data.var((0, 2, 3))
    kernel = batch_norm_running("bn", "running_update", data.shape, 0.2)
    assert len(kernel.params) == 4
    *_, mean, variance = run_kernel(kernel, [*statistics, *before])
    assert_close(mean, norm.running_mean.numpy(), "running mean")
    assert_close(variance, norm.running_var.numpy(), "running variance")
