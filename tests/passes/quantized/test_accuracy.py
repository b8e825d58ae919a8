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
from tvm_pulp.calibration.calibrate import calibrate
from tvm_pulp.calibration.samples import open_samples
from tvm_pulp.frontends import load_model
from tvm_pulp.oracle import latents as uint_q
from tvm_pulp.oracle.integer import dequantize, run_integer
from tvm_pulp.passes.fold_batch_norm import fold_batch_norm
from tvm_pulp.passes.quantized.quantize import quantize_model
from tvm_pulp.passes.quantized.uint_q import UintQ
from tvm_pulp.passes.split_at_latent import split_at_latent

SEEDS = range(5)
TRAINING = 1200
"""Images to learn from; the other 597 are the test set."""
BITS = (8, 7, 6)


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


def accuracy(logits: np.ndarray, y: torch.Tensor) -> float:
    return 100 * float((logits.argmax(1) == y.numpy()).mean())


def frozen_stage(network: ResidualNet, layer: str | None, samples: np.ndarray):
    """Integer graph of a network, or of its part up to a layer, calibrated on samples."""
    model = load_model(torch.export.export(network, (torch.zeros(1, 1, 32, 32),)))
    model = fold_batch_norm(model if layer is None else split_at_latent(model, layer).frozen)
    data = {model.inputs[0]: samples}
    return quantize_model(model, calibrate(model, open_samples(data, model)))


def outputs(graph, x: np.ndarray) -> np.ndarray:
    return dequantize(run_integer(graph, {graph.inputs[0]: x})[graph.output.name], graph.output)


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
        exact = accuracy(network(test_x).numpy(), test_y)
    integer = accuracy(outputs(frozen_stage(network, None, x[:200].numpy()), test_x.numpy()), test_y)

    old = y < 5
    network = residual_digits(seed=seed)
    train(network, x[old], y[old], 8, seed)
    graph = frozen_stage(network, "block2", x[old][:200].numpy())
    latents, test_latents = outputs(graph, x.numpy()), torch.from_numpy(outputs(graph, test_x.numpy()))
    learnt = {}
    for bits in (32, *BITS):
        replayed = latents[old.numpy()]
        if bits < 32:
            form = UintQ.from_range(0.0, float(replayed.max()), bits)
            replayed = uint_q.dequantize(uint_q.quantize(replayed, form), form)
        head = Head(network)
        mixed = np.concatenate([latents[~old.numpy()], replayed])
        train(head, torch.from_numpy(mixed), torch.cat([y[~old], y[old]]), 8, seed)
        with torch.no_grad():
            learnt[bits] = accuracy(head(test_latents).numpy(), test_y)
    return Points(exact, integer, learnt)


@pytest.fixture(scope="module")
def points() -> list[Points]:
    return [measure(seed) for seed in SEEDS]


def losses(of: list[float], against: list[float], what: str) -> np.ndarray:
    lost = np.array(of) - np.array(against)
    print(f"{what}: {lost.mean():+.2f} points lost, seeds from {lost.min():+.2f} to {lost.max():+.2f}")
    return lost


def test_an_integer_network_loses_at_most_half_a_point(points):
    exact = [p.network for p in points]
    assert min(exact) > 95, "the float network must have learnt"
    assert losses(exact, [p.integer_network for p in points], "int8 network").mean() <= 0.5


@pytest.mark.parametrize(("bits", "most"), [(8, 0.3), (7, 1.0), (6, 3.0)])
def test_replays_of_few_bits(points, bits, most):
    exact = [p.learnt[32] for p in points]
    assert min(exact) > 90, "the network must have learnt the new digits"
    assert losses(exact, [p.learnt[bits] for p in points], f"replays of {bits} bits").mean() <= most
