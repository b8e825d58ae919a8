"""Requantised sums of bytes in 32 bits: the same result for every sum, by NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tvm_pulp.passes.operators.choose_multipliers import choose_multipliers
from tvm_pulp.passes.operators.requantize import Requantization, Rounding, twice_multiplier
from tvm_pulp.passes.operators.scaled_sum import find_scaled_sum

ROUNDINGS = st.sampled_from([Rounding.HALF_UP, Rounding.HALF_EVEN])


def check(scaled: Requantization, multiplier: np.ndarray, centre: int, count: int) -> bool:
    """Compare the form, if there is one, with the requantisation of every sum of `count` bytes."""
    form = find_scaled_sum(scaled, multiplier, centre, count)
    if form is None:
        return False
    sums = np.arange(255 * count + 1)
    expected = scaled.reference(sums - centre, multiplier.reshape(-1, 1)[:, 0])
    np.testing.assert_array_equal(form.results(sums), expected)
    totals = form.multiplier * sums + form.offset
    assert 0 <= form.multiplier < 2**16
    assert max(abs(totals).max(), (form.multiplier * sums).max(), abs(form.offset)) < 2**31
    return True


@given(st.integers(1, 257), st.floats(0.3, 3.0), st.integers(0, 255), st.integers(0, 255), ROUNDINGS)
def test_averages(count: int, ratio: float, zero_point: int, result: int, rounding: Rounding) -> None:
    multipliers, scaled = choose_multipliers(
        [ratio / count], [255 * count], zero_point=result, rounding=rounding
    )
    found = check(scaled, multipliers.reshape(1, 1), zero_point * count, count)
    assert found or rounding is Rounding.HALF_EVEN or count > 64


@given(st.integers(1, 64), st.integers(0, 255), st.integers(0, 255))
def test_halves_away_from_zero(count: int, zero_point: int, low: int) -> None:
    """TFLite's averages, see `tflite_quantized_operators`."""
    scaled = Requantization(30, zero_point, low, 255, rounding=Rounding.HALF_AWAY)
    assert check(scaled, np.array([[-(-(1 << 30) // count)]]), zero_point * count, count)


@given(st.integers(1, 128), st.floats(0.3, 3.0), st.integers(0, 255))
def test_two_roundings(count: int, ratio: float, zero_point: int) -> None:
    multiplier, shift = twice_multiplier(ratio / count)
    scaled = Requantization(1, 9, rounding=Rounding.TWICE, own_shifts=True)
    check(scaled, np.array([multiplier, shift]).reshape(2, 1, 1), zero_point * count, count)


def test_sums_of_more_than_16_bits_have_no_form() -> None:
    multipliers, scaled = choose_multipliers([1 / 258], [255 * 258])
    assert find_scaled_sum(scaled, multipliers.reshape(1, 1), 0, 258) is None
