"""Choose how the points of a tile are walked: register block and split over the workers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tvm_pulp.schedules.computation import Axis, Stage
from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.expressions import is_heavy, loads, variables
from tvm_pulp.schedules.guards import guards_of, identity_element
from tvm_pulp.target.tvm_names import Var

_MAX_POINTS = 16
_LEAST_EFFICIENCY = 0.85


@dataclass(frozen=True)
class NestPlan:
    """How the points of a tile are walked.

    ``unroll`` gives the block size of an axis (1 where absent), ``group`` the spatial axes whose blocks are
    shared out over the workers, ``split`` the reduction axis that is shared out instead (each worker sums up
    its part), ``efficiency`` the workers' share of time at work.
    """

    unroll: Mapping[Var, int]
    group: tuple[Var, ...]
    split: Var | None
    efficiency: float


def plan_nest(stage: Stage, tiles: Mapping[Var, int], cores: int) -> NestPlan:
    """Choose the register block and the split over the workers for tiles of the given sizes."""
    unroll = _choose_unroll(stage, tiles)
    group, efficiency = _choose_group(stage, tiles, unroll, cores)
    while efficiency < _LEAST_EFFICIENCY and unroll:
        smaller = dict(unroll)
        widest = max(smaller, key=lambda var: smaller[var])
        smaller[widest] //= 2
        if smaller[widest] <= 1:
            del smaller[widest]
        smaller_group, smaller_efficiency = _choose_group(stage, tiles, smaller, cores)
        if smaller_efficiency < 1.5 * efficiency:
            break
        unroll, group, efficiency = smaller, smaller_group, smaller_efficiency
    split = None
    if (
        stage.reduction
        and efficiency < 0.5
        and all(identity_element(r) is not None for r in stage.reductions)
    ):
        longest = max(stage.reduction, key=lambda axis: tiles[axis.var])
        extent = tiles[longest.var]
        split_efficiency = extent / (ceil_div(extent, cores) * cores)
        if extent >= 2 and split_efficiency > efficiency:
            split, efficiency, group = longest.var, split_efficiency, ()
    return NestPlan(unroll, group, split, efficiency)


def _choose_unroll(stage: Stage, tiles: Mapping[Var, int]) -> dict[Var, int]:
    """Block one or two axes: those along which most reads are shared."""
    if not stage.spatial:
        return {}
    if not stage.reductions:
        innermost = stage.spatial[-1].var
        heavy = any(is_heavy(s.value) for s in stage.stores)
        return {} if heavy or tiles[innermost] < 4 else {innermost: 4}
    updates = [r.update for r in stage.reductions]
    reads = [access for update in updates for access in loads(update)]
    guarded = {var for update in updates for guard in guards_of(update)[0] for var in variables(guard)}

    def shared(axis: Axis) -> int:
        return sum(1 for read in reads if not any(axis.var in variables(i) for i in read.indices))

    ranked = sorted(
        (axis for axis in stage.spatial if tiles[axis.var] >= 2),
        key=lambda axis: (axis.var in guarded, -shared(axis), -min(tiles[axis.var], 4)),
    )
    unroll: dict[Var, int] = {}
    limit = _MAX_POINTS // max(1, len(stage.reductions))
    for axis in ranked[:2]:
        if axis.var in guarded and unroll:
            break
        if len(unroll) == 1 and shared(axis) == 0:
            break
        width = 4 if tiles[axis.var] >= 4 else tiles[axis.var]
        if math.prod(unroll.values()) * width <= limit:
            unroll[axis.var] = width
    return unroll


def _choose_group(
    stage: Stage, tiles: Mapping[Var, int], unroll: Mapping[Var, int], cores: int
) -> tuple[tuple[Var, ...], float]:
    blocks = [ceil_div(tiles[axis.var], unroll.get(axis.var, 1)) for axis in stage.spatial]
    best: tuple[tuple[Var, ...], float] = ((), 1.0 / cores)
    if not stage.spatial:
        return best
    for length in range(1, len(blocks) + 1):
        for first in range(len(blocks) - length + 1):
            count = math.prod(blocks[first : first + length])
            efficiency = count / (ceil_div(count, cores) * cores)
            if efficiency > best[1] + 0.02:
                best = (tuple(axis.var for axis in stage.spatial[first : first + length]), efficiency)
        if best[1] >= _LEAST_EFFICIENCY:
            break
    return best
