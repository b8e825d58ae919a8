"""Extents of a maximum pooling, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.max_pool_assembly import MOST_COLUMNS, MOST_ROWS

_MOST_EDGES = 2


@dataclass(frozen=True)
class MaxPoolSettings:
    """Extents (height, width) of an image, of its result and of the window; strides, padding before."""

    image: tuple[int, int]
    pooled: tuple[int, int]
    window: tuple[int, int]
    strides: tuple[int, int]
    before: tuple[int, int]

    @property
    def inside(self) -> tuple[int, int]:
        """First column of the result with its whole window in the image, and the one after the last."""
        first = -(-self.before[1] // self.strides[1])
        last = (self.image[1] - self.window[1] + self.before[1]) // self.strides[1] + 1
        first = min(first, self.pooled[1])
        return first, max(first, min(last, self.pooled[1]))

    @property
    def phases(self) -> int:
        """Rows of windows from one to the next that has no element in common with it."""
        return -(-self.window[0] // self.strides[0])

    @property
    def fits_registers(self) -> bool:
        """Whether assembly may be used: it is written out for each window that reaches beyond a side."""
        rows, columns = self.window
        first, last = self.inside
        edges = self.pooled[1] - (last - first)
        return rows <= MOST_ROWS and 1 < columns <= MOST_COLUMNS and first < last and edges <= _MOST_EDGES

    @property
    def is_partition(self) -> bool:
        """Whether every element of the image is in one window."""
        covered = tuple(n * step for n, step in zip(self.pooled, self.strides, strict=True))
        return self.strides == self.window and self.before == (0, 0) and covered == self.image
