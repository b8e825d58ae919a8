"""Small nets, and their training on the host and in PyTorch in float64, tensor by tensor."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.host_executor import HostExecutor
from tests.passes.single_operator import assert_close
from tvm_pulp.frontends.load import load_model
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.training_graph import TrainingGraph, build_training


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


def assert_same_step(plain: TrainingGraph, changed: TrainingGraph, x: np.ndarray, labels: np.ndarray) -> None:
    """Compare a mini-batch's loss, output, gradients and memory by two graphs of a net, bit by bit."""
    results = []
    for graph in (plain, changed):
        memory = {**graph.model.parameters, **graph.states}
        results.append(run_step(HostExecutor(graph.module), graph, memory, x, labels))
    (loss, output, gradients, memory), (other_loss, other_output, other_gradients, other_memory) = results
    assert loss == other_loss
    for want, got in zip([output, *gradients], [other_output, *other_gradients], strict=True):
        np.testing.assert_array_equal(got, want)
    for name, array in memory.items():
        np.testing.assert_array_equal(other_memory[name], array, err_msg=name)


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
