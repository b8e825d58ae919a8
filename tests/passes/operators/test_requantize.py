"""Requantisation in integers, and the choice of multipliers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_pulp.passes.operators.requantize import (
    NARROW_BITS,
    Requantization,
    Rounding,
    choose_multipliers,
    round_twice,
    twice_multiplier,
)
from tvm_pulp.target.errors import UserError


@given(
    total=st.integers(-(2**31), 2**31 - 1),
    multiplier=st.integers(-(2**31), 2**31 - 1),
    shift=st.integers(25, 62),
    zero_point=st.integers(0, 255),
)
def test_reference_is_the_rounded_quotient(total: int, multiplier: int, shift: int, zero_point: int) -> None:
    found = Requantization(shift, zero_point).reference(np.array([total], np.int32), multiplier)
    exact = (total * multiplier * 2 + (1 << shift)) // (1 << (shift + 1)) + zero_point
    if abs(exact) < 2**31:
        assert found[0] == min(255, max(0, exact))


@given(
    scales=st.lists(st.floats(1e-7, 0.9), min_size=1, max_size=20),
    spread=st.floats(0.5, 2000),
    zero_point=st.integers(0, 255),
)
def test_multipliers_give_the_scaled_sums(scales: list[float], spread: float, zero_point: int) -> None:
    scale = np.array(scales)
    largest = np.minimum(spread / scale + 1, 2.0**28)
    multiplier, requantization = choose_multipliers(scale, largest, zero_point=zero_point)
    assert multiplier.dtype == np.int32
    if requantization.narrow:
        assert (np.abs(multiplier * largest) < 2**NARROW_BITS).all() and requantization.shift <= 22
    for part in (-1.0, -0.3, 0.0, 0.4, 1.0):
        sums = np.trunc(largest * part).astype(np.int32)
        exact = np.clip(sums * scale + zero_point, 0, 255)
        found = requantization.reference(sums, multiplier)
        assert np.abs(found - exact).max() <= 0.5 + 1 / 16 + 1e-6


def test_the_narrow_form_is_taken_where_it_is_accurate_enough() -> None:
    _, small = choose_multipliers([0.001], [2.0**17], prefer="narrow")
    _, large = choose_multipliers([0.00001], [2.0**27], prefer="narrow")
    assert small.narrow and not large.narrow
    _, wide = choose_multipliers([0.00001], [2.0**27], accuracy=0.0)
    assert large.short and 33 <= wide.shift <= 54 and not wide.short


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 1e12])
def test_impossible_scales_are_told(scale: float) -> None:
    with pytest.raises(UserError, match="requantisation"):
        choose_multipliers([0.1, scale], [100.0, 100.0])


@pytest.mark.parametrize(
    "fields",
    [{"shift": 0}, {"shift": 63}, {"shift": 40, "low": 9, "high": 8}, {"shift": 40, "zero_point": 256}],
)
def test_impossible_forms_are_told(fields: dict[str, int]) -> None:
    with pytest.raises(UserError, match="requantisation"):
        Requantization(**fields)


@pytest.mark.parametrize("spread,short", [(8, True), (45, False)])
def test_the_short_form_is_taken_where_the_scales_are_alike(spread: int, short: bool) -> None:
    multipliers, chosen = choose_multipliers([0.003, 0.003 / spread], [2.0**22] * 2)
    assert chosen.short == short and not chosen.narrow
    assert (multipliers.max() < 2**15) == short
    error = np.abs(multipliers / 2.0**chosen.shift - [0.003, 0.003 / spread])
    assert (error * 256 <= [0.003 / 16, 0.003 / spread / 16]).all()


def exactly(total: int, multiplier: int, shift: int) -> Fraction:
    return Fraction(total * multiplier, 2**shift)


def away_from_zero(value: Fraction) -> int:
    whole = math.floor(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


def clamped(value: int) -> int:
    return min(255, max(0, value + 128))


@given(total=st.integers(-(2**16), 2**16), multiplier=st.integers(1, 64), shift=st.integers(1, 12))
def test_halves_go_to_even_or_away_from_zero(total: int, multiplier: int, shift: int) -> None:
    sums, exact = np.array([total]), exactly(total, multiplier, shift)
    even = Requantization(shift, 128, rounding=Rounding.HALF_EVEN)
    assert even.reference(sums, np.array([multiplier]))[0] == clamped(round(exact))
    away = Requantization(shift, 128, rounding=Rounding.HALF_AWAY)
    assert away.reference(sums, np.array([multiplier]))[0] == clamped(away_from_zero(exact))


@given(total=st.integers(-(2**24), 2**24), scale=st.floats(1e-6, 4))
def test_twice_rounds_to_31_bits_and_then_to_an_integer(total: int, scale: float) -> None:
    multiplier, shift = twice_multiplier(scale)
    assert 2**30 <= multiplier < 2**31
    assert math.isclose(math.ldexp(multiplier, -31 - shift), scale, rel_tol=2**-31)
    first = math.floor(exactly(total * 2 ** max(-shift, 0), multiplier, 31) + Fraction(1, 2))
    expected = away_from_zero(Fraction(first, 2 ** max(shift, 0)))
    found = round_twice(np.array([total]), multiplier, shift)[0]
    assert found == expected
    both = np.array([[multiplier], [shift]])
    clip = Requantization(1, 128, rounding=Rounding.TWICE, own_shifts=True)
    assert clip.reference(np.array([total]), both)[0] == clamped(int(expected))


@pytest.mark.parametrize(
    ("scale", "expected"),
    [(0.0, (0, 0)), (1.0, (2**30, -1)), (0.5, (2**30, 0)), (1 - 2.0**-40, (2**30, -1)), (2.0**-40, (0, 0))],
)
def test_multipliers_of_twice_at_the_ends(scale: float, expected: tuple[int, int]) -> None:
    assert twice_multiplier(scale) == expected


def test_halves_to_even_only_where_there_are_halves() -> None:
    for scale, rounding in [(0.25, Rounding.HALF_EVEN), (1 / 3, Rounding.HALF_UP)]:
        _, found = choose_multipliers([scale], [1000.0], accuracy=0.0, rounding=Rounding.HALF_EVEN)
        assert found.rounding is rounding
