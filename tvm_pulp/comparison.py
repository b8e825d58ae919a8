"""How tensors of a run compare with PyTorch's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_pulp.execution import RunResult

TENSOR_TOLERANCE = 1e-5  # of a tensor's largest value, after one step
LOSS_TOLERANCE = 1e-4  # relative, over all steps


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
    tolerance : float
        What `relative` may be.
    parts_at : int or None
        First step (0-based) beyond the tolerance.
    """

    name: str
    error: float
    relative: float
    tolerance: float
    parts_at: int | None

    @property
    def passed(self) -> bool:
        """Whether every step is within the tolerance."""
        return self.parts_at is None


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

    def add(self, name: str, actual: np.ndarray, expected: np.ndarray, tolerance: float, step: int) -> None:
        """Compare a tensor after a step."""
        difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max(initial=0)
        scale = np.abs(expected.astype(np.float64)).max(initial=0)
        error = float(difference) if np.isfinite(difference) else float("inf")
        relative = error / float(scale) if scale > 0 else (0.0 if error == 0 else float("inf"))
        row = self._rows.get(name, TensorCheck(name, 0.0, 0.0, tolerance, None))
        parts_at = row.parts_at if row.parts_at is not None or relative <= tolerance else step
        self._rows[name] = TensorCheck(
            name, max(row.error, error), max(row.relative, relative), tolerance, parts_at
        )

    def rows(self) -> tuple[TensorCheck, ...]:
        """A row a tensor, in the order of their first comparison."""
        return tuple(self._rows.values())
