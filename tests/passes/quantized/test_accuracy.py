"""What integers cost in accuracy: a net learns new digits and replays quantised latents of the old ones."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn import functional

from examples.digits import digits
from examples.models.residual import ResidualNet, residual_digits
from tests.passes.quantized.accuracy import (
    BITS,
    MOST_POINTS_LOST,
    MOST_POINTS_OF_INTEGERS,
    accuracy,
    losses,
    outputs,
    replayed,
)
from tvm_pulp.frontends import load_model
from tvm_pulp.passes.split_at_latent import split_at_latent
from tvm_pulp.quantization import Quantization, integer_stage

SEEDS = range(5)
TRAINING = 1200
"""Images to learn from; the other 597 are the test set."""

pytestmark = pytest.mark.xdist_group("accuracy")  # one process, as all tests share what was learnt


@dataclass(frozen=True)
class Points:
    """Percentages of the test set: of the float network and of the integer one; of continual learning."""

    network: float
    integer_network: float
    learnt: dict[int, float]
    """By the bits of the replays; 32 for latents as they are."""


def train(network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, seed: int) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, epochs)
    generator = torch.Generator().manual_seed(seed)
    network.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=generator).split(48)[:-1]:
            optimizer.zero_grad()
            functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
        slower.step()
    network.eval()


def frozen_stage(network: ResidualNet, layer: str | None, samples: np.ndarray):
    """Integer graph of a network, or of its part up to a layer, calibrated on samples."""
    model = load_model(torch.export.export(network, (torch.zeros(1, 1, 32, 32),)))
    model = model if layer is None else split_at_latent(model, layer).frozen
    return integer_stage(model, Quantization({model.inputs[0]: samples})).graph(1)


class Head(torch.nn.Module):
    """What trains: the last block and the classifier."""

    def __init__(self, network: ResidualNet):
        super().__init__()
        self.network = copy.deepcopy(network)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        pooled = self.network.pool(self.network.block3(latents))
        return self.network.classifier(torch.flatten(pooled, 1))


def measure(seed: int) -> Points:
    """Learn digits 0 to 4, freeze, learn 5 to 9 with replays of 0 to 4."""
    images, labels = digits(32, seed)
    x, y = torch.from_numpy(images), torch.from_numpy(labels).long()
    x, y, test_x, test_y = x[:TRAINING], y[:TRAINING], x[TRAINING:], y[TRAINING:]

    network = residual_digits(seed=seed)
    train(network, x, y, 8, seed)
    with torch.no_grad():
        exact = accuracy(network(test_x).numpy(), test_y.numpy())
    integer = accuracy(outputs(frozen_stage(network, None, x[:200].numpy()), test_x.numpy()), test_y.numpy())

    old = y < 5
    network = residual_digits(seed=seed)
    train(network, x[old], y[old], 8, seed)
    graph = frozen_stage(network, "block2", x[old][:200].numpy())
    latents, test_latents = outputs(graph, x.numpy()), torch.from_numpy(outputs(graph, test_x.numpy()))
    learnt = {}
    for bits in (32, *BITS):
        head = Head(network)
        mixed = np.concatenate([latents[~old.numpy()], replayed(latents[old.numpy()], bits)])
        train(head, torch.from_numpy(mixed), torch.cat([y[~old], y[old]]), 8, seed)
        with torch.no_grad():
            learnt[bits] = accuracy(head(test_latents).numpy(), test_y.numpy())
    return Points(exact, integer, learnt)


@pytest.fixture(scope="module")
def points() -> list[Points]:
    return [measure(seed) for seed in SEEDS]


def test_an_integer_network_loses_at_most_half_a_point(points):
    exact = [p.network for p in points]
    assert min(exact) > 95, "the float network must have learnt"
    assert (
        losses(exact, [p.integer_network for p in points], "int8 network").mean() <= MOST_POINTS_OF_INTEGERS
    )


@pytest.mark.parametrize("bits", BITS)
def test_replays_of_few_bits(points, bits):
    exact = [p.learnt[32] for p in points]
    assert min(exact) > 90, "the network must have learnt the new digits"
    lost = losses(exact, [p.learnt[bits] for p in points], f"replays of {bits} bits")
    assert lost.mean() <= MOST_POINTS_LOST[bits]
