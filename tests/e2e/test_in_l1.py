"""A step whose tensors stay in L1 between kernels: as by way of L2 but faster, free of races.

Kernels have larger tiles then, and may sum up in another order: results agree but for rounding. That the same
tiles give the same bits is tested for each template (tests/schedules/test_resident.py).
"""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest

import tvm_pulp
from tests.e2e.settings import CONFIG
from tvm_pulp.passes.l1_residency import CallCost, Residency
from tvm_pulp.runners.simulator import SimulatorRunner


def nothing_in_l1(tensors: object, calls: list[CallCost], limit: int) -> Residency:
    """Leave every tensor in L2."""
    return Residency(frozenset(), (), max(call.scratch for call in calls))


@pytest.fixture(scope="module")
def packages(exported_mobilenet):
    config = tvm_pulp.TrainConfig(**{**CONFIG, "batch_size": 1})
    in_l1 = tvm_pulp.compile(exported_mobilenet, target="pulp", train=config)
    with mock.patch("tvm_pulp.passes.plan_memory.keep_in_l1", nothing_in_l1):
        in_l2 = tvm_pulp.compile(exported_mobilenet, target="pulp", train=config)
    return in_l1, in_l2


def assert_agrees(got: np.ndarray, want: np.ndarray, name: str) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max(), err_msg=name)


@pytest.mark.xdist_group("in_l1")
def test_same_results_in_fewer_cycles_without_a_race(packages, samples):
    one = {name: values[:1] for name, values in samples.items()}
    in_l1, in_l2 = (package.run(one, 1, runner=SimulatorRunner(checks=True)) for package in packages)
    assert_agrees(in_l1.losses, in_l2.losses, "loss")
    assert_agrees(in_l1.outputs, in_l2.outputs, "output")
    for name, values in in_l2.tensors.items():
        assert_agrees(in_l1.tensors[name], values, name)
    assert in_l1.cycles[0] < 0.85 * in_l2.cycles[0]


@pytest.mark.xdist_group("in_l1")
def test_infers_as_by_way_of_l2(packages, samples):
    image = {"x": samples["x"][:1]}
    runner = SimulatorRunner(checks=True)
    in_l1, in_l2 = (package.run(image, 1, function="infer", runner=runner) for package in packages)
    assert_agrees(in_l1.outputs, in_l2.outputs, "output")
    assert in_l1.cycles[0] < 0.87 * in_l2.cycles[0]


@pytest.mark.xdist_group("in_l1")
def test_agrees_with_pytorch(packages, samples):
    report = packages[0].check({name: values[:1] for name, values in samples.items()}, 1)
    assert report.passed, f"\n{report}"
