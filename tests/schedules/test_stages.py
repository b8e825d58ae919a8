"""Which computations are done together."""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.update import sgd
from tvm_pulp.schedules.stages import read_program
from tvm_pulp.target.tvm_names import PrimFunc, tirx


def names(function: PrimFunc) -> list[list[str]]:
    return [
        [str(store.out.name) for store in stage.stores if store.kept]
        for stage in read_program(function).stages
    ]


def test_an_elementwise_result_is_put_where_it_is_used() -> None:
    x = te.placeholder((4, 8), name="x")
    y = te.compute((4, 8), lambda i, j: x[i, j] * 2.0, name="y")
    k = te.reduce_axis((0, 8), name="k")
    z = te.compute((4,), lambda i: te.sum(y[i, k] + y[i, 7 - k], axis=k), name="z")
    assert names(te.create_prim_func([x, z])) == [["z"]]


def test_what_follows_a_reduction_at_the_same_points_is_done_with_it() -> None:
    x = te.placeholder((4, 8), name="x")
    k = te.reduce_axis((0, 8), name="k")
    total = te.compute((4,), lambda i: te.sum(x[i, k], axis=k), name="total")
    mean = te.compute((4,), lambda i: total[i] * 0.125, name="mean")
    root = te.compute((4,), lambda i: tirx.sqrt(mean[i]), name="root")
    program = read_program(te.create_prim_func([x, mean, root]))
    assert [[str(s.out.name) for s in stage.stores if s.kept] for stage in program.stages] == [
        ["mean", "root"]
    ]
    assert program.intermediates == []


def test_two_reductions_over_the_same_points_share_a_pass() -> None:
    x, g = te.placeholder((4, 8), name="x"), te.placeholder((4, 8), name="g")
    k, q = te.reduce_axis((0, 8), name="k"), te.reduce_axis((0, 8), name="q")
    first = te.compute((4,), lambda i: te.sum(g[i, k], axis=k), name="first")
    second = te.compute((4,), lambda i: te.sum(g[i, q] * x[i, q], axis=q), name="second")
    program = read_program(te.create_prim_func([x, g, first, second]))
    assert len(program.stages) == 1 and len(program.stages[0].reductions) == 2


def test_a_reduction_that_reads_another_one_waits_for_it() -> None:
    x = te.placeholder((4, 8), name="x")
    k, q = te.reduce_axis((0, 8), name="k"), te.reduce_axis((0, 8), name="q")
    top = te.compute((4,), lambda i: te.max(x[i, k], axis=k), name="top")
    total = te.compute((4,), lambda i: te.sum(x[i, q] - top[i], axis=q), name="total")
    program = read_program(te.create_prim_func([x, total]))
    assert len(program.stages) == 2
    assert [str(buffer.name) for buffer in program.intermediates] == ["top"]


def test_updates_in_place_are_one_pass() -> None:
    assert names(sgd("w", "update", (6, 7), 0.9, 1e-4, True)) == [["momentum", "parameter", "gradient"]]


def test_a_root_and_quotient_a_channel_is_computed_once() -> None:
    x, scale, variance = (te.placeholder(shape) for shape in ((2, 5, 4, 4), (5,), (5,)))
    factor = te.compute((5,), lambda c: scale[c] / tirx.sqrt(variance[c]), name="factor")
    output = te.compute((2, 5, 4, 4), lambda n, c, h, w: x[n, c, h, w] * factor[c], name="output")
    program = read_program(te.create_prim_func([x, scale, variance, output]))
    assert [str(buffer.name) for buffer in program.intermediates] == ["factor"]
    assert [stage.name for stage in program.stages] == ["factor", "output"]


def test_a_sum_over_axes_of_extent_one_is_no_sum() -> None:
    x = te.placeholder((4, 1), name="x")
    k = te.reduce_axis((0, 1), name="k")
    (stage,) = read_program(
        te.create_prim_func([x, te.compute((4,), lambda i: te.sum(x[i, k], axis=k), name="y")])
    ).stages
    assert stage.reduction == () and stage.reductions == ()
