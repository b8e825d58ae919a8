"""From the values that a tensor took to the range that its integers cover."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tvm_pulp.calibration.histogram import Histogram
from tvm_pulp.target.errors import UserError

Range = tuple[float, float]
Calibrator = Callable[[Histogram], Range]
LEVELS = 255
CANDIDATES = 64
CALIBRATORS = ("min-max", "percentile", "mse")
DEFAULT_PERCENTILE = 99.99


def calibrator(name: str) -> Calibrator:
    """Look up a calibrator.

    Parameters
    ----------
    name : str
        "min-max", "percentile" (99.99), "percentile:P" with P above 50 and at most 100, or "mse".

    Raises
    ------
    UserError
        For another name.
    """
    kind, _, parameter = name.partition(":")
    if kind == "percentile":
        try:
            percentile = float(parameter) if parameter else DEFAULT_PERCENTILE
        except ValueError:
            percentile = 0.0
        if not 50 < percentile <= 100:
            raise UserError(f"calibrator {name!r}: the percentile must be above 50 and at most 100")
        return lambda histogram: percentile_range(histogram, percentile)
    if not parameter and kind in ("min-max", "mse"):
        return min_max if kind == "min-max" else mse_range
    raise UserError(f"unknown calibrator {name!r}: choose {', '.join(CALIBRATORS)} or percentile:99.9")


def min_max(histogram: Histogram) -> Range:
    """Cover all values."""
    return histogram.low, histogram.high


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """Cover all values but a share of ``1 - percentile / 100`` at each end that has values of that sign."""
    tail = 1 - percentile / 100
    low = histogram.quantile(tail) if histogram.low < 0 else histogram.low
    return min(low, 0.0), max(histogram.quantile(1 - tail), 0.0)


def mse_range(histogram: Histogram) -> Range:
    """Cover the share of the extremes for which rounding and clipping to 8 bits err least in the mean square.

    Values are taken to lie in the middle of their bins; rounding errs by step^2 / 12 in the mean where a bin
    is narrower than a step.
    """
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if histogram.limit == 0:
        return low, high
    centres, counts = histogram.centres, histogram.counts
    best, best_error = (low, high), np.inf
    for share in np.linspace(1.0, 1 / CANDIDATES, CANDIDATES):
        bounds = low * share, high * share
        outside = centres - np.clip(centres, *bounds)
        step = (bounds[1] - bounds[0]) / LEVELS
        inside = outside == 0
        error = float((counts * outside**2).sum() + counts[inside].sum() * step**2 / 12)
        if error < best_error:
            best, best_error = bounds, error
    return best
