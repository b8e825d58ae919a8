"""One training step and a few more of whole nets on the host, against PyTorch in float64."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from tvm import relax
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import bindings, operator_name
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.training_graph import TrainingGraph, build_training
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc

from tests.host_executor import HostExecutor
from tests.passes.single_operator import assert_close
from tvm_pulp.frontends.load import load_model


class Residual(nn.Module):
    """Strided and residual convolutions, depthwise and pointwise, batch norms, pooling, a linear classifier.

    No bias goes into a batch norm: its gradient is 0 but for rounding, with no value to compare.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8, momentum=0.3, eps=1e-3)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.pointwise = nn.Conv2d(8, 16, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(16)
        self.shortcut = nn.Conv2d(8, 16, 1, stride=2)
        self.classifier = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.stem_norm(self.stem(x)))
        x = functional.relu(x + self.norm1(self.conv1(x)))
        y = self.norm2(self.pointwise(functional.relu6(self.depthwise(x))))
        x = functional.relu(y + self.shortcut(x))
        return self.classifier(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


class Perceptron(nn.Module):
    """Linear layers and smooth activations, without a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(12, 9)
        self.out = nn.Linear(9, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.out(torch.tanh(self.hidden(torch.flatten(x, 1)))))


class SmallConvolutional(nn.Module):
    """A convolution with padding and pooling, and a softmax at the end."""

    def __init__(self, softmax: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.fc = nn.Linear(6 * 16, 5)
        self.softmax = softmax

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.conv(x)), 2)
        x = self.fc(torch.flatten(x, 1))
        return functional.softmax(x, 1) if self.softmax == "softmax" else functional.log_softmax(x, 1)


def batches(
    count: int, size: int, shape: tuple[int, ...], classes: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(5)
    return [
        (
            rng.standard_normal((size, *shape)).astype(np.float32),
            rng.integers(0, classes, size).astype(np.int32),
        )
        for _ in range(count)
    ]


def run_step(
    executor: HostExecutor,
    graph: TrainingGraph,
    memory: dict[str, np.ndarray],
    x: np.ndarray,
    labels: np.ndarray,
) -> tuple[float, np.ndarray, list[np.ndarray], dict[str, np.ndarray]]:
    """Loss, output, gradients (if kept) of one mini-batch, and the memory after it."""
    name = graph.model.inputs[0]
    if graph.config.passes_per_step == 1:
        (loss, output, *gradients), memory = executor.run("train_step", {**memory, name: x, "labels": labels})
        return float(loss[0]), output, gradients, memory
    total, outputs, sums = 0.0, [], []
    size = graph.config.samples_per_pass
    for start in range(0, len(x), size):
        part = {name: x[start : start + size], "labels": labels[start : start + size]}
        (loss, output, *gradients), memory = executor.run("gradient_step", {**memory, **part})
        total += float(loss[0])
        outputs.append(output)
        sums = gradients if not sums else [a + b for a, b in zip(sums, gradients, strict=True)]
    _, memory = executor.run("update_step", memory)
    return total, np.concatenate(outputs), sums, memory


def check_against_pytorch(
    net: nn.Module,
    config: TrainConfig,
    frozen: tuple[str, ...] = (),
    evaluated: tuple[str, ...] = (),
    steps: int = 1,
    shape: tuple[int, ...] = (3, 8, 8),
    loss_name: str = "cross-entropy",
    from_probabilities: bool = False,
    tolerance: float = 1e-5,
) -> TrainingGraph:
    """Train a net by its graph and in PyTorch; `frozen`, `evaluated`: prefixes of their names."""
    net = net.train()
    graph = build_training(load_model(net, input_shapes={"x": [1, *shape]}, batch=1), config)
    reference = copy.deepcopy(net).double()
    for module_name, module in reference.named_modules():
        if module_name and module_name.startswith(evaluated or ("-",)):
            module.eval()
    trained = [(n, p) for n, p in reference.named_parameters() if not n.startswith(frozen or ("-",))]
    assert [name for name, _ in trained] == list(graph.trainable)
    optimizer = torch.optim.SGD(
        [p for _, p in trained], config.learning_rate, config.momentum, weight_decay=config.weight_decay
    )
    executor = HostExecutor(graph.module)
    memory = {**graph.model.parameters, **graph.states}
    for x, labels in batches(steps, config.batch_size, shape, 4):
        targets: np.ndarray = labels
        if loss_name == "mse":
            targets = np.eye(4, dtype=np.float32)[labels]
        loss, output, gradients, memory = run_step(executor, graph, memory, x, targets)
        optimizer.zero_grad()
        size = config.samples_per_pass
        expected_loss, expected_output = 0.0, []
        for start in range(0, len(x), size):
            y = reference(torch.tensor(x[start : start + size].astype(np.float64)))
            part = torch.tensor(targets[start : start + size])
            if loss_name == "mse":
                part_loss = functional.mse_loss(y, part.double())
            elif from_probabilities:
                part_loss = functional.nll_loss(torch.log(y), part.long())
            else:
                part_loss = functional.cross_entropy(y, part.long())
            part_loss = part_loss / config.passes_per_step
            part_loss.backward()
            expected_loss += part_loss.item()
            expected_output.append(y.detach().numpy())
        assert abs(loss - expected_loss) <= tolerance * abs(expected_loss)
        assert_close(output, np.concatenate(expected_output), "output", tolerance)
        for (name, parameter), gradient in zip(trained if gradients else [], gradients, strict=True):
            assert_close(gradient, parameter.grad.numpy(), f"gradient of {name}", tolerance)
        optimizer.step()
    for name, value in reference.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert_close(memory[name], value.numpy(), name, tolerance)
    if config.momentum:
        for name, parameter in trained:
            buffer = optimizer.state[parameter]["momentum_buffer"]
            assert_close(memory[f"momentum:{name}"], buffer.numpy(), f"momentum of {name}", tolerance)
    reference.eval()
    x = batches(1, 1, shape, 4)[0][0]
    (output,), _ = executor.run("infer", {**memory, "x": x})
    with torch.no_grad():
        assert_close(output, reference(torch.tensor(x.astype(np.float64))).numpy(), "inference", tolerance)
    return graph


def seeded(net: Any, *arguments: Any) -> nn.Module:
    torch.manual_seed(3)
    module = net(*arguments)
    for name, value in module.state_dict().items():
        if value.dtype.is_floating_point and value.ndim == 1:  # batch norms that do something, biases above 0
            value.copy_(torch.rand_like(value) + (0.5 if "var" in name or "weight" in name else 0.0))
    return module


FULL = TrainConfig(batch_size=4, learning_rate=0.05, momentum=0.9, weight_decay=1e-2, keep_gradients=True)


def test_residual_net_is_trained_whole() -> None:
    check_against_pytorch(seeded(Residual), FULL)


def test_several_steps_agree() -> None:
    check_against_pytorch(seeded(Residual), FULL, steps=5, tolerance=3e-5)


def test_micro_batches_accumulate() -> None:
    config = TrainConfig(
        batch_size=6, micro_batch=2, momentum=0.5, weight_decay=1e-3, learning_rate=0.1, keep_gradients=True
    )
    graph = check_against_pytorch(seeded(Residual), config, steps=2, tolerance=2e-5)
    assert {v.name_hint for v, f in graph.module.functions.items() if isinstance(f, relax.Function)} == {
        "gradient_step",
        "update_step",
        "infer",
    }


def test_without_momentum_and_decay_there_is_no_state_but_the_rate() -> None:
    graph = check_against_pytorch(seeded(Residual), TrainConfig(batch_size=4, learning_rate=0.1))
    assert list(graph.states) == ["learning_rate"]


def test_frozen_part_costs_no_gradient() -> None:
    config = TrainConfig(batch_size=4, momentum=0.9, freeze_until="norm1", keep_gradients=True)
    frozen = ("stem", "conv1", "norm1")
    graph = check_against_pytorch(seeded(Residual), config, frozen, evaluated=frozen)
    called = kernel_calls(graph)
    assert not [name for name in called if name.startswith(frozen) and not name.endswith("_forward")]
    assert sum("gradient" in name for name in called) == sum(
        (
            1,  # loss
            3,  # classifier: data, weight, bias
            1,  # pooling
            1,  # rectifier after the sum
            2,  # norm2: both parameters, data
            2,  # pointwise: data, weight
            1,  # ReLU6
            2,  # depthwise: bias, weight; what is before it is frozen
            2,  # shortcut: bias, weight
        )
    )


def kernel_calls(graph: TrainingGraph, name: str = "train_step") -> list[str]:
    values = (value for _, value in bindings(graph.module[name]))
    return [v.args[0].name_hint for v in values if operator_name(v).startswith("call_tir")]


def test_a_single_bias_is_trained() -> None:
    config = TrainConfig(batch_size=4, trainable=("classifier.bias",), keep_gradients=True)
    frozen = ("stem", "conv1", "norm", "depthwise", "pointwise", "shortcut", "classifier.weight")
    graph = check_against_pytorch(seeded(Residual), config, frozen, evaluated=("stem_norm", "norm"))
    assert [name for name in kernel_calls(graph) if "gradient" in name or "update" in name] == [
        "loss_gradient",
        "classifier_bias_gradient",
        "classifier_bias_update",
    ]


def test_batch_norm_between_frozen_and_trained_layers() -> None:
    """Its own parameters are frozen, but gradients flow through it: it runs in training mode."""
    config = TrainConfig(batch_size=4, trainable=("conv1.*", "classifier.*"), keep_gradients=True)
    frozen = ("stem", "norm", "depthwise", "pointwise", "shortcut")
    check_against_pytorch(seeded(Residual), config, frozen, evaluated=("stem_norm",))


def test_mean_squared_error() -> None:
    config = TrainConfig(loss="mse", batch_size=6, micro_batch=3, momentum=0.9, keep_gradients=True)
    check_against_pytorch(seeded(Perceptron), config, shape=(3, 2, 2), loss_name="mse")


@pytest.mark.parametrize("softmax", ["softmax", "log_softmax"])
def test_softmax_at_the_end_is_taken_into_the_loss(softmax: str) -> None:
    net = seeded(SmallConvolutional, softmax)
    graph = check_against_pytorch(net, FULL, from_probabilities=softmax == "softmax")
    kernels = {v.name_hint: f for v, f in graph.module.functions.items() if isinstance(f, PrimFunc)}
    assert not any("softmax_gradient" in str(f.attrs["pulp.operator"]) for f in kernels.values())


def test_large_logits_stay_finite() -> None:
    net = seeded(SmallConvolutional, "log_softmax")
    net.fc.weight.data *= 300
    check_against_pytorch(net, TrainConfig(batch_size=4, keep_gradients=True))


def test_function_arguments_bear_the_models_names() -> None:
    graph = build_training(load_model(seeded(Residual), input_shapes={"x": [1, 3, 8, 8]}), FULL)
    names = [argument.name for argument in graph.module["train_step"].params]
    momenta = [f"momentum:{name}" for name in graph.trainable]
    assert names == ["x", "labels", *graph.model.parameters, "learning_rate", *momenta]
    assert str(graph.module["train_step"].params[1].ty.dtype) == "int32"


def test_bodies_hold_kernels_and_views_only() -> None:
    graph = build_training(load_model(seeded(Residual), input_shapes={"x": [1, 3, 8, 8]}), FULL)
    allowed = {"call_tir", "call_tir_inplace", "reshape"}
    for name in ("train_step", "infer"):
        for variable, value in bindings(graph.module[name]):
            assert isinstance(value, relax.TupleGetItem) or operator_name(value) in allowed, variable.name


def test_kernels_say_what_they_are() -> None:
    graph = build_training(load_model(seeded(Residual), input_shapes={"x": [1, 3, 8, 8]}), FULL)
    for variable, function in graph.module.functions.items():
        if isinstance(function, PrimFunc):
            assert str(function.attrs["global_symbol"]) == variable.name_hint
            assert {"pulp.operator", "pulp.layer", "pulp.macs"} <= set(function.attrs.keys())
    names = {v.name_hint for v in graph.module.get_global_vars()}
    assert {
        "conv1_weight_gradient",
        "conv1_data_gradient",
        "norm1_statistics",
        "classifier_bias_update",
    } <= names


def model_of(net: nn.Module, shape: tuple[int, ...] = (3, 8, 8)) -> Model:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

    return load_model(Named().eval(), input_shapes={"x": [1, *shape]})


def test_output_that_is_no_row_of_logits_is_refused() -> None:
    with pytest.raises(UserError, match=r"cross-entropy needs \[batch, classes\]"):
        build_training(model_of(nn.Sequential(nn.Conv2d(3, 4, 3))), TrainConfig())


def test_several_outputs_are_refused() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.a(torch.flatten(x, 1))
            return y, torch.relu(y)

    with pytest.raises(UserError, match="several outputs"):
        build_training(model_of(Two(), (1, 2, 2)), TrainConfig())


def test_one_sample_a_channel_is_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    with pytest.raises(UserError, match="batch norm has one sample a channel"):
        build_training(model_of(net, (1, 2, 2)), TrainConfig(batch_size=4, micro_batch=1))
