"""Numbers and identifiers in C read back as what they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_pulp.target.c_names import NameTable, c_identifier, c_type, float_literal
from tvm_pulp.target.tvm_names import Var


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float_literals_are_exact(value: float) -> None:
    text = float_literal(value)
    assert np.float32(text.strip("()f")) == np.float32(value)
    assert text.rstrip(")").endswith("f") and ("." in text or "e" in text)


def test_special_float_literals() -> None:
    assert float_literal(float("-inf")) == "(-__builtin_inff())"
    assert float_literal(float("nan")) == '__builtin_nanf("")'


def test_names_are_c_identifiers_and_differ() -> None:
    assert c_identifier("features.0.weight") == "features_0_weight"
    assert c_identifier("0.weight") == "v_0_weight"
    assert c_identifier("core") == "v_core"
    names = NameTable()
    names.reserve("x_1")
    assert [names[Var("x", "int32")] for _ in range(3)] == ["x", "x_2", "x_3"]


def test_unknown_types_are_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        c_type("float64")
