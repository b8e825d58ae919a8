"""Sums that stay in registers: which convolutions have steps that are all alike, and what a step does."""

from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, Conv2dSizes, WindowAxis
from tvm_pulp.schedules.microkernels.depthwise_plan import depthwise_plans
from tvm_pulp.schedules.microkernels.depthwise_running import RunningRows, running_rows
from tvm_pulp.schedules.microkernels.reads import ReadAxis


def rows(source: int, taps: int = 3, stride: int = 1, before: int = 0) -> ReadAxis:
    """Rows of a data gradient; the forward step leaves no row of the data out."""
    out = (source + 2 * before - taps) // stride + 1
    return ReadAxis(WindowAxis(source, out, taps, stride, before, 1), True)


def test_steps_without_padding_are_alike() -> None:
    found = running_rows(rows(10))
    reads = (((-2, 2), (-1, 1), (0, 0)), ((-1, 2), (0, 1), (1, 0)), ((0, 2), (1, 1), (2, 0)))
    assert found == RunningRows(reads, 8, 2)


def test_a_stride_completes_several_rows_a_step() -> None:
    found = running_rows(rows(13, stride=2))
    assert found == RunningRows((((-1, 2), (0, 0)), ((0, 1),), ((0, 2), (1, 0))), 6, 1)


def test_padding_needs_other_steps_at_the_edge() -> None:
    assert running_rows(rows(10, before=1)) is None
    assert running_rows(rows(10, taps=1)) is None


def test_each_line_is_loaded_once_and_products_are_those_of_the_windows() -> None:
    window = WindowAxis(10, 8, 3, 1, 0, 1)
    (plan,) = depthwise_plans(Conv2dSizes(DATA_GRADIENT, 1, 1, 8, window, window, depthwise=True), True)
    assert plan.running is not None
    assert plan.row_unit == 10
    blocks = [(plan.block((0, 8), *strip), strip[2]) for strip in plan.strips()]
    assert sum(8 * alike * block.products for block, alike in blocks) == 8 * 8 * 9
    assert all(len(block.running) == len(block.last) for block, _ in blocks)
