"""Rectifiers' results that become masks, those that must not, and that training stays equal."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.host_executor import HostExecutor
from tests.passes.single_operator import assert_close
from tests.passes.torch_training import assert_same_step, batches, run_step, seeded
from tvm_pulp.frontends.load import load_model
from tvm_pulp.passes.fuse_epilogue import fuse_epilogue
from tvm_pulp.passes.kernel_steps import KernelStep, read_steps
from tvm_pulp.passes.pack_masks import pack_masks
from tvm_pulp.passes.plan_memory import arena_without_l1
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.training_graph import TrainingGraph, build_training
from tvm_pulp.target import features, parse

SHAPE = (3, 16, 16)


class Rectified(nn.Module):
    """Convolutions with biases and rectifiers of both kinds, and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.third = nn.Conv2d(8, 8, 3, padding=1)
        self.fourth = nn.Conv2d(8, 8, 3, padding=1)
        self.classifier = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.first(x))
        y = functional.relu6(8 * self.second(x))
        x = functional.relu(x + self.third(y))
        x = functional.relu6(self.fourth(x))
        return self.classifier(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def graph_of(*trainable: str, micro_batch: int | None = None) -> TrainingGraph:
    config = TrainConfig(
        batch_size=4, micro_batch=micro_batch, learning_rate=0.05, momentum=0.9, trainable=trainable,
        keep_gradients=micro_batch is None,
    )  # fmt: skip
    return build_training(load_model(seeded(Rectified), input_shapes={"x": [1, *SHAPE]}), config)


def packed(graph: TrainingGraph) -> TrainingGraph:
    return replace(graph, module=pack_masks(graph.module))


def masked(graph: TrainingGraph, function: str = "train_step") -> list[str]:
    """Layers whose results become masks."""
    kernels = [s.kernel for s in read_steps(graph.module, function).steps if isinstance(s, KernelStep)]
    return [str(k.attrs["pulp.layer"]) for k in kernels if str(k.attrs["pulp.operator"]) == "pack_mask"]


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_biases_only(micro_batch: int | None) -> None:
    """No gradient of a convolution's weights reads a result: masks give the same bits."""
    plain = graph_of("*.bias", micro_batch=micro_batch)
    changed = packed(plain)
    step = "train_step" if micro_batch is None else "gradient_step"
    # the last gradient multiplies a pixel a channel, which the template does by rows
    assert masked(changed, step) == ["first + relu", "second + mul + hardtanh", "third + add + relu_1"]
    assert masked(changed, "infer") == []
    (x, labels), *_ = batches(1, 4, SHAPE, 5)
    assert_same_step(plain, changed, x, labels)


def test_against_pytorch() -> None:
    graph = packed(graph_of("*.bias"))
    net = copy.deepcopy(seeded(Rectified)).double()
    (x, labels), *_ = batches(1, 4, SHAPE, 5)
    memory = {**graph.model.parameters, **graph.states}
    loss, _, gradients, _ = run_step(HostExecutor(graph.module), graph, memory, x, labels)
    expected = functional.cross_entropy(net(torch.from_numpy(x).double()), torch.from_numpy(labels).long())
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    parameters = dict(net.named_parameters())
    for name, gradient in zip(graph.trainable, gradients, strict=True):
        assert_close(gradient, parameters[name].grad.numpy(), name)


def test_the_arena_gets_smaller() -> None:
    chip = features(parse("pulp"))
    graph = graph_of("*.bias")
    sizes = [
        arena_without_l1(replace(g, module=fuse_epilogue(g.module, chip))) for g in (graph, packed(graph))
    ]
    tensor = 4 * 8 * 16 * 16 * 4  # bytes of a batch of each rectifier's result
    assert sizes[1] <= sizes[0] - tensor


def test_what_a_weight_gradient_reads_stays() -> None:
    graph = graph_of("*")
    assert pack_masks(graph.module) is graph.module


def test_nothing_to_pack() -> None:
    graph = graph_of("classifier.*")
    assert pack_masks(graph.module) is graph.module
