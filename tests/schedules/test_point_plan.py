"""Register blocks and the split over the workers."""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.conv2d import Conv2d, conv2d
from tvm_pulp.schedules.collapse import collapse
from tvm_pulp.schedules.computation import Stage
from tvm_pulp.schedules.point_plan import NestPlan, plan_nest
from tvm_pulp.schedules.stages import read_program
from tvm_pulp.target.tvm_names import PrimFunc


def plan(function: PrimFunc) -> tuple[Stage, NestPlan, dict[str, int]]:
    """Plan for one tile that holds everything; returns the block sizes by name too."""
    stage, _ = collapse(read_program(function).stages[0])
    tiles = {axis.var: axis.extent for axis in stage.spatial + stage.reduction}
    found = plan_nest(stage, tiles, 8)
    return stage, found, {str(var.name): width for var, width in found.unroll.items()}


def test_a_convolution_blocks_axes_that_share_reads() -> None:
    _, found, unroll = plan(conv2d("c", "w", Conv2d((1, 1), (1, 1, 1, 1)), (4, 8, 12, 12), (16, 8, 3, 3)))
    assert unroll == {"o": 4, "n": 4}  # columns would need the condition of the padding for each
    assert found.split is None and found.efficiency >= 0.85


def test_few_results_share_out_the_sum() -> None:
    x = te.placeholder((1000,), name="x")
    k = te.reduce_axis((0, 1000), name="k")
    stage, found, _ = plan(
        te.create_prim_func([x, te.compute((1,), lambda i: te.sum(x[k], axis=k), name="y")])
    )
    assert found.split is not None and found.split.same_as(stage.reduction[0].var)


def test_heavy_functions_are_not_unrolled() -> None:
    x = te.placeholder((64,), name="x")
    assert plan(te.create_prim_func([x, te.compute((64,), lambda i: te.exp(x[i]), name="y")]))[2] == {}
    assert plan(te.create_prim_func([x, te.compute((64,), lambda i: x[i] + 1.0, name="y")]))[2] == {"i": 4}


def test_blocks_give_way_to_workers() -> None:
    """8 results: one for each worker, rather than two blocks of four."""
    x = te.placeholder((8, 50), name="x")
    k = te.reduce_axis((0, 50), name="k")
    y = te.placeholder((50,), name="y")
    function = te.create_prim_func(
        [x, y, te.compute((8,), lambda i: te.sum(x[i, k] * y[k], axis=k), name="z")]
    )
    _, found, unroll = plan(function)
    assert found.efficiency == 1.0 and unroll == {} and found.split is None
