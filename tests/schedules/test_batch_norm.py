"""The batch norm template against TVM on LLVM and PyTorch, and its speed on the simulator."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel, run_reference, run_with_sanitizer
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.passes.operators.batch_norm import Activation, batch_norm_training
from tvm_pulp.passes.operators.batch_norm_gradient import batch_norm_gradient
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.batch_norm import BatchNormTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.tvm_names import PrimFunc

ACTIVATIONS = [Activation(), Activation(True), Activation(True, 0.7)]
STREAMED = {"streamed": 1, "tile_channels": 1, "parts": 1, "overlapped": 0}
PIECES = {"overlapped": 1, "tile_channels": 1}


def function_of(
    shape: tuple[int, ...], activation: Activation, biased: bool, backward: bool, epsilon: float = 1e-5
) -> PrimFunc:
    if backward:
        return batch_norm_gradient("bn", "gradient", shape, activation, biased, data_gradient=True)
    return batch_norm_training("bn", "forward", shape, epsilon, activation, biased)


def compare(function: PrimFunc, results: list[np.ndarray], arrays: list[np.ndarray]) -> None:
    for parameter, want, got in zip(function.params, run_reference(function, arrays), results, strict=True):
        error = np.abs(want.astype(np.float64) - got).max()
        # the terms of a scale's gradient have both signs: where they cancel, the rounding of the n terms of
        # order one stays, at worst n * 2^-24 * their mean magnitude (Higham, 4.2); a sixth of n is allowed
        signed = parameter.name == "scale_gradient"
        cancelled = 1e-8 * results[0].size / results[0].shape[1] if signed else 0.0
        assert error <= 2e-5 * max(np.abs(want).max(), 1e-30) + cancelled, f"{parameter.name}: {error}"


def check(function: PrimFunc, knobs: dict[str, int] | None, chip: Features, kernels: Path) -> None:
    """Build, print, compile and run on the host with the given knobs (None: the default)."""
    template = BatchNormTemplate()
    workload = template.match(function)
    assert workload is not None
    if knobs is None or template.l1_bytes(workload, knobs) > chip.kernel_l1_bytes:
        knobs = template.default(workload, chip)
    assert knobs is not None
    lowered = template.build(workload, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(workload, knobs) <= chip.kernel_l1_bytes
    arrays = random_arguments(function)
    results = [array.copy() for array in arrays]
    HostKernel(lowered, kernels)(results)
    compare(function, results, arrays)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9)),
    activation=st.sampled_from(ACTIVATIONS),
    flags=st.tuples(st.booleans(), st.booleans()),
    data=st.data(),
)
def test_any_knobs(
    shape: tuple[int, ...], activation: Activation, flags: tuple[bool, bool], data: st.DataObject,
    chip: Features, kernels: Path,
) -> None:  # fmt: skip
    if shape[0] * shape[2] * shape[3] < 2:
        shape = (2, *shape[1:])
    function = function_of(shape, activation, *flags)
    template = BatchNormTemplate()
    choices = template.knobs(template.match(function), chip)
    knobs = {name: data.draw(st.sampled_from(values), label=name) for name, values in choices.items()}
    check(function, knobs, chip, kernels)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("shape", [(8, 40), (1, 3, 200, 200), (2, 3, 7), (8, 2, 100, 90), (3, 130, 5, 5)])
def test_shapes(shape: tuple[int, ...], backward: bool, chip: Features, kernels: Path) -> None:
    check(function_of(shape, ACTIVATIONS[1], True, backward), None, chip, kernels)


@pytest.mark.parametrize("cores", [1, 3, 5, 12])
def test_any_number_of_workers(cores: int, chip: Features) -> None:
    """Every knob that is offered shares out all of a channel."""
    features = Features(**{**chip.__dict__, "cores": cores})
    template = BatchNormTemplate()
    workload = template.match(function_of((4, 6, 5, 5), ACTIVATIONS[1], False, False))
    for parts in template.knobs(workload, features)["parts"]:
        assert cores % parts == 0
    assert template.default(workload, features) is not None


def test_what_does_not_apply(chip: Features) -> None:
    shape = (4, 3, 5, 5)
    part = batch_norm_gradient("bn", "g", shape, Activation(), biased=False, data_gradient=False)
    template = BatchNormTemplate()
    assert template.match(part) is None
    assert str(lower(part, chip).attrs["pulp.schedule"]) == "generic"
    assert (
        template.match(function_of(shape, Activation(), False, False).without_attr("pulp.batch_norm")) is None
    )


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
@pytest.mark.parametrize("backward", [False, True])
def test_sanitizers(sanitizer: str, backward: bool, chip: Features, tmp_path: Path) -> None:
    template = BatchNormTemplate()
    workload = template.match(function_of((3, 7, 9, 9), ACTIVATIONS[2], True, backward))
    knobs = {"tile_channels": 3, "parts": 2, "streamed": 0, "tile_images": 2, "tile_pixels": 32}
    kept = {**STREAMED, "slots": 6, "kept": 2}
    pieces = {**PIECES, "tile_images": 3, "tile_pixels": 81}
    for number, change in enumerate(({}, STREAMED, kept, *([] if backward else [pieces]))):
        lowered = template.build(workload, {**knobs, **change}, chip)
        run_with_sanitizer(lowered, tmp_path / str(number), sanitizer)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "shape,knobs,center",
    [
        ((8, 12, 25, 5), {}, 0.0),
        ((3, 5, 7, 9), {"tile_channels": 2, "parts": 4}, 7.0),
        ((5, 9, 3, 3), {"tile_channels": 9, "parts": 1}, -2.0),
        ((3, 3, 31, 30), {**STREAMED, "tile_images": 2}, 0.0),
        ((2, 3, 31, 30), {**STREAMED, "tile_images": 1, "tile_pixels": 401}, 3.0),
        ((4, 3, 31, 30), {**STREAMED, "tile_images": 1, "slots": 5, "kept": 2}, 0.0),
        ((3, 4, 17, 17), {**STREAMED, "tile_images": 1, "slots": 7, "kept": 3}, 1.0),
        ((4, 3, 16, 16), {**STREAMED, "tile_images": 2, "slots": 3, "kept": 2}, 1.0),
        ((4, 3, 17, 17), {**PIECES, "tile_images": 1}, 0.0),
        ((2, 4, 24, 24), {**PIECES, "tile_images": 1, "tile_pixels": 288}, 9.0),
        ((3, 2, 10, 10), {**PIECES, "tile_images": 3}, -1.0),
        ((2, 6, 8, 8), {"overlapped": 1, "tile_channels": 2, "parts": 4}, 0.0),
        ((8, 16, 5, 5), {"overlapped": 1, "tile_channels": 8, "parts": 1}, 5.0),
    ],
)
def test_on_the_simulator(
    shape: tuple[int, ...], knobs: dict[str, int], center: float, activation: Activation, backward: bool,
    chip: Features, tmp_path: Path,
) -> None:  # fmt: skip
    """In assembly, without a report of a race, of bounds or of reading what nobody wrote."""
    function = function_of(shape, activation, True, backward)
    template = BatchNormTemplate()
    workload = template.match(function)
    chosen = {**template.default(workload, chip), **knobs}
    arrays = random_arguments(function)
    arrays[1 if backward else 0][:] += np.float32(center)
    if backward:
        arrays[2][:] += np.float32(center)
    results = [array.copy() for array in arrays]
    # the backward pass works in place of a copy of its own in L1, not of its arguments: it can run twice
    measure_kernel(template.build(workload, chosen, chip), results, chip, tmp_path)
    compare(function, results, arrays)


@pytest.mark.parametrize("limit", [None, 6.0])
def test_against_pytorch(limit: float | None, chip: Features, kernels: Path) -> None:
    """Data far from zero; forward and backward by the same mask."""
    shape, generator = (4, 6, 11, 13), np.random.default_rng(3)
    activation = Activation(True) if limit is None else Activation(True, limit)
    data = (20 + 3 * generator.standard_normal(shape)).astype(np.float32)
    gradient = generator.standard_normal(shape).astype(np.float32)
    scale = (3 * generator.standard_normal(6)).astype(np.float32)
    offset = generator.standard_normal(6).astype(np.float32)
    x, w, b = (torch.tensor(a.astype(np.float64), requires_grad=True) for a in (data, scale, offset))
    y = torch.nn.functional.batch_norm(x, None, None, w, b, training=True)
    expected = torch.relu(y) if limit is None else torch.nn.functional.hardtanh(y, 0.0, limit)
    expected.backward(torch.tensor(gradient.astype(np.float64)))

    def empty(*extents: int) -> np.ndarray:
        return np.full(extents, np.nan, np.float32)

    output, mean, variance, inverse = empty(*shape), empty(6), empty(6), empty(6)
    forward = [data, scale, offset, output, mean, variance, inverse]
    HostKernel(lower(function_of(shape, activation, False, False), chip), kernels)(forward)
    by_data, by_scale, by_offset = empty(*shape), empty(6), empty(6)
    backward = [gradient, data, mean, inverse, scale, offset, by_data, by_scale, by_offset]
    HostKernel(lower(function_of(shape, activation, False, True), chip), kernels)(backward)
    for name, got, want in (
        ("output", output, expected.detach()),
        ("data gradient", by_data, x.grad),
        ("scale gradient", by_scale, w.grad),
        ("offset gradient", by_offset, b.grad),
    ):
        assert np.abs(got - want.numpy()).max() <= 1e-5 * want.abs().max(), name


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"parts": 1, "tile_channels": 2, "overlapped": 0},
        {**STREAMED, "tile_pixels": 64},
        {**PIECES, "tile_images": 1},
        {**PIECES, "tile_images": 2},
    ],
)
@pytest.mark.parametrize("center", [0.0, 1.6, 1.8, 30.0, 1e3, 1e4])
@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_as_accurate_as_pytorch(
    spread: float, center: float, knobs: dict[str, int], chip: Features, kernels: Path
) -> None:
    """Means of any size beside the deviations, and images and channels whose means differ."""
    shape, generator = (4, 5, 16, 16), np.random.default_rng(7)
    data = generator.standard_normal(shape) + center
    data[:, 1] += center * np.arange(4).reshape(4, 1, 1)
    data[0, 2] = 0.0
    data = (spread * data).astype(np.float32)
    data[:, 3] = np.float32(center)  # no deviations at all
    gradient = (1 + generator.standard_normal(shape)).astype(np.float32)
    scale, offset = np.linspace(0.5, 2, 5, dtype=np.float32), np.linspace(-1, 1, 5, dtype=np.float32)

    def by_torch(kind: torch.dtype) -> list[np.ndarray]:
        x, w, b = (torch.tensor(a, dtype=kind, requires_grad=True) for a in (data, scale, offset))
        y = torch.nn.functional.batch_norm(x, None, None, w, b, training=True)
        y.backward(torch.tensor(gradient, dtype=kind))
        return [a.numpy().astype(np.float64) for a in (y.detach(), x.grad, w.grad, b.grad)]

    def run(backward: bool, arrays: list[np.ndarray]) -> None:
        template = BatchNormTemplate()
        workload = template.match(function_of(shape, Activation(), False, backward))
        chosen = {**template.default(workload, chip), **knobs}
        HostKernel(template.build(workload, chosen, chip), kernels)(arrays)

    def empty(*extents: int) -> np.ndarray:
        return np.full(extents, np.nan, np.float32)

    output, mean, variance, inverse = empty(*shape), empty(5), empty(5), empty(5)
    run(False, [data, scale, offset, output, mean, variance, inverse])
    exact = data.astype(np.float64)
    by_data, by_scale, by_offset = empty(*shape), empty(5), empty(5)
    run(True, [gradient, data, mean, inverse, scale, offset, by_data, by_scale, by_offset])
    truth, single = by_torch(torch.float64), by_torch(torch.float32)
    normal = (exact - mean.reshape(-1, 1, 1)) * inverse.reshape(-1, 1, 1)
    by_channel = (0, 2, 3)
    # the condition of a variance: twice the mean by the deviation (Chan, Golub and LeVeque, 1979)
    true_variance, ulp = exact.var(by_channel), 2.0**-23 * np.abs(exact.mean(by_channel))
    error = np.abs(variance - true_variance)
    assert np.all(error <= 2e-6 * true_variance + 2 * ulp * np.sqrt(true_variance) + ulp**2), error
    # beside the error of PyTorch, which sums in double precision: roundings of results, of the mean, of sums
    # by their terms, twice as much where products with the data are summed
    roundings = [2e-6 * np.abs(want).max(by_channel) for want in truth[:2]]
    roundings[0] += ulp * inverse * scale
    roundings[1] += ulp * inverse * np.abs(truth[1]).max(by_channel)
    roundings += [6e-7 * np.abs(gradient * normal).sum(by_channel), 3e-7 * np.abs(gradient).sum(by_channel)]
    for name, got, want, theirs, rounding in zip(
        ("output", "data", "scale", "offset"), (output, by_data, by_scale, by_offset), truth, single,
        roundings, strict=True,
    ):  # fmt: skip
        axes = by_channel if got.ndim > 1 else ()
        error, their_error = (np.abs(a - want).max(axes) for a in (got, theirs))
        assert np.all(error <= 4 * their_error + rounding), (name, error, their_error)


@pytest.mark.parametrize(
    "shape,forward,backward",
    [
        ((8, 64, 25, 5), 1.21, 2.02),
        ((4, 8, 48, 48), 1.13, 2.05),
        ((8, 32, 12, 12), 1.22, 2.02),
        ((4, 16, 32, 32), 1.07, 1.86),
    ],
)
def test_speed(
    shape: tuple[int, ...], forward: float, backward: float, chip: Features, tmp_path: Path
) -> None:
    """Cycles an element with all transfers: the DMA needs 0.5 (forward) and 1 (backward)."""
    for most, back in ((forward, False), (backward, True)):
        function = function_of(shape, Activation(True), False, back)
        template = BatchNormTemplate()
        workload = template.match(function)
        knobs = template.default(workload, chip)
        measured = measure_kernel(
            template.build(workload, knobs, chip), random_arguments(function), chip, tmp_path / str(back)
        )
        assert measured.cycles[-1] / np.prod(shape) <= most
        estimate = template.estimate_cycles(workload, knobs, chip)
        assert 0.8 <= estimate / measured.cycles[-1] <= 1.15


@pytest.mark.parametrize("backward", [False, True])
def test_a_layer_may_be_named_norm(backward: bool, chip: Features, tmp_path: Path) -> None:
    """Its kernels are ``norm_forward`` and ``norm_gradient``: no function of the template is."""
    function = function_of((2, 3, 4, 4), ACTIVATIONS[1], False, backward)
    name = "norm_gradient" if backward else "norm_forward"
    source = print_kernel(lower(function, chip), name)
    assert len(re.findall(rf"\b{name}\(", source)) == 1
