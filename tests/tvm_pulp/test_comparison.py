import numpy as np

from tvm_pulp.comparison import TENSOR_TOLERANCE, CheckReport, Rows
from tvm_pulp.execution import RunResult, StepResult


def report(*pairs):
    rows = Rows()
    for step, (actual, expected) in enumerate(pairs):
        rows.add("w", np.array(actual, np.float32), np.array(expected, np.float32), TENSOR_TOLERANCE, step)
    steps = tuple(StepResult(1.0, np.zeros(1), 0, {}) for _ in pairs)
    return CheckReport(rows.rows(), RunResult(steps, {}), np.ones(len(pairs)))


def test_agreement_passes_and_is_said():
    good = report(([1.0, 2.0], [1.0, 2.000001]), ([0.0], [0.0]))
    assert good.passed
    assert "all 1 tensors agree with PyTorch over 2 steps" in str(good)


def test_first_step_that_parts_is_kept():
    bad = report(([1.0], [1.0]), ([1.0], [1.1]), ([1.0], [1.0]))
    (row,) = bad.rows
    assert not bad.passed
    assert row.parts_at == 1
    assert abs(row.error - 0.1) < 1e-6
    assert "FAIL" in str(bad) and "1 of 1 tensors part from PyTorch over 3 steps" in str(bad)


def test_not_a_number_never_passes():
    assert not report(([np.nan], [1.0])).passed
    assert not report(([np.inf], [1.0])).passed
    assert not report(([1e-9], [0.0])).passed


def test_rounding_passes_only_where_pytorch_itself_is_uncertain():
    def row(actual, expected, exact):
        rows = Rows()
        values = [np.array([1.0, value]) for value in (actual, expected, exact)]
        rows.add("g", values[0], values[1], TENSOR_TOLERANCE, 0, values[2])
        return rows.rows()[0]

    assert row(1 + 5e-5, 1 - 3e-5, 1.0).only_rounding
    assert not row(1 + 5e-4, 1 - 3e-5, 1.0).passed
    assert not row(1 + 5e-5, 1 - 1e-6, 1.0).passed
    assert not row(1 + 5e-6, 1.0, 1.0).only_rounding
    assert row(1 + 5e-6, 1.0, 1.0).passed
