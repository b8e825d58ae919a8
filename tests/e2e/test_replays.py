"""Learning with replays by the command: beside PyTorch; old classes are kept that are forgotten without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from examples.digits import digits
from tests.e2e.test_bad_input import refused
from tvm_pulp.command_line import main
from tvm_pulp.files import read_arrays
from tvm_pulp.oracle import Oracle
from tvm_pulp.oracle.integer import integer_output
from tvm_pulp.oracle.replay_store import ReplayStore
from tvm_pulp.package import load
from tvm_pulp.package.forward import model_from_json
from tvm_pulp.package.integer_graph import read_integer_graph
from tvm_pulp.passes.train_config import TrainConfig

SIZE, OLD_CLASSES = 16, 5
TRAINING = 1200
"""Digits to learn from; the others are the test set."""
NEW, REPLAYED, STORED, STEPS = 8, 24, 96, 50
OPTIONS = ["--train", "--latent-layer", "second", "--learning-rate", "0.02", "--momentum", "0.9"]

pytestmark = pytest.mark.xdist_group("replays")


class Network(nn.Module):
    """Four layers; the latents are behind the second."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.third = nn.Conv2d(16, 16, 3, padding=1)
        self.classifier = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.first, self.second, self.third):
            x = torch.relu(layer(x))
        return self.classifier(torch.flatten(x, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learnt the digits 0 to 4; these, and 5 to 9, as a package wants them."""
    path = tmp_path_factory.mktemp("replays")
    images, labels = digits(SIZE)
    old = labels[:TRAINING] < OLD_CLASSES
    for name, chosen in {"old": old, "new": ~old}.items():
        np.savez(path / f"{name}.npz", x=images[:TRAINING][chosen], labels=labels[:TRAINING][chosen])
    np.savez(path / "test.npz", x=images[TRAINING:], labels=labels[TRAINING:])
    torch.manual_seed(0)
    network = Network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    x, y = torch.from_numpy(images[:TRAINING][old]), torch.from_numpy(labels[:TRAINING][old]).long()
    for _ in range(6):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
    torch.export.save(torch.export.export(network.eval(), (x[:1],)), path / "net.pt2")
    return path


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def compiled(folder: Path, name: str, *options: object) -> Path:
    calibration = ["--calibration", folder / "calibration.npz"]
    np.savez(folder / "calibration.npz", x=read_arrays(folder / "old.npz")["x"][:64])
    run("compile", folder / "net.pt2", *OPTIONS, *calibration, *options, "-o", folder / name)
    return folder / name


@pytest.fixture(scope="module")
def learner(folder: Path) -> Path:
    """A package with replays."""
    replays = ["--replays", STORED, "--replay-bits", 7, "--replay-batch", REPLAYED]
    return compiled(folder, "learner.tar", "--batch-size", NEW, *replays)


@pytest.fixture(scope="module")
def filled(folder: Path, learner: Path) -> Path:
    """What the command writes when it has stored old digits."""
    stored = folder / "stored.npz"
    steps = STORED // NEW
    store = ["--function", "store_replays", "--inputs", folder / "old.npz", "--steps", steps]
    run("run", learner, *store, "--no-timing", "--outputs", stored)
    return stored


def accuracy(tar: Path, tensors: dict[str, np.ndarray], folder: Path) -> tuple[float, float]:
    """Percentage of right answers for old and for new classes' test digits, with a run's parameters."""
    package, test = load(tar), read_arrays(folder / "test.npz")
    source = package.directory / "src"
    model = model_from_json(json.loads((source / "forward.json").read_text()), tensors)
    latents = integer_output(read_integer_graph(source), {"x": test["x"]})
    logits = Oracle(model, TrainConfig(), ()).infer({model.inputs[0]: latents})
    right = logits.argmax(1) == test["labels"]
    old = test["labels"] < OLD_CLASSES
    return 100 * float(right[old].mean()), 100 * float(right[~old].mean())


def test_the_store_holds_the_latents_of_the_samples(folder: Path, learner: Path, filled: Path) -> None:
    package, tensors, old = load(learner), read_arrays(filled), read_arrays(folder / "old.npz")
    empty = np.full(STORED, -1, np.int32)
    reference = ReplayStore(read_integer_graph(package.directory / "src"), 7, empty)
    reference.store({"x": old["x"][:STORED]}, old["labels"][:STORED], np.arange(STORED))
    np.testing.assert_array_equal(tensors["replay_latents"], reference.latents)
    np.testing.assert_array_equal(tensors["replay_labels"], reference.labels)
    initial = package.initial_tensors()
    for name in package.metadata.trainable:
        np.testing.assert_array_equal(tensors[name], initial[name])


def test_training_with_replays_agrees_with_pytorch(
    folder: Path, learner: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("check", learner, "--inputs", folder / "new.npz", "--steps", 3)
    printed = capsys.readouterr().out
    assert "replay_latents" in printed and "agree with PyTorch over 3 steps" in printed


def test_old_classes_are_kept_with_replays_and_forgotten_without(
    folder: Path, learner: Path, filled: Path
) -> None:
    new = ["--inputs", folder / "new.npz", "--steps", STEPS, "--no-timing"]
    run("run", learner, *new, "--parameters", filled, "--outputs", folder / "kept.npz")
    kept = read_arrays(folder / "kept.npz")
    stored = read_arrays(filled)
    for name in ("replay_latents", "replay_labels"):
        np.testing.assert_array_equal(kept[name], stored[name])
    assert kept["output"].shape == (STEPS * (NEW + REPLAYED), 10)

    plain = compiled(folder, "plain.tar", "--batch-size", NEW)
    run("run", plain, *new, "--outputs", folder / "forgotten.npz")
    forgotten = read_arrays(folder / "forgotten.npz")
    before = accuracy(learner, stored, folder)
    with_replays, without = accuracy(learner, kept, folder), accuracy(plain, forgotten, folder)
    print(f"old and new classes: before {before}, with replays {with_replays}, without {without}")
    assert before[0] >= 95 and before[1] <= 5
    assert with_replays[0] >= 90 and with_replays[1] >= 85
    assert without[0] <= 30 and without[1] >= 85


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--replays", "8", "--replay-bits", "9"], "latents of 9 bits: choose 1 to 8 bits"),
        (["--replays", "8", "--replay-bits", "0"], "replay_bits is 0"),
        (["--replays", "0"], "replays is 0"),
        (["--replays", "8", "--replay-batch", "9"], "replay_batch 9 is more than the 8 replays"),
        (["--replay-bits", "7"], "--replay-bits is for a replay store; add --replays"),
        (["--replay-memory", "L3"], "--replay-memory is for a replay store; add --replays"),
        (["--replays", "40000", "--replay-memory", "L3"], "L3 is 1851408 bytes short"),
        (["--replay-batch", "4"], "there is no replay store: give replays"),
        (
            ["--replays", "20000"],
            "5200000 for stored replays), there are 1572864; what would help: --replays",
        ),
    ],
)
def test_options_that_are_wrong(
    folder: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    calibration = ["--calibration", folder / "old.npz"]
    command = ["compile", folder / "net.pt2", *OPTIONS, *calibration, *options, "-o", tmp_path / "no.tar"]
    assert message in refused(command, capsys, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "replays is 8, but no latent_layer says whose output is stored"),
        (["--latent-layer", "second"], "so give sample data (--calibration)"),
    ],
)
def test_replays_need_latents_in_integers(
    folder: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "compile",
        folder / "net.pt2",
        "--train",
        "--replays",
        "8",
        *options,
        "-o",
        tmp_path / "no.tar",
    ]
    assert message in refused(command, capsys, tmp_path)


def test_slots_that_are_wrong(
    folder: Path, learner: Path, filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = read_arrays(folder / "new.npz")
    np.savez(folder / "wrong.npz", **new, replay_indices=np.arange(REPLAYED) + STORED - 1)
    output = ["--outputs", tmp_path / "out.npz"]
    command = ["run", learner, "--inputs", folder / "wrong.npz", "--parameters", filled, *output]
    assert f"names slot {STORED}; the store has slots 0 to {STORED - 1}" in refused(command, capsys, tmp_path)
    command = ["run", learner, "--inputs", folder / "new.npz", *output]
    assert "the replay store is empty" in refused(command, capsys, tmp_path)


def test_a_package_without_a_store_cannot_fill_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("compile", folder / "net.pt2", "-o", folder / "infers.tar")
    capsys.readouterr()
    command = ["run", folder / "infers.tar", "--inputs", folder / "new.npz", "--function", "store_replays"]
    assert "has no replay store; compile it with --replays" in refused(command, capsys, tmp_path)
