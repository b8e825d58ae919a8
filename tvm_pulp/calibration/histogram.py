"""A histogram that grows with its data, so that quantiles and errors of a stream need no second pass."""

from __future__ import annotations

import numpy as np
import torch


class Histogram:
    """Counts of values in equal bins around 0; the bins double in width when a value lies outside.

    Parameters
    ----------
    bins : int
        Even; half of them for each sign.
    """

    def __init__(self, bins: int = 4096) -> None:
        self.counts = np.zeros(bins, np.int64)
        self.limit = 0.0
        """The bins reach from -limit to limit."""
        self.low, self.high = np.inf, -np.inf
        """Least and greatest value, exact."""

    def add(self, values: np.ndarray) -> None:
        """Count float32 values of any shape.

        Raises
        ------
        ValueError
            If they hold NaN or infinity; none is counted.
        """
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("values are not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(abs(low), abs(high))
        if largest == 0:
            self.counts[len(self.counts) // 2] += values.size
            return
        if self.limit == 0:
            self.limit = largest
        while self.limit < largest:
            self._widen()
        counted = torch.histc(torch.from_numpy(values), len(self.counts), -self.limit, self.limit)
        self.counts += counted.numpy().astype(np.int64)

    def _widen(self) -> None:
        """Join the bins in pairs, outwards from 0."""
        bins = len(self.counts)
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros(bins, np.int64)
        self.counts[bins // 4 : bins // 4 + bins // 2] = pairs
        self.limit *= 2

    @property
    def edges(self) -> np.ndarray:
        """Bounds of the bins, one more than there are bins."""
        return np.linspace(-self.limit, self.limit, len(self.counts) + 1)

    @property
    def centres(self) -> np.ndarray:
        """Middle of each bin."""
        edges = self.edges
        return (edges[:-1] + edges[1:]) / 2

    def quantile(self, share: float) -> float:
        """Value that a share of all values does not exceed, between the extremes, to a bin's width."""
        total = np.concatenate([[0], np.cumsum(self.counts)])
        value = float(np.interp(share * total[-1], total, self.edges))
        return min(max(value, self.low), self.high)
