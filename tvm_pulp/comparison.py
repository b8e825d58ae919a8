"""How tensors of a run compare with PyTorch's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_pulp.execution import RunResult

TENSOR_TOLERANCE = 1e-5  # of a tensor's largest value, after one step
LOSS_TOLERANCE = 1e-4  # relative, over all steps
# A gradient that is zero but for rounding (of a batch norm's scale before another one, of a bias before a
# batch norm) differs between any two orders of summation. A tensor beyond the tolerance passes if it is no
# further off PyTorch's float64 than this many times PyTorch's own float32.
ROUNDING_FACTOR = 4


@dataclass(frozen=True)
class TensorCheck:
    """How one tensor compares over all steps.

    Attributes
    ----------
    name : str
        Parameter, state, "output" or "loss".
    error : float
        Largest absolute difference from PyTorch.
    relative : float
        Largest ratio of a step's difference to the largest value of PyTorch's tensor in that step.
    rounding : float
        Largest ratio of PyTorch's own difference between float32 and float64 to the same value.
    tolerance : float
        What `relative` may be.
    parts_at : int or None
        First step (0-based) beyond the tolerance.
    """

    name: str
    error: float
    relative: float
    rounding: float
    tolerance: float
    parts_at: int | None

    @property
    def passed(self) -> bool:
        """Whether every step is within the tolerance, or PyTorch's own rounding exceeds it."""
        return self.parts_at is None

    @property
    def only_rounding(self) -> bool:
        """Whether it passes although `relative` is above the tolerance: PyTorch itself is that uncertain."""
        return self.passed and self.relative > self.tolerance


@dataclass(frozen=True)
class CheckReport:
    """The comparison of a run with PyTorch.

    Attributes
    ----------
    rows : tuple of TensorCheck
        A row a tensor, the loss first.
    run : RunResult
        The steps on the cluster.
    reference_losses : ndarray of float64, [steps]
        In PyTorch.
    """

    rows: tuple[TensorCheck, ...]
    run: RunResult
    reference_losses: np.ndarray

    @property
    def passed(self) -> bool:
        """Whether every tensor agrees."""
        return all(row.passed for row in self.rows)

    def __str__(self) -> str:
        from tvm_pulp.reports.check import check_report

        return check_report(self)


class Rows:
    """Collects the worst of every tensor."""

    def __init__(self) -> None:
        self._rows: dict[str, TensorCheck] = {}

    def add(
        self,
        name: str,
        actual: np.ndarray,
        expected: np.ndarray,
        tolerance: float,
        step: int,
        exact: np.ndarray | None = None,
    ) -> None:
        """Compare a tensor after a step.

        Parameters
        ----------
        name : str
            Of the row.
        actual, expected : ndarray
            Ours, PyTorch's in float32.
        tolerance : float
            Of the largest absolute value of `expected`.
        step : int
            0-based.
        exact : ndarray or None
            PyTorch's in float64, to tell rounding from error.
        """
        scale = float(np.abs(expected.astype(np.float64)).max(initial=0))
        error = _largest_difference(actual, expected)
        relative = _ratio(error, scale)
        rounding, agrees = 0.0, relative <= tolerance
        if exact is not None:
            uncertain = _largest_difference(expected, exact)
            rounding = _ratio(uncertain, scale)
            close = _largest_difference(actual, exact) <= ROUNDING_FACTOR * uncertain
            agrees = agrees or close
        row = self._rows.get(name, TensorCheck(name, 0.0, 0.0, 0.0, tolerance, None))
        self._rows[name] = TensorCheck(
            name,
            max(row.error, error),
            max(row.relative, relative),
            max(row.rounding, rounding),
            tolerance,
            step if row.parts_at is None and not agrees else row.parts_at,
        )

    def rows(self) -> tuple[TensorCheck, ...]:
        """A row a tensor, in the order of their first comparison."""
        return tuple(self._rows.values())


def _largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    difference = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0))
    return difference if np.isfinite(difference) else float("inf")


def _ratio(error: float, scale: float) -> float:
    return error / scale if scale > 0 else (0.0 if error == 0 else float("inf"))
