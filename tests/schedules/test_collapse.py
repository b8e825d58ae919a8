"""Which axes become one."""

from __future__ import annotations

from tvm import te

from tvm_pulp.schedules.collapse import collapse
from tvm_pulp.schedules.stages import read_program
from tvm_pulp.target.tvm_names import PrimFunc


def extents(function: PrimFunc) -> tuple[list[int], list[int], dict[str, tuple[int, ...]]]:
    """Extents of the spatial and reduction axes, and the shapes in which tensors are read."""
    stage, views = collapse(read_program(function).stages[0])
    used = {str(v.base.name): v.shape for v in views.views}  # the last view of a tensor is the one in use
    return [a.extent for a in stage.spatial], [a.extent for a in stage.reduction], used


def test_elementwise_is_flat() -> None:
    x = te.placeholder((2, 3, 4, 5), name="x")
    y = te.compute((2, 3, 4, 5), lambda *i: x(*i) * 2.0, name="y")
    assert extents(te.create_prim_func([x, y])) == ([120], [], {"x": (120,)})


def test_a_channel_stays_alone() -> None:
    x, s = te.placeholder((2, 3, 4, 5), name="x"), te.placeholder((3,), name="s")
    y = te.compute((2, 3, 4, 5), lambda n, c, h, w: x[n, c, h, w] * s[c], name="y")
    assert extents(te.create_prim_func([x, s, y])) == ([2, 3, 20], [], {"x": (2, 3, 20), "s": (3,)})


def test_reduction_axes_merge_too() -> None:
    x = te.placeholder((2, 3, 4, 5), name="x")
    n, h, w = (te.reduce_axis((0, e), name=t) for e, t in ((2, "n"), (4, "h"), (5, "w")))
    y = te.compute((3,), lambda c: te.sum(x[n, c, h, w], axis=[n, h, w]), name="y")
    assert extents(te.create_prim_func([x, y])) == ([3], [2, 20], {"x": (2, 3, 20)})


def test_a_transposition_keeps_its_axes() -> None:
    x = te.placeholder((4, 5), name="x")
    y = te.compute((5, 4), lambda i, j: x[j, i], name="y")
    assert extents(te.create_prim_func([x, y])) == ([5, 4], [], {"x": (4, 5)})


def test_axes_of_extent_one_are_dropped() -> None:
    x = te.placeholder((1, 6, 1), name="x")
    y = te.compute((1, 6, 1), lambda i, j, k: x[i, j, k] + 1.0, name="y")
    assert extents(te.create_prim_func([x, y])) == ([6], [], {"x": (6,)})
