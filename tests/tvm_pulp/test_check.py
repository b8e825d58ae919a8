"""The check of training with replays: it passes for stores of all kinds, and fails where a byte is wrong."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

import tvm_pulp
from tests.tvm_pulp.test_build_graph import IMAGE, quantised_network
from tvm_pulp.comparison import CheckReport
from tvm_pulp.oracle.replay_store import ReplayStore
from tvm_pulp.package import Package
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.quantization import Quantization
from tvm_pulp.runners.simulator import SimulatorRunner

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.standard_normal((14, 3, 12, 12)).astype(np.float32)
CLASSES = RANDOM.integers(0, 4, 14).astype(np.int32)
TARGETS = RANDOM.standard_normal((14, 4)).astype(np.float32)
OPTIONS = dict(learning_rate=0.01, momentum=0.9, latent_layer="first")


class Network(nn.Module):
    """Latents of 5x6x6 after a ReLU, or with negatives."""

    def __init__(self, rectifies: bool, normalizes: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.rectifier = nn.ReLU() if rectifies else nn.Identity()
        self.second = nn.Conv2d(5, 7, 3)
        self.norm = nn.BatchNorm2d(7) if normalizes else nn.Identity()
        self.classifier = nn.Linear(112, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.second(self.rectifier(self.first(x)))))
        return self.classifier(torch.flatten(x, 1))


def compiled(rectifies: bool = True, normalizes: bool = False, **options: Any) -> Package:
    torch.manual_seed(1)
    network = Network(rectifies, normalizes).train()
    exported = torch.export.export(network, (torch.from_numpy(IMAGES[:2]),))
    config = TrainConfig(**{**OPTIONS, **options})
    return tvm_pulp.compile(exported, train=config, quantization=Quantization({"x": IMAGES}))


def checked(package: Package, labels: np.ndarray, **arrays: np.ndarray) -> CheckReport:
    """Two steps, with the simulator's checks for races and bounds."""
    return package.check({"x": IMAGES, "labels": labels, **arrays}, 2, runner=SimulatorRunner(checks=True))


@pytest.mark.parametrize(
    "options",
    [
        dict(batch_size=1, replays=1, replay_bits=7),
        dict(batch_size=2, replays=9, replay_batch=5, replay_bits=3, rectifies=False),
        dict(batch_size=3, replays=4, replay_batch=2, replay_bits=5, loss="mse"),
        dict(batch_size=2, replays=9, replay_batch=4, replay_bits=3, replay_memory="L3"),
        dict(batch_size=4, micro_batch=2, replays=30, replay_batch=4, replay_memory="L3", loss="mse"),
        dict(batch_size=4, micro_batch=2, replays=200, replay_batch=6, replay_bits=6, normalizes=True),
    ],
)
def test_replays_agree_with_pytorch(options: dict[str, Any]) -> None:
    report = checked(compiled(**options), TARGETS if "loss" in options else CLASSES)
    assert report.passed, str(report)
    stored = {row.name: row.error for row in report.rows if row.name.startswith("replay_")}
    assert stored == {"replay_latents": 0, "replay_labels": 0}


def test_a_store_in_l3_gives_the_same_bits_as_one_in_l2() -> None:
    found = []
    for level in ("L2", "L3"):
        package = compiled(batch_size=2, replays=14, replay_batch=4, replay_bits=7, replay_memory=level)
        data = {"x": IMAGES, "labels": CLASSES}
        stored = package.run(data, function="store_replays").tensors
        given = {name: stored[name] for name in ("replay_latents", "replay_labels")}
        found.append(package.run(data, 2, tensors=given))
    (in_l2, in_l3) = found
    np.testing.assert_array_equal(in_l2.losses, in_l3.losses)
    assert in_l2.tensors.keys() == in_l3.tensors.keys()
    for name, values in in_l2.tensors.items():
        np.testing.assert_array_equal(in_l3.tensors[name], values, err_msg=name)


def test_what_came_quantised_is_replayed_without_calibration() -> None:
    config = TrainConfig(**OPTIONS, batch_size=2, replays=6, replay_batch=4)
    package = tvm_pulp.compile(quantised_network(), train=config)
    x = RANDOM.uniform(-1, 1, (8, *IMAGE[1:])).astype(np.float32)
    report = package.check({"x": x, "labels": np.arange(8) % 3}, 2)
    assert report.passed, str(report)


@pytest.mark.parametrize("what", ["latents", "labels"])
def test_a_store_that_is_wrong_by_a_bit_fails(what: str) -> None:
    store = ReplayStore.store

    def wrong(self: ReplayStore, inputs: Any, labels: Any, slots: np.ndarray) -> None:
        store(self, inputs, labels, slots)
        getattr(self, what)[slots[0]] ^= 1

    package = compiled(batch_size=2, replays=4)
    with mock.patch.object(ReplayStore, "store", wrong):
        report = checked(package, CLASSES, replay_indices=np.array([1, 3]))
    assert {row.name for row in report.rows if not row.passed} == {f"replay_{what}"}
