"""The cross-entropy template against PyTorch, and its speed on the simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tests.schedules.host_harness import HostKernel, run_with_sanitizer
from tvm_pulp.measure import measure_kernel
from tvm_pulp.passes.operators.cross_entropy import (
    cross_entropy,
    cross_entropy_gradient,
    cross_entropy_training,
)
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.cross_entropy import CrossEntropyTemplate
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc

RESULTS = {
    cross_entropy: ("loss",),
    cross_entropy_gradient: ("gradient",),
    cross_entropy_training: ("loss", "gradient"),
}
MAKERS = list(RESULTS)


def operands(rows: int, classes: int, magnitude: float = 4.0) -> list[np.ndarray]:
    random = np.random.default_rng(rows * classes)
    logits = (magnitude * random.standard_normal((rows, classes))).astype(np.float32)
    return [logits, random.integers(0, classes, rows).astype(np.int32)]


def arguments(function: PrimFunc, inputs: list[np.ndarray]) -> list[np.ndarray]:
    shapes = [tuple(int(n) for n in p.ty.shape) for p in function.params[2:]]
    return [*(array.copy() for array in inputs), *(np.full(s, np.nan, np.float32) for s in shapes)]


def compare(maker: object, arrays: list[np.ndarray], inputs: list[np.ndarray], scale: float) -> None:
    logits = torch.tensor(inputs[0].astype(np.float64), requires_grad=True)
    loss = functional.cross_entropy(logits, torch.tensor(inputs[1]).long(), reduction="sum") * scale
    loss.backward()
    expected = {"loss": loss.detach().numpy().reshape(1), "gradient": logits.grad.numpy()}
    for name, got in zip(RESULTS[maker], arrays[2:], strict=True):
        error = np.abs(got - expected[name]).max() / np.abs(expected[name]).max()
        assert error <= 1e-5, name


@settings(max_examples=40, deadline=None)
@given(
    maker=st.sampled_from(MAKERS),
    rows=st.integers(1, 40),
    classes=st.integers(2, 40),
    data=st.data(),
)
def test_any_knobs(
    maker: object, rows: int, classes: int, data: st.DataObject, chip: Features, kernels: Path
) -> None:
    function = maker("loss", "work", (rows, classes), 0.25)
    template = CrossEntropyTemplate()
    workload = template.match(function)
    assert workload is not None
    sizes = template.knobs(workload, chip)["tile_rows"]
    knobs = {"tile_rows": data.draw(st.sampled_from(sizes)), "workers": chip.cores}
    lowered = template.build(workload, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(workload, knobs)
    inputs = operands(rows, classes)
    arrays = arguments(function, inputs)
    HostKernel(lowered, kernels)(arrays)
    compare(maker, arrays, inputs, 0.25)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize(("rows", "classes"), [(1, 10), (3, 1000), (8, 10), (100, 101), (4, 2)])
def test_on_the_simulator(maker: object, rows: int, classes: int, chip: Features, tmp_path: Path) -> None:
    """Without a report of a race, of bounds or of reading what nobody wrote."""
    function = maker("loss", "work", (rows, classes), 1.0 / rows)
    lowered = lower(function, chip)
    assert str(lowered.attrs["pulp.schedule"]) == "cross_entropy"
    inputs = operands(rows, classes)
    arrays = arguments(function, inputs)
    measure_kernel(lowered, arrays, chip, tmp_path, runs=1)
    compare(maker, arrays, inputs, 1.0 / rows)


def test_logits_far_apart(chip: Features, kernels: Path) -> None:
    """Exponentials that are as good as zero, and a loss in the hundreds."""
    function = cross_entropy_training("loss", "work", (6, 12), 1.0)
    inputs = operands(6, 12, 300.0)
    arrays = arguments(function, inputs)
    HostKernel(lower(function, chip), kernels)(arrays)
    compare(cross_entropy_training, arrays, inputs, 1.0)


def test_a_label_that_is_no_class_touches_nothing(chip: Features, tmp_path: Path) -> None:
    function = cross_entropy_training("loss", "work", (2, 5), 1.0)
    logits, _ = operands(2, 5)
    arrays = arguments(function, [logits, np.array([-1, 5], np.int32)])
    measure_kernel(lower(function, chip), arrays, chip, tmp_path, runs=1)
    softmax = torch.softmax(torch.tensor(logits), 1).numpy()
    np.testing.assert_allclose(arrays[3], softmax, rtol=1e-5)


def test_rows_that_do_not_fit_are_left_to_the_generic_lowering(chip: Features) -> None:
    function = cross_entropy_training("loss", "work", (1, 20000), 1.0)
    template = CrossEntropyTemplate()
    assert template.default(template.match(function), chip) is None


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str, chip: Features, tmp_path: Path) -> None:
    template = CrossEntropyTemplate()
    workload = template.match(cross_entropy_training("loss", "work", (20, 10), 0.05))
    knobs = {"tile_rows": 3, "workers": chip.cores}
    run_with_sanitizer(template.build(workload, knobs, chip), tmp_path, sanitizer)


def test_speed(chip: Features, tmp_path: Path) -> None:
    """Loss and gradient at once take a third of what they take one by one in the generic lowering."""
    shape = (8, 10)
    inputs = operands(*shape)

    def cycles(function: PrimFunc, lowered: PrimFunc) -> float:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return measure_kernel(lowered, arguments(function, inputs), chip, folder).cycles[-1]

    apart = [maker("loss", "work", shape, 0.125) for maker in MAKERS[:2]]
    generic = sum(cycles(function, lower_generic(function, chip)) for function in apart)
    function = cross_entropy_training("loss", "work", shape, 0.125)
    assert cycles(function, lower(function, chip)) < generic / 3
