"""Two sweeps at once: what each step works on, and what lies in L1 meanwhile."""

from __future__ import annotations

import pytest

from tvm_pulp.schedules.dialect import as_int, index, parts_of
from tvm_pulp.schedules.expressions import substitute
from tvm_pulp.schedules.overlapped_loop import OverlappedLoop, SweepStep, copies
from tvm_pulp.target.tvm_names import Evaluate, Expr, For, Stmt, arith


def loop_of(groups: int, size: int) -> tuple[For, SweepStep]:
    """Return a loop without transfers, and what its steps work on."""
    found: list[SweepStep] = []

    def compute(step: SweepStep) -> Stmt:
        found.append(step)
        return Evaluate(index(0))

    def transfers(tile: Expr, slot: Expr) -> list[Stmt]:
        return [Evaluate(tile)]

    whole = OverlappedLoop(groups, size, arith.Analyzer()).run(transfers, transfers, compute)
    loop = next(part for part in parts_of(whole) if isinstance(part, For))
    return loop, found[0]


@pytest.mark.parametrize(("groups", "size"), [(1, 1), (1, 3), (4, 1), (3, 4)])
def test_each_sweep_sees_each_tile_once(groups: int, size: int) -> None:
    loop, step = loop_of(groups, size)
    total, steps = groups * size, int(loop.extent.value)
    tiles = {str(bound.var.name): bound.value for bound in parts_of(loop.body) if hasattr(bound, "var")}
    analyzer = arith.Analyzer()

    def value(expression: Expr, number: int) -> int:
        at = substitute(expression, {loop.loop_var: index(number)})
        return as_int(analyzer.simplify(at))

    first = [value(tiles["first"], n) for n in range(steps) if value(step.has_first, n)]
    second = [value(tiles["second"], n) for n in range(steps) if value(step.has_second, n)]
    assert first == second == list(range(total))
    for number in range(steps):
        assert (value(step.group, number), value(step.own, number)) == divmod(number, size)
        if value(step.has_second, number):
            assert value(tiles["second"], number) == number - size


@pytest.mark.parametrize("size", [1, 2, 5])
def test_copies_are_free_when_a_tile_comes(size: int) -> None:
    """Beside a step the next tile comes, and results of the tile before the second sweep's leave."""
    read_only, in_place = copies(size)
    for step in range(size + 1, 40):
        worked_on = range(step - size, step + 1)
        assert (step + 1) % read_only not in {tile % read_only for tile in worked_on}
        assert (step + 1) % in_place not in {tile % in_place for tile in (step - size - 1, *worked_on)}
