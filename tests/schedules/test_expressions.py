"""Rewriting of expressions."""

from __future__ import annotations

from tvm_pulp.schedules.expressions import (
    loads,
    multiply_by_reciprocals,
    rewrite,
    same,
    substitute,
    variables,
)
from tvm_pulp.target.tvm_names import Cast, Let, Var, const, decl_buffer, expr_dtype, load, tirx

X = decl_buffer((8,), "float32", name="x")
I, J = Var("i", "int32"), Var("j", "int64")  # noqa: E741


def test_index_arithmetic_becomes_32_bits() -> None:
    wide = J * const(3, "int64") + const(1, "int64")
    narrow = rewrite(wide, lambda part: I if part is J or part.same_as(J) else None)
    assert expr_dtype(narrow) == "int32" and variables(narrow) == {I}


def test_a_cast_to_64_bits_disappears() -> None:
    assert rewrite(Cast("int64", I), lambda part: None).same_as(I)


def test_division_by_a_constant_becomes_a_product() -> None:
    value = load(X, [I])
    assert str(multiply_by_reciprocals(value / const(4.0, "float32"))) == str(value * const(0.25, "float32"))
    assert same(multiply_by_reciprocals(value / load(X, [0])), value / load(X, [0]))
    assert same(multiply_by_reciprocals(tirx.floordiv(I, 4)), tirx.floordiv(I, 4))


def test_a_let_is_put_in() -> None:
    bound = Var("b", "float32")
    value = load(X, [I])
    assert same(rewrite(Let(bound, value, bound + bound), lambda part: None), value + value)


def test_reads_within_indices_are_found() -> None:
    table = decl_buffer((8,), "int32", name="table")
    access = load(X, [load(table, [I]) + 1])
    assert [str(read.source.name) for read in loads(access)] == ["x", "table"]
    assert same(substitute(access, {I: const(2, "int32")}), load(X, [load(table, [2]) + 1]))


def test_sameness_looks_at_buffers_types_and_order() -> None:
    other = decl_buffer((8,), "float32", name="x")
    assert not same(load(X, [I]), load(other, [I]))
    assert not same(I + 1, 1 + I)
    assert not same(tirx.exp(load(X, [I])), tirx.log(load(X, [I])))
    assert same(tirx.exp(load(X, [I])), tirx.exp(load(X, [I])))
