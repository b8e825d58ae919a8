"""The conv2d template against TVM on LLVM for any attributes and tiles, and its speed on the simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel, run_reference, run_with_sanitizer
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.passes.operators.conv2d import Conv2d, conv2d
from tvm_pulp.passes.operators.conv2d_data_gradient import conv2d_data_gradient
from tvm_pulp.passes.operators.conv2d_weight_gradient import conv2d_weight_gradient
from tvm_pulp.schedules.conv2d import Conv2dTemplate
from tvm_pulp.schedules.conv2d_tiling import Conv2dBlocking, is_valid, whole_planes
from tvm_pulp.schedules.conv2d_workload import WindowAxis
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc

Shape = tuple[int, ...]
STEPS: dict[str, Callable[..., PrimFunc]] = {
    "forward": conv2d,
    "data gradient": conv2d_data_gradient,
    "weight gradient": conv2d_weight_gradient,
}
SAME = Conv2d((1, 1), (1, 1, 1, 1))
HALF = Conv2d((2, 2), (1, 1, 1, 1))


def depthwise(attributes: Conv2d, channels: int) -> Conv2d:
    return replace(attributes, groups=channels)


def check(function: PrimFunc, knobs: dict[str, int] | None, chip: Features, kernels: Path) -> None:
    """Build, print, compile and run with the given knobs (None: the default); compare with LLVM."""
    template = Conv2dTemplate()
    workload = template.match(function)
    assert workload is not None
    if knobs is None or not is_valid(
        workload.sizes, Conv2dBlocking.of(workload.sizes, knobs), chip.kernel_l1_bytes
    ):
        knobs = template.default(workload, chip)
    assert knobs is not None
    lowered = template.build(workload, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(workload, knobs) <= chip.kernel_l1_bytes
    arrays = random_arguments(function)
    expected = run_reference(function, [a.copy() for a in arrays])[2]
    HostKernel(lowered, kernels)(arrays)
    np.testing.assert_allclose(arrays[2], expected, atol=3e-5 * max(float(np.abs(expected).max()), 1e-6))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "attributes,data,weight",
    [
        (SAME, (2, 8, 16, 16), (16, 8, 3, 3)),
        (SAME, (1, 64, 16, 16), (64, 64, 3, 3)),
        (HALF, (2, 8, 17, 15), (12, 8, 3, 3)),
        (Conv2d((2, 2), (3, 3, 3, 3)), (2, 3, 32, 32), (10, 3, 7, 7)),
        (Conv2d((2, 2), (0, 0, 0, 0)), (2, 16, 9, 9), (8, 16, 1, 1)),
        (depthwise(SAME, 16), (2, 16, 16, 16), (16, 1, 3, 3)),
        (depthwise(HALF, 12), (2, 12, 17, 15), (12, 1, 3, 3)),
        (depthwise(Conv2d((1, 1), (0, 0, 0, 0)), 11), (2, 11, 10, 12), (11, 1, 3, 3)),
        (depthwise(Conv2d((2, 2), (0, 0, 0, 0)), 6), (3, 6, 13, 11), (6, 1, 3, 3)),
        (Conv2d((1, 1), (2, 2, 2, 2), groups=9), (2, 9, 13, 15), (9, 1, 5, 5)),
    ],
)
def test_networks(
    step: str, attributes: Conv2d, data: Shape, weight: Shape, chip: Features, kernels: Path
) -> None:
    check(STEPS[step]("conv", "work", attributes, data, weight), None, chip, kernels)


@settings(max_examples=40, deadline=None)
@given(
    step=st.sampled_from(sorted(STEPS)),
    batch=st.integers(1, 5),
    channels=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    extents=st.tuples(st.integers(1, 18), st.integers(1, 18)),
    taps=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from(["none", "some", "depthwise"]),
    data=st.data(),
)
def test_any_convolution_in_any_tiles(
    step: str, batch: int, channels: tuple[int, int], extents: tuple[int, int], taps: tuple[int, int],
    strides: tuple[int, int], padding: tuple[int, int, int, int], dilation: tuple[int, int],
    groups: str, data: st.DataObject, chip: Features, kernels: Path,
) -> None:  # fmt: skip
    number = {"none": 1, "some": 3, "depthwise": channels[0]}[groups]
    attributes = Conv2d(strides, padding, dilation, number)
    shape, weight = (batch, channels[0], *extents), (channels[1], channels[0], *taps)
    if groups == "some":
        shape, weight = (batch, 3 * channels[0], *extents), (3 * channels[1], channels[0], *taps)
    elif groups == "depthwise":
        weight = (channels[0], 1, *taps)
    assume(min(attributes.output_shape(shape, weight)) >= 1)
    function = STEPS[step]("conv", "work", attributes, shape, weight)
    template = Conv2dTemplate()
    choices = template.knobs(template.match(function), chip)
    knobs = {name: data.draw(st.sampled_from(values), label=name) for name, values in choices.items()}
    check(function, knobs, chip, kernels)


@pytest.mark.parametrize(
    "batch,channels,tile_n,tile_y,tile_o,planes",
    [
        (1, 64, 1, 8, 8, 1),
        (2, 64, 2, 8, 16, 4),
        (1, 64, 1, 8, 4, 0),  # half a channel each
        (1, 24, 1, 8, 16, 0),  # the last tile is smaller
        (1, 64, 1, 4, 8, 0),  # half of the rows
    ],
)
def test_whole_channels_a_worker(
    batch: int,
    channels: int,
    tile_n: int,
    tile_y: int,
    tile_o: int,
    planes: int,
    chip: Features,
    kernels: Path,
) -> None:
    """Where all shares are the same whole channels, the micro-kernel has their number as a constant."""
    function = conv2d("c", "w", depthwise(HALF, channels), (batch, channels, 16, 16), (channels, 1, 3, 3))
    knobs = {"tile_n": tile_n, "tile_y": tile_y, "tile_o": tile_o, "tile_c": 1, "order": 0}
    sizes = Conv2dTemplate().match(function).sizes
    assert whole_planes(sizes, Conv2dBlocking.of(sizes, knobs), 8) == planes
    check(function, knobs, chip, kernels)


@pytest.mark.parametrize(
    "step,attributes,extents",
    [
        ("forward", Conv2d((3, 1), (1, 0, 0, 0), (1, 2)), (13, 5)),
        ("data gradient", Conv2d((1, 3), (2, 1, 3, 2), (1, 2)), (11, 5)),
    ],
)
def test_whole_channels_with_lines_that_no_result_needs(
    step: str, attributes: Conv2d, extents: tuple[int, int], chip: Features, kernels: Path
) -> None:
    function = STEPS[step]("c", "w", depthwise(attributes, 8), (2, 8, *extents), (8, 1, 3, 2))
    sizes = Conv2dTemplate().match(function).sizes
    rows = extents[0] if step == "data gradient" else sizes.height.out
    knobs = {"tile_n": 1, "tile_y": rows, "tile_o": 8, "tile_c": 1, "order": 0}
    assert whole_planes(sizes, Conv2dBlocking.of(sizes, knobs), 8) == 1
    check(function, knobs, chip, kernels)


def test_weight_gradient_in_sections(chip: Features, kernels: Path) -> None:
    """Long sums come as partial sums: over groups of images, or over rows of one image."""
    images = conv2d_weight_gradient("c", "w", SAME, (4, 3, 40, 40), (5, 3, 3, 3))
    rows = conv2d_weight_gradient("c", "w", SAME, (2, 2, 72, 60), (4, 2, 3, 3))
    for function in (images, rows):
        assert len(function.params[2].ty.shape) == 5
        check(function, None, chip, kernels)


@pytest.mark.parametrize(
    "stride,before,dilation,taps", [(1, 1, 1, 3), (2, 1, 1, 3), (3, 2, 2, 4), (2, 0, 2, 2)]
)
def test_windows_of_the_data_gradient(stride: int, before: int, dilation: int, taps: int) -> None:
    """Classes of positions, taps and starts, against the definition of a window."""
    source = 13
    out = (source + 2 * before - (taps - 1) * dilation - 1) // stride + 1
    axis = WindowAxis(source, out, taps, stride, before, dilation)
    for position in range(source):
        remainder = position % stride
        found = []
        for number, tap in enumerate(axis.class_taps(remainder)):
            back = number * axis.tap_step() * dilation // stride
            found.append((tap, axis.class_start(remainder) + position // stride - back + axis.first_window))
        meant = [
            (tap, (position + before - tap * dilation) // stride)
            for tap in range(taps)
            if (position + before - tap * dilation) % stride == 0
        ]
        assert found == meant
        assert all(0 <= w - axis.first_window < axis.windows(source) for _, w in found)


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str, chip: Features, tmp_path: Path) -> None:
    template = Conv2dTemplate()
    knobs = {"tile_n": 1, "tile_y": 4, "tile_o": 4, "tile_c": 4, "order": 1}
    for number, make in enumerate(STEPS.values()):
        dense = make("c", "w", HALF, (2, 7, 15, 13), (10, 7, 3, 3))
        alone = make("c", "w", depthwise(HALF, 10), (2, 10, 13, 13), (10, 1, 3, 3))
        for which, function in (("dense", dense), ("depthwise", alone)):
            lowered = template.build(template.match(function), knobs, chip)
            run_with_sanitizer(lowered, tmp_path / f"{which}{number}", sanitizer)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "attributes,data,weight,least",
    [
        (SAME, (2, 16, 16, 16), (16, 16, 3, 3), 3.6),
        (HALF, (2, 16, 32, 32), (32, 16, 3, 3), 3.5),
        (SAME, (2, 3, 11, 13), (5, 3, 3, 3), 0.0),
        (HALF, (2, 3, 48, 48), (8, 3, 3, 3), 0.0),
        (Conv2d((2, 2), (4, 1, 5, 1)), (2, 1, 49, 10), (18, 1, 10, 4), 0.0),
        (Conv2d((2, 2), (0, 0, 0, 0)), (1, 8, 16, 16), (12, 8, 1, 1), 0.0),
        (Conv2d((1, 2), (2, 0, 1, 4), (2, 1)), (1, 5, 12, 9), (6, 5, 3, 2), 0.0),
        (Conv2d((3, 2), (4, 4, 4, 4), groups=3), (1, 6, 7, 9), (9, 2, 2, 3), 0.0),
        (depthwise(SAME, 16), (2, 16, 32, 32), (16, 1, 3, 3), 3.4),
        (depthwise(HALF, 16), (2, 16, 32, 32), (16, 1, 3, 3), 2.9),
        (depthwise(HALF, 8), (1, 8, 64, 64), (8, 1, 3, 3), 2.8),
        (depthwise(Conv2d((1, 1), (0, 0, 0, 0)), 32), (2, 32, 10, 10), (32, 1, 3, 3), 2.8),
        (depthwise(Conv2d((2, 1), (0, 1, 0, 1)), 5), (2, 5, 9, 12), (5, 1, 3, 4), 0.0),
        (replace(SAME, groups=8), (1, 16, 16, 16), (16, 2, 3, 3), 2.1),
        (replace(HALF, groups=2), (1, 6, 11, 9), (6, 3, 3, 3), 0.0),
        (Conv2d((1, 1), (2, 2, 2, 2), groups=9), (1, 9, 13, 15), (9, 1, 5, 5), 0.0),
        (Conv2d((2, 2), (3, 3, 3, 3), groups=9), (1, 9, 13, 15), (9, 1, 7, 7), 0.0),
        (Conv2d((1, 1), (3, 3, 3, 3), groups=32), (1, 32, 16, 16), (32, 1, 7, 7), 3.6),
        (Conv2d((1, 3), (5, 0, 0, 5), (2, 1), groups=9), (1, 9, 7, 10), (9, 1, 2, 3), 0.0),
    ],
)
def test_speed(
    step: str, attributes: Conv2d, data: Shape, weight: Shape, least: float, chip: Features, tmp_path: Path
) -> None:
    """MAC/cycle with all transfers from and to L2; no report of the simulator's checks for any shape."""
    function = STEPS[step]("conv", "work", attributes, data, weight)
    template = Conv2dTemplate()
    workload = template.match(function)
    assert workload is not None
    knobs = template.default(workload, chip)
    assert knobs is not None
    arrays = random_arguments(function)
    expected = run_reference(function, [a.copy() for a in arrays])[2]
    measured = measure_kernel(template.build(workload, knobs, chip), arrays, chip, tmp_path)
    np.testing.assert_allclose(arrays[2], expected, atol=2e-5 * np.abs(expected).max())
    assert attributes.macs(data, weight) / measured.cycles[-1] >= least
    if least:
        estimate = template.estimate_cycles(workload, knobs, chip)
        assert 0.8 <= estimate / measured.cycles[-1] <= 1.2
