"""Products and convolutions of bytes that round twice: every bit of the templates, and their speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.schedules.host_harness import HostKernel
from tests.schedules.quantized_convolutions import conv2d_sums
from tests.schedules.quantized_operands import operands
from tvm_pulp.measure import measure_kernel
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d, pack_weight, quantized_conv2d
from tvm_pulp.passes.operators.quantized_matmul import quantized_matmul
from tvm_pulp.passes.operators.requantize import Requantization, Rounding, twice_multiplier
from tvm_pulp.schedules.base import Template
from tvm_pulp.schedules.quantized_conv2d import QuantizedConv2dTemplate
from tvm_pulp.schedules.quantized_matmul import QuantizedMatmulTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc


def twice(
    sums: np.ndarray, zero_point: int, low: int = 0, shift: int = 1, spare_bit: bool = False
) -> tuple[np.ndarray, ...]:
    """Bias, multipliers with shifts, requantisation; results spread over their range."""
    channels = sums.shape[-1]
    random = np.random.default_rng(channels)
    scales = 100 / np.abs(sums).reshape(-1, channels).max(axis=0) * random.uniform(0.3, 1.5, channels)
    pairs = np.array([twice_multiplier(scale) for scale in scales], np.int32).T.copy()
    requantization = Requantization(
        shift, zero_point, low, rounding=Rounding.TWICE, own_shifts=True, spare_bit=spare_bit
    )
    return random.integers(-500, 500, channels).astype(np.int32), pairs, requantization


def matmul(
    m: int, n: int, k: int, zero_point: int, low: int, spare_bit: bool = False
) -> tuple[PrimFunc, list[np.ndarray], np.ndarray]:
    data, weight = operands(m, n, k, seed=m)
    sums = data.astype(np.int32) @ weight.astype(np.int32).T
    bias, pairs, requantization = twice(sums, zero_point, low, spare_bit=spare_bit)
    function = quantized_matmul("layer", "product", m, n, k, requantization)
    arrays = [data, weight, requantization.terms(bias, pairs), np.zeros((m, n), np.uint8)]
    return function, arrays, requantization.reference(sums + bias, pairs)


def convolution(
    shape: tuple[int, int, int, int], outputs: int, g: QuantizedConv2d
) -> tuple[PrimFunc, list[np.ndarray], np.ndarray]:
    random = np.random.default_rng(outputs)
    data = random.integers(0, 256, shape).astype(np.uint8)
    weight = random.integers(-128, 128, (outputs, shape[3], *g.kernel)).astype(np.int8)
    sums = conv2d_sums(data, weight, g)
    bias, pairs, requantization = twice(sums, 128, spare_bit=True)
    function = quantized_conv2d("layer", "forward", g, shape, outputs, requantization)
    arrays = [data, pack_weight(weight), requantization.terms(bias, pairs), np.zeros(sums.shape, np.uint8)]
    return function, arrays, requantization.reference(sums + bias, pairs)


def run(
    template: Template,
    kernel: tuple[PrimFunc, list[np.ndarray], np.ndarray],
    chip: Features,
    directory: Path,
    knobs: dict[str, int],
) -> float:
    """Compare on the host and on the simulator; return MAC/cycle."""
    function, arrays, expected = kernel
    found = template.match(function)
    assert found is not None
    lowered = template.build(found, {**template.default(found, chip), **knobs}, chip)
    on_host = [array.copy() for array in arrays]
    HostKernel(lowered, directory)(on_host)
    np.testing.assert_array_equal(on_host[-1], expected)
    measured = measure_kernel(lowered, arrays, chip, directory)
    np.testing.assert_array_equal(arrays[-1], expected)
    assert len(np.unique(expected)) > 10
    return float(int(function.attrs["pulp.macs"]) / measured.cycles[-1])


@pytest.mark.parametrize(
    ("sizes", "knobs"),
    [((37, 11, 32), {}), ((37, 11, 32), {"tile_m": 9, "tile_n": 4}), ((20, 13, 2080), {}), ((8, 3, 16), {})],
)
@pytest.mark.parametrize(("zero_point", "low"), [(0, 0), (100, 100), (128, 0)])
@pytest.mark.parametrize("spare_bit", [False, True])
def test_products(
    sizes: tuple[int, int, int],
    knobs: dict[str, int],
    zero_point: int,
    low: int,
    spare_bit: bool,
    chip: Features,
    kernels: Path,
) -> None:
    run(QuantizedMatmulTemplate(), matmul(*sizes, zero_point, low, spare_bit), chip, kernels, knobs)


@pytest.mark.parametrize("low", [0, 128])
@pytest.mark.parametrize("spare_bit", [False, True])
def test_large_sums_and_their_halves(low: int, spare_bit: bool, chip: Features, kernels: Path) -> None:
    """Sums of up to 30 bits, by multipliers of all sizes; every other one is a power of two, with halves."""
    m, n, k = 40, 64, 4
    random = np.random.default_rng(low)
    data, weight = operands(m, n, k, seed=low)
    products = data.astype(np.int32) @ weight.astype(np.int32).T
    bits = random.integers(8, 31, n)
    bias = (random.integers(-127, 128, n) * 2.0 ** (bits - 7)).astype(np.int32)
    sums = products + bias
    assert 2**29 < np.abs(sums).max() < 2**30
    pairs = np.stack([random.integers(2**30, 2**31, n), np.maximum(bits - 7, 1)]).astype(np.int32)
    pairs[0, 1::2] = 2**30
    requantization = Requantization(
        1, 128, low, rounding=Rounding.TWICE, own_shifts=True, spare_bit=spare_bit
    )
    function = quantized_matmul("layer", "product", m, n, k, requantization)
    arrays = [data, weight, requantization.terms(bias, pairs), np.zeros((m, n), np.uint8)]
    kernel = function, arrays, requantization.reference(sums, pairs)
    run(QuantizedMatmulTemplate(), kernel, chip, kernels, {})


@pytest.mark.parametrize("outputs", [8, 7])
def test_convolutions(outputs: int, chip: Features, kernels: Path) -> None:
    g = QuantizedConv2d((3, 3), (2, 1), (1, 1, 1, 1), zero_point=9)
    run(QuantizedConv2dTemplate(), convolution((1, 9, 8, 6), outputs, g), chip, kernels, {"tile_y": 2})


def test_speed_of_a_convolution(chip: Features, kernels: Path) -> None:
    g = QuantizedConv2d((3, 3), (1, 1), (1, 1, 1, 1), zero_point=128)
    assert run(QuantizedConv2dTemplate(), convolution((1, 16, 16, 32), 32, g), chip, kernels, {}) > 12.5


def test_shifts_to_the_left_are_left_to_the_generic_lowering() -> None:
    data, weight = operands(4, 4, 16)
    sums = data.astype(np.int32) @ weight.astype(np.int32).T
    _, _, requantization = twice(sums, 0, shift=0)
    function = quantized_matmul("layer", "product", 4, 4, 16, requantization)
    assert QuantizedMatmulTemplate().match(function) is None
