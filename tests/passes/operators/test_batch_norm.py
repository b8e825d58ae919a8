import numpy as np
import pytest
import torch
from torch.nn import functional
from tvm import relax

from tests.host_executor import run_kernel
from tests.passes.single_operator import assert_close, check_operator, normal
from tvm_pulp.passes.operators.batch_norm import (
    Activation,
    batch_norm_factors,
    batch_norm_inference,
    batch_norm_running,
    batch_norm_training,
)
from tvm_pulp.passes.operators.batch_norm_gradient import batch_norm_gradient
from tvm_pulp.target.tvm_names import PrimFunc, buffer_shape

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
    assert {n for n in names if "loss" not in n} == {"bn_forward", "bn_gradient"}


@pytest.mark.parametrize("activation", ["relu", "clip"])
def test_activation_is_part_of_the_kernels(activation: str) -> None:
    def build_with(builder: relax.BlockBuilder, *arguments: relax.Var) -> relax.Expr:
        normal = builder.emit(build(builder, *arguments))
        return relax.op.nn.relu(normal) if activation == "relu" else relax.op.clip(normal, 0.0, 1.5)

    def reference(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        normal = functional.batch_norm(x, None, None, w, b, training=True, eps=1e-3)
        return functional.relu(normal) if activation == "relu" else functional.hardtanh(normal, 0.0, 1.5)

    module = check_operator(
        build_with, reference, arrays((4, 3, 5, 7)), ("data", "bn.weight", "bn.bias"), {"bn"}
    )
    names = {v.name_hint for v, f in module.functions.items() if isinstance(f, PrimFunc)}
    assert {n for n in names if "loss" not in n} == {"bn_forward", "bn_gradient"}


@pytest.mark.parametrize("relu", [False, True])
def test_bias_before_changes_nothing_but_the_mean(relu: bool) -> None:
    data = {"data": normal(4, 3, 5, 7), "conv.bias": normal(3, seed=5) + 2}
    data |= {name: array for name, array in arrays((4, 3, 5, 7)).items() if name != "data"}

    def build_with(
        builder: relax.BlockBuilder, x: relax.Var, bias: relax.Var, *rest: relax.Var
    ) -> relax.Expr:
        column = builder.emit(relax.op.reshape(bias, (1, 3, 1, 1)))
        result = builder.emit(build(builder, builder.emit(relax.op.add(x, column)), *rest))
        return relax.op.nn.relu(result) if relu else result

    def reference(
        x: torch.Tensor, bias: torch.Tensor, w: torch.Tensor, b: torch.Tensor, *_: torch.Tensor
    ) -> torch.Tensor:
        biased = x + bias.reshape(1, 3, 1, 1)
        result = functional.batch_norm(biased, None, None, w, b, training=True, eps=1e-3)
        return functional.relu(result) if relu else result

    module = check_operator(build_with, reference, data, ("data", "bn.weight", "bn.bias"), {"bn"})
    names = {v.name_hint for v, f in module.functions.items() if isinstance(f, PrimFunc)}
    assert {n for n in names if "loss" not in n} == {"bn_forward", "bn_gradient"}


def test_gradient_of_a_bias_before_is_zero() -> None:
    shape = (4, 3, 5, 7)
    kernel = batch_norm_gradient("bn", "gradient", shape, Activation(), biased=True, data_gradient=True)
    channel = [normal(3, seed=n) for n in range(4)]
    assert not run_kernel(kernel, [normal(*shape), normal(*shape, seed=1), *channel])[-1].any()


def test_parameters_alone_need_no_data_gradient() -> None:
    def reference(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return functional.batch_norm(x, None, None, w, b, training=True, eps=1e-3)

    module = check_operator(build, reference, arrays((2, 3, 4, 5)), ("bn.bias",), {"bn"})
    (kernel,) = (f for v, f in module.functions.items() if v.name_hint == "bn_gradient")
    assert [buffer_shape(p) for p in kernel.params[6:]] == [(3,), (3,)]


@pytest.mark.parametrize("shape", SHAPES)
def test_running_statistics_are_one_multiply_add_an_element(shape: tuple[int, ...]) -> None:
    values = list(arrays(shape).values())
    factors = run_kernel(batch_norm_factors("bn", "factors", shape[1], 1e-3), values[1:])[-2:]
    kernel = batch_norm_inference("bn", "infer", shape)
    x, weight, bias, mean, variance = (torch.tensor(value.astype(np.float64)) for value in values)
    expected = functional.batch_norm(x, mean, variance, weight, bias, eps=1e-3)
    assert_close(run_kernel(kernel, [values[0], *factors])[-1], expected.numpy(), "output")


def test_statistics_of_data_far_from_zero() -> None:
    """The variance is of the deviations from the mean: no difference of large squares."""
    data = (1000 + 0.5 * normal(4, 3, 16, 16)).astype(np.float32)
    kernel = batch_norm_training("bn", "forward", data.shape, 1e-5, Activation(), biased=True)
    *_, mean, variance, inverse, biased_mean = run_kernel(
        kernel, [data, normal(3), normal(3), np.ones(3, "f4")]
    )
    exact = data.astype(np.float64)
    assert_close(mean, exact.mean((0, 2, 3)), "mean", 1e-6)
    assert_close(variance, exact.var((0, 2, 3)), "variance", 1e-5)
    assert_close(inverse, 1 / np.sqrt(exact.var((0, 2, 3)) + 1e-5), "inverse deviation", 1e-5)
    assert_close(biased_mean, exact.mean((0, 2, 3)) + 1, "mean with bias", 1e-6)


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
