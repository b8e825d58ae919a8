"""Requantisation in integers, and the choice of multipliers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_pulp.passes.operators.requantize import (
    Requantization,
    Rounding,
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


@pytest.mark.parametrize(
    "fields",
    [{"shift": 0}, {"shift": 63}, {"shift": 40, "low": 9, "high": 8}, {"shift": 40, "zero_point": 256}],
)
def test_impossible_forms_are_told(fields: dict[str, int]) -> None:
    with pytest.raises(UserError, match="requantisation"):
        Requantization(**fields)


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
