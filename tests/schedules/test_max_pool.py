"""The template of maximum pooling against TVM on LLVM and PyTorch, and its speed on the simulator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tests.schedules.host_harness import HostKernel, run_reference, run_with_sanitizer
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.passes.operators.max_pool2d import (
    max_pool2d,
    max_pool2d_data_gradient,
    max_pool2d_gradient,
    max_pool2d_indices,
)
from tvm_pulp.passes.operators.pooling import Pool2d
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.schedules.max_pool import MaxPoolTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc

HALVES = Pool2d((2, 2), (2, 2))
OVERLAPPING = Pool2d((3, 3), (2, 2), (1, 1, 1, 1))
MAKERS: list[Callable[..., PrimFunc]] = [max_pool2d, max_pool2d_data_gradient]


@st.composite
def pools(draw: st.DrawFn) -> tuple[Pool2d, tuple[int, int, int, int]]:
    window = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, window[axis % 2] // 2)) for axis in range(4))
    pool = Pool2d(window, strides, padding, ceil_mode=draw(st.booleans()))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(4, 9), st.integers(4, 11)))
    return pool, shape


def operands(function: PrimFunc) -> list[np.ndarray]:
    """Arguments; some elements of the data are equal."""
    arrays = random_arguments(function)
    arrays[0][...] = np.round(arrays[0] * 4) / 4
    return arrays


@settings(max_examples=40, deadline=None)
@given(maker=st.sampled_from(MAKERS), case=pools(), data=st.data())
def test_any_knobs(
    maker: Callable[..., PrimFunc],
    case: tuple[Pool2d, tuple[int, int, int, int]],
    data: st.DataObject,
    chip: Features,
    kernels: Path,
) -> None:
    attributes, shape = case
    function = maker("p", "work", attributes, shape)
    template = MaxPoolTemplate()
    workload = template.match(function)
    assert workload is not None
    knobs = {"tile_images": data.draw(st.sampled_from(template.knobs(workload, chip)["tile_images"]))}
    lowered = template.build(workload, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(workload, knobs)
    arrays = operands(function)
    expected = run_reference(function, [array.copy() for array in arrays])[-1]
    HostKernel(lowered, kernels)(arrays)
    np.testing.assert_allclose(arrays[-1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize(
    "attributes",
    [
        HALVES,
        OVERLAPPING,
        Pool2d((3, 3), (1, 1), (1, 1, 1, 1)),
        Pool2d((2, 4), (2, 3), (1, 1, 1, 1)),
        Pool2d((1, 2), (1, 2)),
        Pool2d((3, 4), (3, 4)),
        Pool2d((1, 3), (2, 2)),
        Pool2d((2, 5), (2, 5)),
        Pool2d((3, 2), (2, 2), (0, 0, 0, 0)),
    ],
    ids=str,
)
def test_on_the_simulator(
    maker: Callable[..., PrimFunc], attributes: Pool2d, chip: Features, tmp_path: Path
) -> None:
    """As PyTorch has it; without a report of a race, of bounds or of reading what nobody wrote.

    With equal elements in most windows, zeros of both signs among them: the first one takes the gradient.
    """
    shape = (3, 7, 12, 12) if attributes.strides == (3, 4) else (3, 7, 14, 10)
    function = maker("p", "work", attributes, shape)
    lowered = lower(function, chip)
    assert str(lowered.attrs["pulp.schedule"]) == "max_pool"
    arrays = operands(function)
    arrays[0][:, 3:] = np.maximum(arrays[0][:, 3:], np.copysign(np.float32(0), arrays[0][:, 3:]))
    arrays[0][:, 5] = np.copysign(np.float32(0), arrays[0][:, 4] - arrays[0][:, 5])
    x = torch.tensor(arrays[0], requires_grad=True)
    expected = functional.max_pool2d(x, attributes.window, attributes.strides, attributes.padding[0])
    if maker is max_pool2d_data_gradient:
        expected.backward(torch.tensor(arrays[1]))
        expected = x.grad
    measure_kernel(lowered, arrays, chip, tmp_path, runs=1)
    np.testing.assert_allclose(arrays[-1], expected.detach().numpy(), rtol=0, atol=1e-6)


def test_what_does_not_apply(chip: Features) -> None:
    template = MaxPoolTemplate()
    dilated = Pool2d((2, 2), (2, 2), dilation=(2, 2))
    assert template.match(max_pool2d("p", "work", dilated, (1, 2, 8, 8))) is None
    assert template.match(max_pool2d("p", "work", Pool2d((5, 5), (1, 1)), (1, 2, 8, 8))) is None
    large = template.match(max_pool2d("p", "work", HALVES, (1, 2, 200, 200)))
    assert template.default(large, chip) is None


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str, chip: Features, tmp_path: Path) -> None:
    template = MaxPoolTemplate()
    workload = template.match(max_pool2d_data_gradient("p", "work", OVERLAPPING, (2, 5, 9, 9)))
    run_with_sanitizer(template.build(workload, {"tile_images": 3}, chip), tmp_path, sanitizer)


@pytest.mark.parametrize(("attributes", "faster"), [(HALVES, 2.4), (OVERLAPPING, 2.4)])
def test_speed_of_the_gradient(attributes: Pool2d, faster: float, chip: Features, tmp_path: Path) -> None:
    """Against the two kernels by the generic lowering."""
    shape = (4, 8, 24, 24)
    makers = (max_pool2d_data_gradient, max_pool2d_indices, max_pool2d_gradient)
    cycles = []
    for number, maker in enumerate(makers):
        function = maker("p", "work", attributes, shape)
        lowered = lower(function, chip) if number == 0 else lower_generic(function, chip)
        arrays = random_arguments(function)
        cycles.append(measure_kernel(lowered, arrays, chip, tmp_path / str(number)).cycles[-1])
    assert cycles[0] * faster < cycles[1] + cycles[2]
