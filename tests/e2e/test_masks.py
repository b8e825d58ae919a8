"""Training of biases alone on the cluster: masks of rectifiers' results instead of the results."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest

import tvm_pulp
from tests.passes.test_pack_masks import SHAPE, Rectified
from tests.passes.torch_training import batches, seeded
from tvm_pulp.package.package import Package
from tvm_pulp.runners.simulator import SimulatorRunner


@pytest.fixture(scope="module")
def packages() -> tuple[Package, Package]:
    config = tvm_pulp.TrainConfig(batch_size=4, learning_rate=0.05, momentum=0.9, trainable=("*.bias",))

    def build() -> Package:
        return tvm_pulp.compile(seeded(Rectified), train=config, input_shapes={"x": [1, *SHAPE]})

    with mock.patch("tvm_pulp.compiler.pack_masks", lambda module: module):
        plain = build()
    return plain, build()


@pytest.fixture(scope="module")
def samples() -> dict[str, np.ndarray]:
    (x, labels), *_ = batches(1, 8, SHAPE, 5)
    return {"x": x, "labels": labels}


@pytest.mark.xdist_group("masks")
def test_results_are_equal_bit_by_bit(
    packages: tuple[Package, Package], samples: dict[str, np.ndarray]
) -> None:
    plain, masked = (p.run(samples, 2, runner=SimulatorRunner(timing=True, checks=True)) for p in packages)
    np.testing.assert_array_equal(masked.losses, plain.losses)
    np.testing.assert_array_equal(masked.outputs, plain.outputs)
    assert masked.tensors.keys() == plain.tensors.keys()
    for name, array in plain.tensors.items():
        np.testing.assert_array_equal(masked.tensors[name], array, err_msg=name)


@pytest.mark.xdist_group("masks")
def test_training_agrees_with_pytorch(
    packages: tuple[Package, Package], samples: dict[str, np.ndarray]
) -> None:
    report = packages[1].check(samples, 2)
    assert report.passed, f"\n{report}"


@pytest.mark.xdist_group("masks")
def test_the_arena_is_smaller(packages: tuple[Package, Package]) -> None:
    plain, masked = (p.metadata.memory["arena"] for p in packages)
    assert masked <= plain - 4 * 8 * 16 * 16 * 4, "at least one tensor of 4 images, 8 channels, 16 x 16"
    operators = [call.kernel for call in packages[1].metadata.functions["train_step"]]
    assert sum("pack_mask" in kernel for kernel in operators) == 3
