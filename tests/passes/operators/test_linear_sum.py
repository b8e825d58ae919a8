"""Sums of bytes in fewer bits: the same result for every pair of bytes, by NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_pulp.passes.operators.choose_multipliers import choose_sum_multipliers
from tvm_pulp.passes.operators.linear_sum import BYTES, LinearSum, find_linear_sum
from tvm_pulp.passes.operators.quantized_add import quantized_add, rounded_sums
from tvm_pulp.passes.operators.requantize import Rounding, twice_multiplier
from tvm_pulp.passes.operators.rescaled_add import rescaled_add, rescaled_sums
from tvm_pulp.target.errors import UserError

ALL = (0, 255)
SCALES = st.tuples(*(st.floats(0.1, 1.0) for _ in range(3)))
ZERO_POINTS = st.tuples(*(st.integers(0, 255) for _ in range(3)))


def centred(zero_points: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    return BYTES[:, None] - zero_points[0], BYTES - zero_points[1]


@pytest.mark.parametrize(
    ("numbers", "bits"),
    [((255, 1, 0, 8), 8), ((127, -128, 0, 8), 8), ((128, -1, 0, 8), 16), ((256, 3, 0, 8), 16),
     ((65535, 65535, 9, 17), 16), ((65536, 1, 9, 17), 32), ((32768, -1, 9, 17), 32)],
)  # fmt: skip
def test_bits(numbers: tuple[int, int, int, int], bits: int) -> None:
    assert LinearSum(*numbers, *ALL).bits == bits


@given(st.tuples(st.integers(1, 255), st.integers(0, 255)), st.integers(7, 9), st.integers(-60000, 60000))
def test_a_form_of_bytes_is_found_again(multipliers: tuple[int, int], shift: int, offset: int) -> None:
    form = LinearSum(*multipliers, offset, shift, *ALL)
    found = find_linear_sum(form.table(), (multipliers[0] / 2**shift, multipliers[1] / 2**shift), ALL)
    assert found is not None
    assert found.bits == 8
    np.testing.assert_array_equal(found.table(), form.table())


@given(SCALES, ZERO_POINTS, st.booleans(), st.booleans())
def test_the_rounding_of_tflite(
    scales: tuple[float, float, float], zero_points: tuple[int, int, int], subtracts: bool, rectifies: bool
) -> None:
    left, right, result = scales
    largest = 2 * max(left, right)
    ratios = left / largest, right / largest, largest / (2**20 * result)
    first, second, last = (twice_multiplier(ratio) for ratio in ratios)
    bounds = (zero_points[2], 255) if rectifies else ALL
    table = rescaled_sums(*centred(zero_points), (first, second, last), zero_points[2], bounds, subtracts)
    found = find_linear_sum(table, (left / result, (-right if subtracts else right) / result), bounds)
    function = rescaled_add(
        "layer", "infer", ((4,), (4,)), zero_points, (first, second, last), bounds, subtracts
    )
    assert (found is None) == ("pulp.linear_sum" not in function.attrs)
    if found is not None:
        np.testing.assert_array_equal(found.table(), table)
        assert np.abs(found.totals()).max() < 2**31
        assert (found.low, found.high) == bounds


def test_most_sums_of_tflite_have_a_form() -> None:
    random, found = np.random.default_rng(0), 0
    for _ in range(40):
        left, right, result = np.exp(random.uniform(-1, 1, 3))
        largest = 2 * max(left, right)
        ratios = left / largest, right / largest, largest / (2**20 * result)
        first, second, last = (twice_multiplier(ratio) for ratio in ratios)
        zero_points = (int(random.integers(256)), int(random.integers(256)), int(random.integers(256)))
        function = rescaled_add(
            "layer", "infer", ((4,), (4,)), zero_points, (first, second, last), ALL, False
        )
        found += "pulp.linear_sum" in function.attrs
    assert found >= 36


def test_halves_away_from_zero() -> None:
    """Multipliers a little above a half take halves below 0 down, and those above up."""
    pairs = tuple(twice_multiplier(ratio) for ratio in (0.5, 0.5, 2.0**-20))
    table = rescaled_sums(*centred((128, 128, 128)), pairs, 128, ALL, False)
    assert [table[128, 127], table[128, 129]] == [127, 129]
    found = find_linear_sum(table, (0.5, 0.5), ALL)
    assert found is not None
    np.testing.assert_array_equal(found.table(), table)


def test_what_is_no_sum_has_no_form() -> None:
    table = (BYTES[:, None] ^ BYTES).astype(np.uint8)
    assert find_linear_sum(table, (1.0, 1.0), ALL) is None


@given(SCALES, ZERO_POINTS, st.sampled_from([Rounding.HALF_UP, Rounding.HALF_EVEN]))
def test_sums_rounded_once(
    scales: tuple[float, float, float], zero_points: tuple[int, int, int], rounding: Rounding
) -> None:
    multipliers, shift = choose_sum_multipliers("layer", (scales[0] / scales[2], scales[1] / scales[2]))
    function = quantized_add("layer", "infer", ((4,), (4,)), zero_points, multipliers, shift, ALL, rounding)
    table = rounded_sums(*centred(zero_points), multipliers, shift, zero_points[2], ALL, rounding)
    if rounding is Rounding.HALF_UP or "pulp.linear_sum" in function.attrs:
        numbers = {str(name): int(value) for name, value in function.attrs["pulp.linear_sum"].items()}
        np.testing.assert_array_equal(LinearSum(**numbers).table(), table)


def test_nothing_to_add_has_no_form() -> None:
    assert find_linear_sum(np.zeros((256, 256), np.uint8), (0.0, 0.0), ALL) is None


@given(st.tuples(st.floats(1e-3, 200), st.floats(1e-3, 200)), st.booleans())
def test_multipliers_of_sums(ratios: tuple[float, float], subtracts: bool) -> None:
    (left, right), shift = choose_sum_multipliers("layer", ratios, subtracts=subtracts)
    assert max(abs(left), abs(right)) < 2**21
    assert (right < 0) == (subtracts and right != 0)
    error = 255 * (abs(left / 2**shift - ratios[0]) + abs(abs(right) / 2**shift - ratios[1]))
    assert error <= 1 / 16
    if max(ratios) < 4:
        assert max(abs(left), abs(right)) < 2**16


def test_scales_too_far_apart() -> None:
    with pytest.raises(UserError, match="layer skip: the scales of its operands are too far"):
        choose_sum_multipliers("skip", (2.0**22, 1.0))
