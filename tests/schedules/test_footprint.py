"""Boxes that tiles read, against the values that the index really takes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_pulp.schedules.expressions import substitute
from tvm_pulp.schedules.footprint import TileAxis, clip, dimension, index_range
from tvm_pulp.target.tvm_names import Expr, Var, arith, const, decl_buffer, load, tirx

I, J = Var("i", "int32"), Var("j", "int32")  # noqa: E741


def number(value: int) -> Expr:
    return const(value, "int32")


def evaluate(expression: Expr, i: int, j: int) -> int:
    return int(arith.Analyzer().simplify(substitute(expression, {I: number(i), J: number(j)})).value)


INDICES = [
    I * 2 + J - 1,
    J - I * 3 + 40,
    tirx.floordiv(I + 3, 2) - J,
    tirx.floormod(I + J, 4),
    tirx.max(I - 2, J),
    tirx.min(I * 4, J + 5),
    tirx.floordiv(I * 2 - J, 3),
]


@given(
    which=st.integers(0, len(INDICES) - 1),
    start=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_ranges_hold_every_value(which: int, start: tuple[int, int], size: tuple[int, int]) -> None:
    index = INDICES[which]
    axes = {
        var: TileAxis(number(first), number(count), count)
        for var, first, count in zip((I, J), start, size, strict=True)
    }
    found = index_range(index, axes)
    assert found is not None
    low, high = evaluate(found.low, 0, 0), evaluate(found.high, 0, 0)
    points = itertools.product(range(start[0], start[0] + size[0]), range(start[1], start[1] + size[1]))
    values = [evaluate(index, i, j) for i, j in points]
    assert low <= min(values) and max(values) <= high
    assert high - low + 1 <= found.extent


@pytest.mark.parametrize("first,count,extent", [(-3, 2, 5), (-1, 4, 5), (3, 4, 5), (7, 2, 5), (0, 5, 5)])
def test_clipped_boxes_are_inside_and_never_empty(first: int, count: int, extent: int) -> None:
    axis = {I: TileAxis(number(first), number(count), count)}
    found = index_range(I, axis)
    assert found is not None
    clipped = clip(found, extent, arith.Analyzer())
    low, high = int(clipped.low.value), int(clipped.high.value)
    assert 0 <= low <= high < extent
    inside = [i for i in range(first, first + count) if 0 <= i < extent]
    assert all(low <= i <= high for i in inside)
    assert high - low + 1 <= clipped.extent


def test_accesses_a_constant_apart_share_a_box() -> None:
    found = dimension([I + 1, I + 4, I + 2], 50, [I, J])
    assert found.index is not None and found.spread == 3
    assert found.tile_extent({I: 8, J: 1}) == 11


def test_accesses_that_part_take_the_whole_dimension() -> None:
    assert dimension([I, I * 2], 50, [I, J]).tile_extent({I: 2, J: 2}) == 50


def test_an_index_that_is_read_takes_the_whole_dimension() -> None:
    which = decl_buffer((9,), "int32", name="which")
    assert dimension([load(which, [I])], 33, [I]).tile_extent({I: 1}) == 33
