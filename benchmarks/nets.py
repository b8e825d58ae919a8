"""Whole networks, training steps and integer inferences: cycles, bytes moved, what overlaps."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import tvm_pulp
from examples.models import ds_cnn, mobilenet_digits, mobilenet_v1, resnet8
from tvm_pulp.frontends import load_model
from tvm_pulp.measure.dma_use import read_dma_use
from tvm_pulp.package.package import Package
from tvm_pulp.quantization import Quantization
from tvm_pulp.reports.times import step_macs
from tvm_pulp.runners.simulator import SimulatorRunner
from tvm_pulp.target import features, parse

TARGET = "pulp -l2-bytes=134217728"
"""L2 raised: a step of batch 8 keeps more activations than 1.5 MiB hold."""

BATCH = 8
BATCHES = (1, 2, 4, 8, 16, 32, 64)

NETS: dict[str, Callable[[], torch.nn.Module]] = {
    "ResNet8 (MLPerf Tiny)": resnet8,
    "DS-CNN (MLPerf Tiny)": ds_cnn,
    "MobileNetV1 0.25 at 96x96": lambda: mobilenet_v1(0.25, 96, 2),
}


def _package(network: torch.nn.Module, batch: int) -> Package:
    shape = network.input_shape
    exported = torch.export.export(network.train(), (torch.zeros(2, *shape),), strict=False)
    config = tvm_pulp.TrainConfig(batch_size=batch, learning_rate=0.01, momentum=0.9)
    return tvm_pulp.compile(exported, target=TARGET, train=config)


def _samples(package: Package, network: torch.nn.Module, batch: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    (tensor,) = package.metadata.of_kind("input")
    shape = network.input_shape
    labels = random.integers(0, package.metadata.classes, batch).astype(np.int32)
    data = random.standard_normal((batch, *shape)).astype(np.float32)
    return {tensor.name: data, "labels": labels}


def _step(network: torch.nn.Module, batch: int, trace: Path | None = None) -> tuple[int, int]:
    """Return cycles and multiply-accumulates of the first step."""
    package = _package(network, batch)
    runner = SimulatorRunner(trace=trace)
    result = package.run(_samples(package, network, batch), 1, runner=runner)
    return int(result.cycles[0]), step_macs(package.metadata, "train_step")


def measure_net(name: str) -> dict[str, Any]:
    """Measure a training step of a network, batch 8, SGD with momentum.

    The bound is the larger of multiply-accumulates by the FPUs' rate and the bytes that the DMA moved by its
    rate; other arithmetic (batch norms, the loss, the update) is left out of it.
    """
    chip = features(parse(TARGET))
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        cycles, macs = _step(NETS[name](), BATCH, trace)
        dma = read_dma_use(trace, 0, cycles, chip.cores)
    with mock.patch("tvm_pulp.schedules.base.templates", list):
        naive, _ = _step(NETS[name](), BATCH)
    compute = macs / chip.fpus
    moving = max(dma.bytes_in, dma.bytes_out) / chip.dma_bytes_per_cycle
    return {
        "net": name,
        "macs": macs,
        "cycles": cycles,
        "mac_per_cycle": macs / cycles,
        "bytes_in": dma.bytes_in,
        "bytes_out": dma.bytes_out,
        "bound_cycles": max(compute, moving),
        "fraction": max(compute, moving) / cycles,
        "overlap": dma.overlap,
        "naive_cycles": naive,
    }


def measure_inference(name: str) -> dict[str, Any]:
    """Measure an inference of a network in integers of 8 bits, batch 1, on the chip as it is.

    The bound is the larger of multiply-accumulates by the cores' dot products and the bytes that the DMA
    moved by its rate.
    """
    network = NETS[name]().eval()
    exported = torch.export.export(network, (torch.zeros(1, *network.input_shape),))
    samples = np.random.default_rng(0).standard_normal((8, *network.input_shape)).astype(np.float32)
    model = load_model(exported)
    inputs = {model.inputs[0]: samples}
    package = tvm_pulp.compile(exported, quantization=Quantization(inputs))
    chip = features(parse("pulp"))
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        runner = SimulatorRunner(trace=trace)
        result = package.run({model.inputs[0]: samples[:1]}, 1, function="infer", runner=runner)
        cycles, macs = int(result.cycles[0]), step_macs(package.metadata, "infer")
        dma = read_dma_use(trace, 0, cycles, chip.cores)
    bound = max(macs / (4 * chip.cores), max(dma.bytes_in, dma.bytes_out) / chip.dma_bytes_per_cycle)
    return {
        "net": name,
        "macs": macs,
        "cycles": cycles,
        "mac_per_cycle": macs / cycles,
        "bytes_in": dma.bytes_in,
        "bytes_out": dma.bytes_out,
        "bound_cycles": bound,
        "fraction": bound / cycles,
        "overlap": dma.overlap,
        "l2_bytes": package.metadata.memory["named"] + package.metadata.memory["arena"],
    }


def measure_batch(batch: int) -> dict[str, Any]:
    """Measure a training step of the small MobileNet of the demo, of some batch size."""
    cycles, macs = _step(mobilenet_digits(), batch)
    return {"batch": batch, "macs": macs, "cycles": cycles, "cycles_a_sample": math.ceil(cycles / batch)}
