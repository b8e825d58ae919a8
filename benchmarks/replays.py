"""Training steps with latent replays: what a sample takes in the store, and what fetching it costs."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

import tvm_pulp
from benchmarks.nets import TARGET
from examples.models import mobilenet_v1
from tvm_pulp.execution import RunResult
from tvm_pulp.package.package import Package
from tvm_pulp.passes.replays import LAYER
from tvm_pulp.quantization import Quantization
from tvm_pulp.reports.times import step_macs

LATENT_LAYER = "20"
"""Of MobileNetV1: the pointwise convolution of block 10; for 96x96 and width 0.25, 128 channels of 6x6."""
NEW, REPLAYED, STORED = 4, 28, 32
REPLAY_BITS = (8, 7, 6)


def measure_replays(bits: int, size: int = 96) -> dict[str, Any]:
    """Measure a step that learns from new and replayed samples, and one that learns from as many new ones.

    `size` is that of the images.
    """
    with_store = tvm_pulp.TrainConfig(
        batch_size=NEW,
        latent_layer=LATENT_LAYER,
        replays=STORED,
        replay_bits=bits,
        replay_batch=REPLAYED,
        learning_rate=0.01,
    )
    package, result = _step(with_store, size)
    (store,) = (tensor for tensor in package.metadata.of_kind("replays") if tensor.dtype == "uint8")
    return {
        "bits": bits,
        "bytes_a_sample": store.bytes // STORED,
        "macs": step_macs(package.metadata, "train_step"),
        "cycles": int(result.cycles[0]),
        "replay_cycles": _replay_cycles(package, result),
        "all_new_cycles": _cycles_of_new(size),
    }


@cache
def _cycles_of_new(size: int) -> int:
    config = tvm_pulp.TrainConfig(batch_size=NEW + REPLAYED, latent_layer=LATENT_LAYER, learning_rate=0.01)
    return int(_step(config, size)[1].cycles[0])


def _step(config: tvm_pulp.TrainConfig, size: int) -> tuple[Package, RunResult]:
    network = mobilenet_v1(0.25, size, 2)
    shape = network.input_shape
    random = np.random.default_rng(0)
    images = random.standard_normal((STORED, *shape)).astype(np.float32)
    exported = torch.export.export(network.train(), (torch.zeros(2, *shape),), strict=False)
    calibrated = Quantization({"x": images[:8]})
    package = tvm_pulp.compile(exported, target=TARGET, train=config, quantization=calibrated)
    labels = random.integers(0, package.metadata.classes, STORED).astype(np.int32)
    samples = {"x": images, "labels": labels}
    if config.replays is None:
        return package, package.run(samples, 1)
    filled = package.run(samples, STORED // NEW, function="store_replays")
    return package, package.run(samples, 1, tensors=filled.tensors)


def _replay_cycles(package: Package, result: RunResult) -> int:
    calls = package.metadata.functions["train_step"]
    cycles = result.steps[0].kernel_cycles["train_step"]
    return int(sum(cycles for call, cycles in zip(calls, cycles, strict=True) if call.layer == LAYER))
