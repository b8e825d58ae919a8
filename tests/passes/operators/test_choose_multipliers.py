"""The choice of multipliers: as exact as asked for, and in the fastest form that is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_pulp.passes.operators.choose_multipliers import (
    CONVOLUTION,
    DEPTHWISE,
    NARROW_BITS,
    PRODUCT,
    choose_multipliers,
)
from tvm_pulp.passes.operators.requantize import Rounding
from tvm_pulp.target.errors import UserError


@given(
    scales=st.lists(st.floats(1e-7, 0.9), min_size=1, max_size=20),
    spread=st.floats(0.5, 2000),
    zero_point=st.integers(0, 255),
    forms=st.sampled_from([CONVOLUTION, PRODUCT, DEPTHWISE, ()]),
)
def test_multipliers_give_the_scaled_sums(
    scales: list[float], spread: float, zero_point: int, forms: tuple[str, ...]
) -> None:
    scale = np.array(scales)
    largest = np.minimum(spread / scale + 1, 2.0**28)
    multiplier, requantization = choose_multipliers(scale, largest, zero_point=zero_point, forms=forms)
    assert multiplier.dtype == np.int32
    if requantization.narrow:
        assert (np.abs(multiplier * largest) < 2**NARROW_BITS).all() and requantization.shift <= 22
    if requantization.halfword:
        half = 1 << requantization.first_shift >> 1
        assert (np.floor(largest) + half < 2.0 ** (15 + requantization.first_shift)).all()
        assert (multiplier < 2**15).all()
    for part in (-1.0, -0.3, 0.0, 0.4, 1.0):
        sums = np.trunc(largest * part).astype(np.int32)
        exact = np.clip(sums * scale + zero_point, 0, 255)
        found = requantization.reference(sums, multiplier)
        assert np.abs(found - exact).max() <= 0.5 + 1 / 16 + 1e-6


def test_the_narrow_form_is_taken_where_it_is_accurate_enough() -> None:
    _, small = choose_multipliers([0.001], [2.0**17], forms=("narrow", "short"))
    _, large = choose_multipliers([0.00001], [2.0**27], forms=("narrow", "short"))
    assert small.narrow and not large.narrow
    _, wide = choose_multipliers([0.00001], [2.0**27], accuracy=0.0)
    assert large.short and 33 <= wide.shift <= 54 and not wide.short


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 1e12])
def test_impossible_scales_are_told(scale: float) -> None:
    with pytest.raises(UserError, match="requantisation"):
        choose_multipliers([0.1, scale], [100.0, 100.0])


@pytest.mark.parametrize("spread,short", [(8, True), (45, False)])
def test_the_short_form_is_taken_where_the_scales_are_alike(spread: int, short: bool) -> None:
    multipliers, chosen = choose_multipliers([0.003, 0.003 / spread], [2.0**22] * 2)
    assert chosen.short == short and not chosen.narrow
    assert (multipliers.max() < 2**15) == short
    error = np.abs(multipliers / 2.0**chosen.shift - [0.003, 0.003 / spread])
    assert (error * 256 <= [0.003 / 16, 0.003 / spread / 16]).all()


def test_halves_to_even_only_where_there_are_halves() -> None:
    for scale, rounding in [(0.25, Rounding.HALF_EVEN), (1 / 3, Rounding.HALF_UP)]:
        _, found = choose_multipliers([scale], [1000.0], accuracy=0.0, rounding=Rounding.HALF_EVEN)
        assert found.rounding is rounding


def test_the_halfword_form_is_taken_where_16_bits_of_the_sums_are_enough() -> None:
    multipliers, small = choose_multipliers([0.003, 0.001], [2.0**18, 2.0**17], forms=DEPTHWISE)
    assert small.halfword and small.first_shift == 4 and 2**14 <= multipliers.max() < 2**15
    _, large = choose_multipliers([0.02], [2.0**18], forms=DEPTHWISE)
    assert not large.halfword and large.narrow


def test_halves_to_even_are_narrow_where_that_is_exact() -> None:
    even = Rounding.HALF_EVEN
    _, found = choose_multipliers([0.25, 2.0**-9], [2.0**20] * 2, accuracy=0.0, rounding=even)
    assert found.narrow and found.rounding is even
    _, found = choose_multipliers([0.25, 2.0**-14], [2.0**20] * 2, accuracy=0.0, rounding=even)
    assert not found.narrow and found.rounding is even
