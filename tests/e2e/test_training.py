"""Whole nets train on the cluster as they do in PyTorch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tvm_pulp
from tests.e2e.settings import CONFIG, RESNET8_IMAGES_SEED
from tvm_pulp.package.package import Package
from tvm_pulp.runners.simulator import SimulatorRunner
from tvm_pulp.target.errors import UserError


def assert_agrees(package, samples, steps):
    """First step: every tensor within 1e-5. All steps: the same but for rounding; losses within 1e-4."""
    first = package.check(samples, 1)
    assert first.passed and not any(row.only_rounding for row in first.rows), f"\n{first}"
    report = package.check(samples, steps)
    assert report.passed, f"\n{report}"
    return report


@pytest.mark.xdist_group("mobilenet")
def test_mobilenet_for_20_steps(mobilenet_package, samples):
    report = assert_agrees(mobilenet_package, samples, 20)
    assert len(report.run.steps) == 20
    assert report.run.losses[-4:].mean() < report.run.losses[:4].mean(), "20 steps of training lower the loss"
    names = {row.name for row in report.rows}
    assert {"loss", "output"} < names
    assert any("running_var" in name for name in names)
    assert any(name.startswith("momentum:") for name in names)


@pytest.mark.xdist_group("mobilenet")
def test_nothing_races_and_nothing_unwritten_is_read(mobilenet_package, samples):
    runner = SimulatorRunner(timing=True, checks=True)
    result = mobilenet_package.run(samples, 1, runner=runner)
    assert np.isfinite(result.losses).all()
    assert result.cycles[0] > 0


@pytest.mark.xdist_group("mobilenet")
@pytest.mark.parametrize("place", ["scratch", "arena"])
def test_a_kernel_that_leaves_its_buffers_is_found(mobilenet_package, samples, place):
    """Where the package says that a buffer is smaller than what its kernel uses."""
    metadata = mobilenet_package.metadata
    kernel = metadata.functions["train_step"][0].kernel
    name, (offset, size) = next(iter(metadata.buffers[kernel][place].items()))
    smaller = {
        **metadata.buffers[kernel],
        place: {**metadata.buffers[kernel][place], name: (offset, size - 4)},
    }
    changed = replace(metadata, buffers={**metadata.buffers, kernel: smaller})
    package = Package(mobilenet_package.directory, changed)
    with pytest.raises(
        UserError, match=rf"train_step: .* out-of-bounds at 0x.*{kernel}.*beyond 0x\w+ \({name}"
    ):
        package.run(samples, 1, runner=SimulatorRunner(timing=False, checks=True))


@pytest.mark.xdist_group("mobilenet")
def test_mobilenet_infers_like_pytorch(mobilenet_package, mobilenet, samples):
    few = {name: array[:5] for name, array in samples.items()}
    result = mobilenet_package.run(few, function="infer")
    with torch.no_grad():
        expected = mobilenet.eval()(torch.from_numpy(few["x"])).numpy()
    mobilenet.train()
    assert result.outputs.shape == expected.shape
    assert np.abs(result.outputs - expected).max() <= 1e-5 * np.abs(expected).max()


def test_residual_net_for_20_steps(residual, samples):
    exported = torch.export.export(residual, (torch.from_numpy(samples["x"][:8]),))
    package = tvm_pulp.compile(exported, train=tvm_pulp.TrainConfig(**CONFIG))
    assert_agrees(package, samples, 20)


def test_micro_batches_fit_where_the_batch_does_not(exported_mobilenet, samples):
    config = tvm_pulp.TrainConfig(**CONFIG, micro_batch=2)
    package = tvm_pulp.compile(exported_mobilenet, train=config)
    assert_agrees(package, samples, 3)


def test_a_part_trains_and_the_rest_stays(exported_mobilenet, samples):
    whole = tvm_pulp.compile(exported_mobilenet, train=tvm_pulp.TrainConfig(**CONFIG))
    names = [t.name for t in whole.metadata.of_kind("parameter")]
    last = ["classifier.weight", "classifier.bias"]
    config = tvm_pulp.TrainConfig(**CONFIG, trainable=("classifier.*",))
    package = tvm_pulp.compile(exported_mobilenet, train=config)
    assert set(package.metadata.trainable) == set(last)
    assert package.metadata.macs("train_step") < 0.5 * whole.metadata.macs("train_step")
    before = package.initial_tensors()
    assert_agrees(package, samples, 3)
    after = package.run(samples, 3).tensors
    for name in names:
        assert np.array_equal(before[name], after[name]) == (name not in last), name


def cifar_like(count):
    """Images of the net's input: 32x32x3, values 0 to 255, smooth like photographs."""
    random = np.random.default_rng(RESNET8_IMAGES_SEED)
    coarse = random.uniform(0, 255, (count, 3, 4, 4)).astype(np.float32)
    images = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=(32, 32), mode="bicubic").clamp(
        0, 255
    )
    return images.permute(0, 2, 3, 1).numpy().copy()


@pytest.mark.parametrize("freeze", [False, True])
def test_resnet8_of_mlperf_tiny(resnet8, freeze):
    config = dict(learning_rate=1e-7, momentum=0.9, weight_decay=5e-4, batch_size=2)
    if freeze:
        model = tvm_pulp.compile(resnet8, target="pulp -l2-bytes=33554432")
        layers = [t.name.rpartition(".")[0] for t in model.metadata.of_kind("parameter")]
        config["freeze_until"] = layers[len(layers) // 2]
    package = tvm_pulp.compile(
        resnet8, target="pulp -l2-bytes=33554432", train=tvm_pulp.TrainConfig(**config)
    )
    name = package.metadata.of_kind("input")[0].name
    samples = {name: cifar_like(40), "labels": np.arange(40) % 10}
    assert_agrees(package, samples, 20)
