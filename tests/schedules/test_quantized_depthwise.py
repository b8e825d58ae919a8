"""The template of quantised depthwise convolutions: bit by bit against NumPy, and its speed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel
from tests.schedules.quantized_convolutions import depthwise_sums, image_sizes
from tests.schedules.quantized_operands import FORMS, random_weight, requantization_for, stored
from tvm_pulp.measure import measure_kernel
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d
from tvm_pulp.passes.operators.quantized_depthwise import pack_depthwise_weight, quantized_depthwise
from tvm_pulp.passes.operators.requantize import Requantization, Rounding, round_twice
from tvm_pulp.schedules import lower
from tvm_pulp.schedules.quantized_depthwise import QuantizedDepthwiseTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc

Shape = tuple[int, int, int, int]
Bounds = tuple[int, int, int]
SAME = (1, 1, 1, 1)


def workload(
    shape: Shape,
    g: QuantizedConv2d,
    form: str = "narrow",
    bounds: Bounds = (0, 0, 255),
    seed: int = 0,
    bits: int = 8,
) -> tuple[PrimFunc, list[np.ndarray], np.ndarray]:
    """Kernel, arguments and expected result."""
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, shape).astype(np.uint8)
    weight = random_weight(random, (shape[3], 1, *g.kernel), bits)
    packed = stored(pack_depthwise_weight(weight), bits)
    sums = depthwise_sums(data, weight, g)
    bias, multiplier, requantization = requantization_for(sums, seed, form, *bounds)
    function = quantized_depthwise("layer", "forward", g, shape, requantization, bits)
    arguments = [
        data,
        packed,
        requantization.terms(bias, multiplier),
        np.zeros(sums.shape, np.uint8),
    ]
    return function, arguments, requantization.reference(sums + bias, multiplier)


def simulate(
    shape: Shape,
    g: QuantizedConv2d,
    chip: Features,
    directory: Path,
    form: str = "narrow",
    bounds: Bounds = (0, 0, 255),
    knobs: dict[str, int] | None = None,
) -> float:
    """Run it and return MAC/cycle with all transfers from and to L2."""
    function, arrays, expected = workload(shape, g, form, bounds)
    template = QuantizedDepthwiseTemplate()
    found = template.match(function)
    assert found is not None
    lowered = template.build(found, knobs or template.default(found, chip), chip)
    measured = measure_kernel(lowered, arrays, chip, directory)
    np.testing.assert_array_equal(arrays[-1], expected)
    assert len(np.unique(expected)) > 10
    return float(int(function.attrs["pulp.macs"]) / measured.cycles[-1])


GEOMETRIES = st.builds(
    QuantizedConv2d,
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 9)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 4)] * 4),
    dilation=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    zero_point=st.integers(0, 255),
)


def shapes(g: QuantizedConv2d) -> st.SearchStrategy[Shape]:
    """Images that hold a window."""
    parts = st.tuples(st.integers(1, 2), image_sizes(g, 1, 13), st.integers(1, 17))
    return parts.map(lambda parts: (parts[0], *parts[1], parts[2]))


def with_dilation_of_strides(g: QuantizedConv2d) -> QuantizedConv2d:
    """Round dilations up to multiples of the strides, as the template wants them."""
    dilation = [1 if d == 1 else -(-d // s) * s for d, s in zip(g.dilation, g.strides, strict=True)]
    return replace(g, dilation=tuple(dilation))


def is_served(g: QuantizedConv2d, shape: Shape) -> bool:
    """Tell whether the template should serve a geometry of windows this small.

    Not where no window reaches a column of the image, and not where a stride does not divide a dilation.
    """
    columns = (g.output_size(*shape[1:3])[1] - 1) * g.strides[1] + (g.kernel[1] - 1) * g.dilation[1] + 1
    dilated = [(s, d) for s, d, extent in zip(g.strides, g.dilation, g.kernel, strict=True) if extent > 1]
    return g.padding[1] < columns and all(d == 1 or d % s == 0 for s, d in dilated)


@settings(max_examples=40, deadline=None)
@given(g=GEOMETRIES, form=st.sampled_from(FORMS), data=st.data())
def test_any_geometry_and_knobs(
    g: QuantizedConv2d, form: str, data: st.DataObject, chip: Features, kernels: Path
) -> None:
    shape = data.draw(shapes(g), label="shape")
    function, arrays, expected = workload(shape, g, form, (5, 5, 250), shape[1])
    template = QuantizedDepthwiseTemplate()
    found = template.match(function)
    assert (found is not None) == is_served(g, shape)
    if found is None:
        return
    choices = template.knobs(found, chip)
    knobs = {name: data.draw(st.sampled_from(values), label=name) for name, values in choices.items()}
    lowered = template.build(found, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(found, knobs) <= chip.kernel_l1_bytes
    HostKernel(lowered, kernels)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)


@settings(max_examples=25, deadline=None)
@given(g=GEOMETRIES.map(with_dilation_of_strides), form=st.sampled_from(FORMS), data=st.data())
def test_any_geometry_on_the_cluster(
    g: QuantizedConv2d, form: str, data: st.DataObject, chip: Features
) -> None:
    """With the simulator's checks: no race, no access outside of a buffer, no read of unwritten memory."""
    shape = data.draw(shapes(g).filter(lambda shape: is_served(g, shape)), label="shape")
    function, arrays, expected = workload(shape, g, form, (5, 5, 250), shape[1])
    template = QuantizedDepthwiseTemplate()
    found = template.match(function)
    assert found is not None
    choices = template.knobs(found, chip)
    knobs = {name: data.draw(st.sampled_from(values), label=name) for name, values in choices.items()}
    with tempfile.TemporaryDirectory() as folder:
        measure_kernel(template.build(found, knobs, chip), arrays, chip, Path(folder))
    np.testing.assert_array_equal(arrays[-1], expected)


@pytest.mark.parametrize("g", [QuantizedConv2d((2, 2), padding=(0, 0, 0, 2), dilation=(2, 3)),
                               QuantizedConv2d((2, 2), padding=(0, 0, 1, 0), dilation=(2, 2))])  # fmt: skip
def test_fewer_columns_than_a_dilation(g: QuantizedConv2d, chip: Features, tmp_path: Path) -> None:
    """Some classes of columns have no results."""
    simulate((1, 4, 3, 15), g, chip, tmp_path)


@pytest.mark.parametrize("width", [1, 2])
def test_rows_shorter_than_a_word_are_no_race(width: int, chip: Features, tmp_path: Path) -> None:
    simulate((1, 80, width, 1), QuantizedConv2d((2, 1)), chip, tmp_path, bounds=(128, 0, 255))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "shape,g,bounds",
    [
        ((1, 12, 12, 8), QuantizedConv2d((3, 3), (1, 1), SAME, zero_point=9), (0, 0, 255)),
        ((2, 9, 11, 6), QuantizedConv2d((3, 3), (1, 1), SAME, zero_point=200), (100, 20, 230)),
        ((1, 13, 14, 9), QuantizedConv2d((3, 3), (2, 2), (0, 0, 1, 1), zero_point=7), (7, 0, 255)),
        ((1, 6, 19, 16), QuantizedConv2d((2, 3), (2, 1), (1, 2, 0, 1)), (0, 0, 200)),
        ((1, 5, 3, 4), QuantizedConv2d((1, 2), (1, 2)), (30, 30, 255)),
        ((1, 11, 14, 8), QuantizedConv2d((5, 5), (1, 1), (2, 2, 2, 2), zero_point=9), (0, 0, 255)),
        ((2, 12, 13, 5), QuantizedConv2d((5, 5), (2, 2), (2, 1, 1, 2), zero_point=200), (100, 20, 230)),
        ((1, 9, 25, 4), QuantizedConv2d((7, 7), (1, 1), (3, 3, 3, 3)), (0, 0, 255)),
        ((1, 5, 40, 4), QuantizedConv2d((1, 9), (1, 1), (0, 4, 0, 4), zero_point=3), (0, 0, 255)),
        ((1, 40, 3, 4), QuantizedConv2d((9, 1), (3, 1), (4, 0, 4, 0), zero_point=3), (9, 0, 255)),
        ((1, 9, 12, 4), QuantizedConv2d((2, 8), (1, 3), (4, 0, 4, 0), zero_point=3), (0, 0, 255)),
        ((1, 9, 19, 4), QuantizedConv2d((4, 4), (1, 1)), (0, 0, 255)),
        ((1, 13, 14, 8), QuantizedConv2d((3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 9), (0, 0, 255)),
        ((2, 13, 17, 6), QuantizedConv2d((3, 3), (2, 1), (2, 3, 2, 3), (2, 3), 200), (100, 20, 230)),
        ((1, 17, 15, 4), QuantizedConv2d((5, 5), (1, 2), (4, 8, 4, 8), (2, 4), 3), (0, 0, 255)),
    ],
)
def test_assembly(
    shape: Shape, g: QuantizedConv2d, bounds: Bounds, form: str, chip: Features, tmp_path: Path
) -> None:
    simulate(shape, g, chip, tmp_path, form, bounds)


@pytest.mark.parametrize("low", [0, 128])
def test_halves_are_rounded_away_from_zero(low: int, chip: Features, tmp_path: Path) -> None:
    shape, g = (1, 8, 8, 4), QuantizedConv2d((3, 3), (1, 1), SAME)
    random = np.random.default_rng(1)
    data = random.integers(0, 8, shape).astype(np.uint8)
    weight = random.integers(-8, 9, (4, 1, 3, 3)).astype(np.int8)
    pairs = np.array([[2**30] * 4, [1, 2, 3, 4]], np.int32)
    requantization = Requantization(1, 128, low, rounding=Rounding.TWICE, own_shifts=True)
    sums, bias = depthwise_sums(data, weight, g), np.array([0, 3, -4, 5], np.int32)
    expected = requantization.reference(sums + bias, pairs)
    half_up = replace(requantization, rounding=Rounding.HALF_UP).reference(
        round_twice(sums + bias, 2**30, 0), np.stack([np.ones(4, np.int32), pairs[1]])
    )
    assert (expected != half_up).any() == (low < 128)
    function = quantized_depthwise("layer", "forward", g, shape, requantization)
    arrays = [data, pack_depthwise_weight(weight), requantization.terms(bias, pairs), np.zeros_like(expected)]
    lowered = lower(function, chip)
    assert str(lowered.attrs["pulp.schedule"]) == "quantized_depthwise"
    measure_kernel(lowered, arrays, chip, tmp_path)
    np.testing.assert_array_equal(arrays[-1], expected)


def test_tiles_of_rows_and_channels(chip: Features, tmp_path: Path) -> None:
    g = QuantizedConv2d((3, 3), (1, 1), SAME, zero_point=77)
    simulate((2, 10, 13, 24), g, chip, tmp_path, knobs={"tile_y": 3, "tile_c": 8})


@pytest.mark.parametrize(
    "shape,stride,least", [((1, 48, 48, 8), 1, 6.0), ((1, 16, 16, 64), 1, 5.9), ((1, 48, 48, 16), 2, 3.6)]
)
def test_speed(shape: Shape, stride: int, least: float, chip: Features, tmp_path: Path) -> None:
    g = QuantizedConv2d((3, 3), (stride, stride), SAME)
    assert simulate(shape, g, chip, tmp_path, "halfword") >= least


@pytest.mark.parametrize(
    "shape,size,stride,least",
    [
        ((1, 16, 16, 32), 5, 1, 7.6),
        ((1, 14, 14, 24), 5, 1, 6.8),
        ((1, 16, 16, 32), 5, 2, 5.2),
        ((1, 16, 16, 32), 7, 1, 11.4),
        ((1, 28, 28, 16), 7, 2, 8.6),
    ],
)
def test_speed_of_large_windows(
    shape: Shape, size: int, stride: int, least: float, chip: Features, tmp_path: Path
) -> None:
    g = QuantizedConv2d((size, size), (stride, stride), (size // 2,) * 4)
    assert simulate(shape, g, chip, tmp_path, "halfword") >= least


@pytest.mark.parametrize(
    "shape,dilation,least", [((1, 16, 16, 32), 2, 5.0), ((1, 32, 32, 32), 2, 5.7), ((1, 32, 32, 32), 4, 5.3)]
)
def test_speed_with_dilation(
    shape: Shape, dilation: int, least: float, chip: Features, tmp_path: Path
) -> None:
    g = QuantizedConv2d((3, 3), (1, 1), (dilation,) * 4, (dilation,) * 2)
    assert simulate(shape, g, chip, tmp_path, "halfword") >= least


@pytest.mark.parametrize(
    "form,bounds,least",
    [
        ("rounded twice", (0, 0, 255), 3.3),
        ("rounded twice", (128, 0, 255), 2.9),
        ("twice, spare bit", (0, 0, 255), 3.6),
        ("twice, spare bit", (128, 0, 255), 3.0),
    ],
)
def test_speed_of_rounding_twice(
    form: str, bounds: Bounds, least: float, chip: Features, tmp_path: Path
) -> None:
    g = QuantizedConv2d((3, 3), (1, 1), SAME)
    assert simulate((1, 48, 48, 8), g, chip, tmp_path, form, bounds) >= least


@pytest.mark.parametrize("kernel,dilation", [((3, 40), (1, 1)), ((3, 3), (3, 1)), ((3, 3), (1, 3))])
def test_rare_windows_are_left_to_others(kernel: tuple[int, int], dilation: tuple[int, int]) -> None:
    function, _, _ = workload((1, 9, 49, 4), QuantizedConv2d(kernel, (2, 2), dilation=dilation))
    assert QuantizedDepthwiseTemplate().match(function) is None
