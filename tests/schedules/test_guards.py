"""Conditions under which an update does nothing."""

from __future__ import annotations

from tvm_pulp.schedules.computation import Reduction
from tvm_pulp.schedules.expressions import same
from tvm_pulp.schedules.guards import guards_of, identity_element
from tvm_pulp.target.tvm_names import FloatImm, Var, const, tirx

TOTAL, X, Y = (Var(name, "float32") for name in ("total", "x", "y"))
I = Var("i", "int32")  # noqa: E741
ZERO = const(0.0, "float32")


def padded(value: object, otherwise: object = ZERO) -> object:
    return tirx.if_then_else(I < 5, value, otherwise)


def test_products_with_zero_are_skipped() -> None:
    conditions, update = guards_of(TOTAL + padded(X) * Y)
    assert len(conditions) == 1 and same(conditions[0], I < 5)
    assert str(update) == str(TOTAL + X * Y)


def test_other_values_outside_are_not() -> None:
    for update in (TOTAL + padded(X, const(1.0, "float32")), TOTAL + (padded(X) + Y), TOTAL * padded(X)):
        assert guards_of(update)[0] == []


def test_a_maximum_skips_the_smallest_value_only() -> None:
    lowest = tirx.min_value("float32")
    assert len(guards_of(tirx.max(TOTAL, padded(X, lowest)))[0]) == 1
    assert guards_of(tirx.max(TOTAL, padded(X)))[0] == []
    assert guards_of(tirx.min(TOTAL, padded(X, lowest)))[0] == []


def test_neutral_elements() -> None:
    def neutral(update: object) -> float | None:
        found = identity_element(Reduction(TOTAL, ZERO, update))
        return None if found is None else float(found.value)

    assert neutral(TOTAL + X) == 0.0
    assert neutral(TOTAL * X) == 1.0
    assert neutral(tirx.max(TOTAL, X)) == float(tirx.min_value("float32").value)
    assert neutral(TOTAL + X * TOTAL) is None
    assert neutral(X - TOTAL) is None
    assert isinstance(identity_element(Reduction(TOTAL, ZERO, tirx.min(TOTAL, X))), FloatImm)
