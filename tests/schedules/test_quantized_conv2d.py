"""The template of quantised convolutions: bit by bit against NumPy, and its speed on the simulator."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel
from tests.schedules.quantized_convolutions import conv2d_sums, image_sizes
from tests.schedules.quantized_operands import FORMS, random_weight, requantization_for, stored
from tvm_pulp.measure import measure_kernel
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d, pack_weight, quantized_conv2d
from tvm_pulp.schedules.quantized_conv2d import QuantizedConv2dTemplate
from tvm_pulp.schedules.quantized_conv2d_model import STATIONARY
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc

Shape = tuple[int, int, int, int]
SAME = (1, 1, 1, 1)


def workload(
    shape: Shape,
    outputs: int,
    g: QuantizedConv2d,
    form: str = "wide",
    seed: int = 0,
    groups: int = 1,
    bits: int = 8,
) -> tuple[PrimFunc, list[np.ndarray], np.ndarray]:
    """Kernel, arguments and expected result; the form "sums" is not requantised."""
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, shape).astype(np.uint8)
    weight = random_weight(random, (outputs, shape[3] // groups, *g.kernel), bits)
    packed = stored(pack_weight(weight), bits)
    sums = conv2d_sums(data, weight, g)
    if form == "sums":
        function = quantized_conv2d("layer", "forward", g, shape, outputs, None, groups, bits)
        return function, [data, packed, np.zeros(sums.shape, np.int32)], sums
    bias, multiplier, requantization = requantization_for(sums, seed, form, 5)
    function = quantized_conv2d("layer", "forward", g, shape, outputs, requantization, groups, bits)
    result = np.zeros(sums.shape, np.uint8)
    expected = requantization.reference(sums + bias, multiplier)
    return function, [data, packed, requantization.terms(bias, multiplier), result], expected


def simulate(
    shape: Shape,
    outputs: int,
    g: QuantizedConv2d,
    chip: Features,
    directory: Path,
    form: str = "wide",
    groups: int = 1,
    knobs: dict[str, int] | None = None,
) -> float:
    """Run it and return MAC/cycle with all transfers from and to L2."""
    function, arrays, expected = workload(shape, outputs, g, form, groups=groups)
    template = QuantizedConv2dTemplate()
    found = template.match(function)
    assert found is not None
    lowered = template.build(found, knobs or template.default(found, chip), chip)
    measured = measure_kernel(lowered, arrays, chip, directory)
    np.testing.assert_array_equal(arrays[-1], expected)
    return float(int(function.attrs["pulp.macs"]) / measured.cycles[-1])


GEOMETRIES = st.builds(
    QuantizedConv2d,
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    dilation=st.tuples(st.integers(1, 3), st.sampled_from([1, 1, 2, 3])),
    zero_point=st.integers(0, 255),
)
CHANNELS = st.one_of(
    st.tuples(st.just(1), st.integers(1, 9), st.integers(1, 11)),
    st.tuples(st.integers(1, 3), st.sampled_from([4, 8]), st.sampled_from([4, 8, 12])),
)
"""Groups, and channels and outputs of each."""


def is_served(g: QuantizedConv2d, inputs: int) -> bool:
    """Tell whether the template should serve a window this small: taps that are apart are whole words."""
    return g.kernel[1] == 1 or g.dilation[1] == 1 or inputs % 4 == 0


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 2),
    channels=CHANNELS,
    g=GEOMETRIES,
    form=st.sampled_from(["wide", "short", "halfword", "sums"]),
    data=st.data(),
)
def test_any_geometry_and_knobs(
    batch: int, channels: tuple[int, int, int], g: QuantizedConv2d, form: str,
    data: st.DataObject, chip: Features, kernels: Path,
) -> None:  # fmt: skip
    groups, inputs, outputs = channels
    size = (batch, *data.draw(image_sizes(g, 1, 12), label="size"))
    shape = (*size, groups * inputs)
    function, arrays, expected = workload(shape, groups * outputs, g, form, size[1], groups)
    template = QuantizedConv2dTemplate()
    found = template.match(function)
    assert (found is not None) == is_served(g, inputs)
    if found is None:
        return
    choices = template.knobs(found, chip)
    knobs = {name: data.draw(st.sampled_from(values), label=name) for name, values in choices.items()}
    lowered = template.build(found, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(found, knobs) <= chip.kernel_l1_bytes
    HostKernel(lowered, kernels)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)


@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 2),
    channels=CHANNELS,
    g=GEOMETRIES,
    form=st.sampled_from([*FORMS, "sums"]),
    data=st.data(),
)
def test_any_geometry_on_the_cluster(
    batch: int, channels: tuple[int, int, int], g: QuantizedConv2d, form: str, data: st.DataObject,
    chip: Features,
) -> None:  # fmt: skip
    """With the simulator's checks: no race, no access outside of a buffer, no read of unwritten memory."""
    groups, inputs, outputs = channels
    if not is_served(g, inputs):
        g = replace(g, dilation=(g.dilation[0], 1))
    size = (batch, *data.draw(image_sizes(g, 3, 12), label="size"))
    with tempfile.TemporaryDirectory() as folder:
        simulate((*size, groups * inputs), groups * outputs, g, chip, Path(folder), form, groups)


@pytest.mark.parametrize(
    "shape,outputs,g,groups",
    [
        ((2, 9, 11, 4), 10, QuantizedConv2d((3, 3), (1, 1), SAME, zero_point=9), 1),
        ((1, 13, 12, 3), 8, QuantizedConv2d((3, 3), (2, 2), (0, 0, 1, 1), zero_point=128), 1),
        ((1, 9, 9, 8), 12, QuantizedConv2d((1, 1), (2, 2)), 1),
        ((1, 1, 4, 7), 1, QuantizedConv2d((1, 1), (3, 1), (2, 0, 0, 0)), 1),  # a tile that is padding only
        ((1, 7, 6, 128), 20, QuantizedConv2d((3, 3), (1, 1), SAME), 1),
        ((2, 30, 20, 16), 24, QuantizedConv2d((5, 4), (1, 2), (2, 1, 3, 0), (2, 1), 77), 1),
        ((1, 9, 12, 8), 8, QuantizedConv2d((3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 77), 1),
        ((1, 9, 12, 96), 8, QuantizedConv2d((3, 3), (1, 2), (2, 2, 2, 2), (1, 2), 77), 1),
        ((1, 8, 8, 32), 24, QuantizedConv2d((3, 3), (2, 1), SAME, zero_point=3), 2),
        ((1, 8, 8, 24), 16, QuantizedConv2d((3, 1), (1, 1), SAME, (2, 1), 3), 2),
        ((1, 8, 8, 32), 16, QuantizedConv2d((1, 1)), 4),
        ((1, 3, 5, 512), 8, QuantizedConv2d((3, 3), (1, 1), SAME, zero_point=3), 1),
    ],
)
def test_assembly(
    shape: Shape, outputs: int, g: QuantizedConv2d, groups: int, chip: Features, tmp_path: Path
) -> None:
    simulate(shape, outputs, g, chip, tmp_path, groups=groups)


@pytest.mark.parametrize(
    "channels,outputs,size,stride,least",
    [
        (16, 16, 64, 1, 19.0),
        (8, 16, 16, 1, 15.0),
        (16, 16, 16, 1, 18.2),
        (16, 32, 32, 2, 17.4),
        (64, 64, 8, 1, 21.0),
    ],
)
def test_speed(
    channels: int, outputs: int, size: int, stride: int, least: float, chip: Features, tmp_path: Path
) -> None:
    g = QuantizedConv2d((3, 3), (stride, stride), SAME, zero_point=9)
    assert simulate((1, size, size, channels), outputs, g, chip, tmp_path, "short") >= least


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 2), channels=st.integers(1, 4), data=st.data(),
    pairs=st.integers(1, 5), form=st.sampled_from(["short", "halfword"]), tile_y=st.integers(1, 14),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 4)), dilation=st.integers(1, 2),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 3)), padding=st.tuples(*[st.integers(0, 2)] * 4),
)  # fmt: skip
def test_weights_in_registers(
    batch: int, channels: int, data: st.DataObject, pairs: int, form: str, tile_y: int,
    kernel: tuple[int, int], dilation: int, strides: tuple[int, int], padding: Shape, chip: Features,
) -> None:  # fmt: skip
    """Windows of few bytes, with the simulator's checks on; their odd bytes are gathered from three lines."""
    g = QuantizedConv2d(kernel, strides, padding, (dilation, 1), 200)
    shape = (batch, *data.draw(image_sizes(g, 3, 14), label="size"), channels)
    knobs = {"tile_y": tile_y, "tile_n": 4, "block_pixels": STATIONARY, "block_outputs": 4, "order": 0}
    with tempfile.TemporaryDirectory() as folder:
        simulate(shape, 4 * pairs, g, chip, Path(folder), form, knobs=knobs)


def test_sizes_whose_weights_fit_registers() -> None:
    def gathers(channels: int, kernel: tuple[int, int], outputs: int, form: str) -> bool | None:
        found = QuantizedConv2dTemplate().match(
            workload((1, 8, 8, channels), outputs, QuantizedConv2d(kernel), form)[0]
        )
        assert found is not None
        panel = found.sizes.stationary_panel(outputs)
        return panel.gathers if panel.takes(outputs, outputs) else None

    assert gathers(3, (3, 3), 8, "short") is True  # a window has three lines of nine bytes: seven words
    assert gathers(4, (3, 3), 8, "short") is False
    assert gathers(4, (3, 4), 8, "short") is None  # twelve words
    assert gathers(3, (3, 3), 7, "short") is None
    assert gathers(3, (3, 3), 8, "wide") is None


@pytest.mark.parametrize(("size", "channels", "outputs", "least"), [(24, 16, 16, 18.0), (7, 5, 11, 4.0)])
def test_sums_leave_as_words(
    size: int, channels: int, outputs: int, least: float, chip: Features, tmp_path: Path
) -> None:
    """Without bias and requantisation, for layers whose result goes on in float32."""
    g = QuantizedConv2d((3, 3), (1, 1), SAME, zero_point=7)
    assert simulate((1, size, size, channels), outputs, g, chip, tmp_path, "sums") >= least


def test_runs_of_whole_pixels_end_with_the_row(chip: Features, tmp_path: Path) -> None:
    """Workers' shares that begin and end within rows, and a narrower block at each row's end."""
    simulate((1, 7, 14, 4), 12, QuantizedConv2d((3, 3), (1, 1), SAME), chip, tmp_path)


@pytest.mark.parametrize(
    "channels,size,dilation,groups,least",
    [
        (16, 16, 2, 1, 17.0),
        (16, 32, 12, 1, 15.6),
        (64, 16, 1, 4, 18.3),
        (64, 16, 1, 16, 9.4),
        (512, 7, 1, 1, 14.0),
    ],
)
def test_speed_of_taps_apart(
    channels: int, size: int, dilation: int, groups: int, least: float, chip: Features, tmp_path: Path
) -> None:
    g = QuantizedConv2d((3, 3), (1, 1), (dilation,) * 4, (dilation,) * 2, 9)
    shape = (1, size, size, channels)
    assert simulate(shape, min(channels, 64), g, chip, tmp_path, "short", groups) >= least


def test_dilated_columns_of_part_words_are_left_to_others() -> None:
    function, _, _ = workload((1, 8, 8, 3), 4, QuantizedConv2d((3, 3), dilation=(1, 2)))
    assert QuantizedConv2dTemplate().match(function) is None
