"""What integers cost the trained ResNet8 of MLPerf Tiny on CIFAR-10, whole and as a frozen stage."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

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
from tvm_pulp.oracle import Oracle
from tvm_pulp.passes.model import with_batch
from tvm_pulp.passes.split_at_latent import split_at_latent, split_at_softmax
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.quantization import Quantization, integer_stage

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
IMAGES, NETWORK = DATA / "cifar10-25k-jpeg.tar", DATA / "mlperf_tiny_resnet8_float32.tflite"
SEEDS = range(5)
LATENT_LAYER = "activation_4"
TRAINING, TEST = 150, 200
"""Images a class to learn from, and to test with."""
BATCH, EPOCHS, LEARNING_RATE = 50, 4, 0.001

pytestmark = [
    pytest.mark.skipif(
        not (IMAGES.exists() and NETWORK.exists()), reason=f"needs {IMAGES.name} and {NETWORK.name}"
    ),
    pytest.mark.xdist_group("accuracy_cifar10"),  # one process, as all tests share what was learnt
]


def images(part: str, of_each: int) -> tuple[np.ndarray, np.ndarray]:
    """The first images of each class, float32 ``[images, 32, 32, 3]`` of 0 to 255, and their classes."""
    from PIL import Image

    pixels, classes = [], {}
    labels = []
    with tarfile.open(IMAGES) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            kind, _, rest = member.name.partition("/")
            if kind != part or not rest.endswith(".jpg"):
                continue
            label = classes.setdefault(rest.partition("/")[0], len(classes))
            if labels.count(label) < of_each:
                file = archive.extractfile(member)
                assert file is not None
                pixels.append(np.asarray(Image.open(io.BytesIO(file.read()))))
                labels.append(label)
    return np.stack(pixels).astype(np.float32), np.array(labels, np.int32)


@pytest.fixture(scope="module")
def model():
    return load_model(NETWORK)


@pytest.fixture(scope="module")
def training_images():
    return images("train", TRAINING)


@pytest.fixture(scope="module")
def test_images():
    return images("test", TEST)


def test_an_integer_network_loses_at_most_half_a_point(model, training_images, test_images):
    """Each seed has calibration and test images of its own."""
    x, (test_x, test_y) = training_images[0], test_images
    name, logits = model.inputs[0], split_at_softmax(model).frozen
    exact, integer = [], []
    for seed in SEEDS:
        picks = np.random.default_rng(seed).permutation(len(x))[:100]
        part = slice(seed, None, len(SEEDS))
        graph = integer_stage(logits, Quantization({name: x[picks]})).graph(1)
        count = len(test_x[part])
        found = Oracle(with_batch(logits, count), TrainConfig(), ()).infer({name: test_x[part]})
        exact.append(accuracy(found, test_y[part]))
        integer.append(accuracy(outputs(graph, test_x[part]), test_y[part]))
    assert np.mean(exact) > 70, "the float network must know CIFAR-10, though not its JPEG artefacts"
    assert losses(exact, integer, "int8 ResNet8").mean() <= MOST_POINTS_OF_INTEGERS


@pytest.fixture(scope="module")
def learnt(model, training_images, test_images):
    """Accuracies by the bits of the replays, a list of seeds each.

    The frozen stage yields latents. Behind it the last layer knows five classes; the others start anew and
    are learnt with replayed latents of the first.
    """
    (x, y), (test_x, test_y) = training_images, test_images
    split = split_at_latent(model, LATENT_LAYER)
    picks = np.random.default_rng(0).permutation(len(x))[:100]
    graph = integer_stage(split.frozen, Quantization({model.inputs[0]: x[picks]})).graph(1)
    latents, test_latents = outputs(graph, x), outputs(graph, test_x)
    old = y < 5
    found: dict[int, list[float]] = {bits: [] for bits in (32, *BITS)}
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        weight, bias = (np.array(split.trained.parameters[f"dense.{name}"]) for name in ("weight", "bias"))
        weight[5:] = 0.1 * weight.std() * random.standard_normal(weight[5:].shape)
        bias[5:] = 0
        start = {"dense.weight": weight, "dense.bias": bias}
        for bits in found:
            mixed = np.concatenate([latents[~old], replayed(latents[old], bits)])
            oracle = trained(split, start, mixed, np.concatenate([y[~old], y[old]]), seed)
            found[bits].append(accuracy(oracle.infer({split.latent: test_latents}), test_y))
    return found


def trained(split, parameters, x: np.ndarray, y: np.ndarray, seed: int) -> Oracle:
    """Train the part behind the latents from some parameters on."""
    model = dataclasses.replace(split.trained, parameters={**split.trained.parameters, **parameters})
    config = TrainConfig(learning_rate=LEARNING_RATE, momentum=0.9, batch_size=BATCH)
    oracle = Oracle(with_batch(model, BATCH), config, tuple(model.parameters))
    random = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        order = random.permutation(len(x))
        for picks in np.split(order[: len(x) // BATCH * BATCH], len(x) // BATCH):
            oracle.step({split.latent: x[picks]}, y[picks])
    return oracle


@pytest.mark.parametrize("bits", BITS)
def test_replays_of_few_bits(learnt, bits):
    exact = learnt[32]
    assert min(exact) > 50, "the network must have learnt the new classes"
    assert losses(exact, learnt[bits], f"CIFAR-10, replays of {bits} bits").mean() <= MOST_POINTS_LOST[bits]
