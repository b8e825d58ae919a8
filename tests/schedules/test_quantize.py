"""The template that quantises inputs: bit by bit against NumPy, and its speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.schedules.host_harness import HostKernel
from tvm_pulp.measure import measure_kernel
from tvm_pulp.oracle.integer import quantize as reference
from tvm_pulp.passes.operators.quantized_elementwise import dequantize, quantize
from tvm_pulp.passes.quantized.graph import QuantizedTensor
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.quantize import QuantizeTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc

NHWC = (0, 2, 3, 1)


def workload(
    shape: tuple[int, ...], axes: tuple[int, ...], zero_point: int, scale: float = 0.031
) -> tuple[PrimFunc, list[np.ndarray], np.ndarray]:
    """Kernel, arguments and expected result: values on halves and elsewhere, far beyond, NaN and infinite."""
    random = np.random.default_rng(0)
    data = random.normal(0, 90 * scale, shape).astype(np.float32)
    flat = data.reshape(-1)
    flat[::3] = (np.rint(flat[::3] / scale) + 0.5) * scale
    special = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40, -0.0], np.float32)
    flat[: len(special)] = special
    function = quantize("layer", "quantize", shape, axes, scale, zero_point)
    expected = reference(data, QuantizedTensor("x", shape, scale, zero_point)).transpose(axes)
    return function, [data, np.zeros(expected.shape, np.uint8)], expected


@pytest.mark.parametrize("zero_point", [0, 113, 255])
@pytest.mark.parametrize(
    "shape,axes",
    [
        ((2, 3, 7, 9), NHWC),
        ((1, 16, 5, 4), NHWC),
        ((3, 41), (0, 1)),
        ((2, 3, 8, 5), (0, 1, 2, 3)),
        ((2, 4, 9, 11), NHWC),
        ((1, 2, 30, 30), NHWC),
        ((1, 5, 6, 6), NHWC),
        ((1, 1, 33, 65), NHWC),
        ((1, 3, 40, 61), NHWC),
    ],
)
def test_every_bit(
    shape: tuple[int, ...], axes: tuple[int, ...], zero_point: int, chip: Features, tmp_path: Path
) -> None:
    function, arrays, expected = workload(shape, axes, zero_point)
    template = QuantizeTemplate()
    found = template.match(function)
    assert found is not None
    for tile in template.knobs(found, chip)["tile_pixels"]:
        arrays[1][...] = 77
        HostKernel(template.build(found, {"tile_pixels": tile}, chip), tmp_path)(arrays)
        np.testing.assert_array_equal(arrays[1], expected)
    arrays[1][...] = 77
    lowered = template.build(found, template.default(found, chip), chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(found, template.default(found, chip))
    measure_kernel(lowered, arrays, chip, tmp_path / "cluster")
    np.testing.assert_array_equal(arrays[1], expected)


@pytest.mark.parametrize("zero_point", [0, 77])
@pytest.mark.parametrize("shape", [(2, 3, 3, 64), (1, 7, 5, 36), (3, 4, 9, 128)])
def test_every_float(shape: tuple[int, ...], zero_point: int, chip: Features, tmp_path: Path) -> None:
    """Bytes with their channels innermost back to floats, each rounded once."""
    data = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    scale = np.float32(0.031)
    exact = (data.astype(np.float64) - zero_point) * scale
    expected = exact.astype(np.float32).transpose(0, 3, 1, 2)
    result = np.zeros(expected.shape, np.float32)
    function = dequantize("layer", "dequantize", shape, (0, 3, 1, 2), float(scale), zero_point)
    template = QuantizeTemplate()
    found = template.match(function)
    assert found is not None
    for tile in template.knobs(found, chip)["tile_pixels"]:
        result[...] = 77
        HostKernel(template.build(found, {"tile_pixels": tile}, chip), tmp_path)([data, result])
        np.testing.assert_array_equal(result, expected)
    result[...] = 77
    measure_kernel(lower(function, chip), [data, result], chip, tmp_path / "cluster")
    np.testing.assert_array_equal(result, expected)


def test_speed_of_floats(chip: Features, tmp_path: Path) -> None:
    function = dequantize("layer", "dequantize", (8, 6, 6, 128), (0, 3, 1, 2), 0.05, 0)
    arrays = [np.ones((8, 6, 6, 128), np.uint8), np.zeros((8, 128, 6, 6), np.float32)]
    cycles = measure_kernel(lower(function, chip), arrays, chip, tmp_path).cycles[-1]
    assert arrays[0].size / cycles >= 1.6


def test_few_channels_are_left_to_loops(chip: Features) -> None:
    function = dequantize("layer", "dequantize", (1, 5, 5, 8), (0, 3, 1, 2), 0.05, 0)
    assert QuantizeTemplate().match(function) is None


def test_speed(chip: Features, tmp_path: Path) -> None:
    function, arrays, expected = workload((1, 3, 96, 96), NHWC, 128)
    template = QuantizeTemplate()
    found = template.match(function)
    lowered = template.build(found, template.default(found, chip), chip)
    cycles = measure_kernel(lowered, arrays, chip, tmp_path).cycles[-1]
    np.testing.assert_array_equal(arrays[1], expected)
    assert expected.size / cycles >= 1.5


def test_other_orders_of_axes_are_left_to_others() -> None:
    function, _, _ = workload((2, 3, 4, 5), (0, 3, 1, 2), 0)
    assert QuantizeTemplate().match(function) is None
