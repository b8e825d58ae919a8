"""What the code of a quantised depthwise convolution depends on, see ``quantized_depthwise``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE

STRIP = 4
"""Columns of a strip whose sums of several rows of results are in registers."""
_WIDE_STRIPS = (12, 8, 4)
"""Columns that other strips may have."""
_REGISTERS = 21
"""For the sums of a row of results, words of the image and weights."""
_CACHED_INSTRUCTIONS = 128
_CYCLES_A_ROW = 8.0
_REQUANTIZATION = 5.5
"""Instructions a result, with its store, of the form that networks mostly have."""


@dataclass(frozen=True)
class WindowRow:
    """A row of the windows of neighbouring columns of results, in dot products of words.

    Windows begin at any byte of a word. Those in the upper half of a word take words that are put together
    from the halves of two, and those at an odd byte take weights that are shifted by a byte.

    Attributes
    ----------
    taps, stride, width : int
        Columns of the window, its step, and the windows' number.
    """

    taps: int
    stride: int
    width: int

    @property
    def words(self) -> int:
        """Words of the image that the windows reach."""
        return -(-((self.width - 1) * self.stride + self.taps) // 4)

    @property
    def weights(self) -> int:
        """Words of weights as they are in memory."""
        return -(-self.taps // 4)

    @property
    def shifted_weights(self) -> int:
        """Words of weights behind a byte of zero; 0 where no window begins at an odd byte."""
        return -(-(self.taps + 1) // 4) if self.stride % 2 and self.width > 1 else 0

    def windows(self, *, straddling: bool, shifted: bool) -> list[tuple[int, int]]:
        """Return the windows of one of the four kinds: column of the results, and first word."""
        places = ((column, *divmod(column * self.stride, 4)) for column in range(self.width))
        return [(c, word) for c, word, byte in places if (byte >= 2, byte % 2 == 1) == (straddling, shifted)]

    @property
    def straddling_words(self) -> range:
        """Words that are put together: their number is that of the word with their first half."""
        used = [
            word + i
            for shifted, count in ((False, self.weights), (True, self.shifted_weights))
            for _, word in self.windows(straddling=True, shifted=shifted)
            for i in range(count)
        ]
        return range(min(used), max(used) + 1) if used else range(0)

    @property
    def shifts(self) -> int:
        """Instructions that make the shifted weights."""
        return max(0, self.shifted_weights + min(self.shifted_weights, self.weights) - 1)

    @property
    def instructions(self) -> int:
        """Loads, shuffles, shifts and dot products."""
        dots = sum(
            count * len(self.windows(straddling=straddling, shifted=shifted))
            for straddling in (False, True)
            for shifted, count in ((False, self.weights), (True, self.shifted_weights))
        )
        return self.words + self.weights + self.shifts + len(self.straddling_words) + dots


@dataclass(frozen=True)
class DepthwiseShape:
    """What the code depends on.

    Attributes
    ----------
    kernel, strides, dilation : pair of int
        Rows and columns of the window, its steps, and the distances of its taps.
    channels : int
        Of a tile.
    columns : int
        Of the results.
    words : int
        Of a class of columns in a row of the image.
    rests : tuple of int
        What numbers of rows of results leave over after whole `rows_of_sums`, over all tiles and classes.

    Notes
    -----
    With a dilation d, results whose windows begin at equal places modulo d are those of a convolution without
    dilation on every d-th row or column of the image. Such a *class* of columns lies together in words. With
    a stride that divides the dilation, d / stride classes have results, whose windows make steps of one; with
    another stride there would be steps of several in a class that does not begin with a word.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    channels: int
    columns: int
    words: int
    rests: tuple[int, ...] = ()

    @property
    def pixel(self) -> int:
        """Words from a word of a channel to the next one in its row."""
        return -(-self.channels // 4) * 4

    @property
    def weight_words(self) -> int:
        """Words of a row of a channel's weights."""
        return -(-self.kernel[1] // 4)

    @property
    def steps(self) -> tuple[int, int]:
        """Steps of the windows of a class."""
        y, x = (stride if d == 1 else 1 for stride, d in zip(self.strides, self.dilation, strict=True))
        return y, x

    @property
    def classes(self) -> tuple[int, int]:
        """Classes of rows and of columns of results."""
        y, x = (max(1, d // stride) for stride, d in zip(self.strides, self.dilation, strict=True))
        return y, x

    @property
    def columns_of_classes(self) -> list[int]:
        """Columns of the results of each class that has some."""
        return _shares(self.columns, self.classes[1])

    def rows_of_classes(self, rows: int) -> list[int]:
        """Return the rows of each class that has some of so many rows of results."""
        return _shares(rows, self.classes[0])

    @property
    def words_of_row(self) -> int:
        """Words of a row of the image, of all classes."""
        return self.words * self.classes[1]

    @property
    def image_pitch(self) -> int:
        """Bytes from a row of a window to the next one."""
        return 4 * self.pixel * self.words_of_row * self.dilation[0]

    @property
    def result_pitch(self) -> int:
        """Bytes from a row of results to the next one of its class."""
        return self.columns * self.channels * self.classes[0]

    @property
    def column_distance(self) -> int:
        """Bytes from a result to the next one of its class."""
        return self.channels * self.classes[1]

    @property
    def keeps_sums(self) -> bool:
        """Whether the sums of all rows of results that a row of the image takes part in are in registers.

        So are the weights; else a row of results is computed after the other, by a loop over the window.
        """
        rows, columns = self.kernel
        return self.steps[0] <= rows <= 3 and columns <= 3 and max(self.steps) <= 2

    @property
    def rows_of_sums(self) -> int:
        """Rows of results whose sums are in registers."""
        return -(-self.kernel[0] // self.steps[0]) if self.keeps_sums else 1

    @property
    def read_rows(self) -> int:
        """Rows of the image that a strip is behind its start when it is done, less a stride a row of results.

        Those of the windows that begin later have been read, too, where sums are kept.
        """
        return self.kernel[0] - self.steps[0] if self.keeps_sums else 0

    @property
    def strip(self) -> int:
        """Columns of a strip."""
        return _best_strip(self)

    def strips(self, columns: int) -> list[int]:
        """Return the columns of each strip of so many columns of results."""
        whole, rest = divmod(columns, self.strip)
        return [self.strip] * whole + [rest] * (rest > 0)

    @property
    def widths(self) -> list[int]:
        """Columns of the strips that occur, the widest first."""
        found = {width for columns in self.columns_of_classes for width in self.strips(columns)}
        return sorted(found, reverse=True)

    def window_row(self, width: int) -> WindowRow:
        """Return a row of the windows of a strip."""
        return WindowRow(self.kernel[1], self.steps[1], width)

    def reaches(self, width: int) -> bool:
        """Tell whether immediate operands reach across a strip."""
        width = min(width, self.columns_of_classes[0])
        image = (self.window_row(width).words - 1) * 4 * self.pixel
        return max(image, (width - 1) * self.column_distance) <= LARGEST_IMMEDIATE

    def is_supported(self) -> bool:
        """Tell whether registers and immediate operands suffice."""
        divides = all(d % stride == 0 for d, stride in zip(self.dilation, self.strides, strict=True) if d > 1)
        return divides and self.strip > 0


def _shares(extent: int, classes: int) -> list[int]:
    return [-(-(extent - first) // classes) for first in range(min(extent, classes))]


def peels(s: DepthwiseShape, width: int) -> bool:
    """Tell whether the first row of a window can stand before the loop over its rows, in the core's cache.

    Its products need no sums to be added to, so that those need not be cleared.
    """
    code = 2 * s.window_row(width).instructions + width * _REQUANTIZATION + _CYCLES_A_ROW
    return s.kernel[0] > 1 and code <= _CACHED_INSTRUCTIONS


def row_cycles(s: DepthwiseShape, width: int, requantization: float, *, adds_bias: bool) -> float:
    """Return the cycles of a row of results of a strip that does not keep sums.

    Parameters
    ----------
    s, width
        The convolution, and the columns of the strip.
    requantization
        Cycles a result, with its store.
    adds_bias
        Whether sums begin with their bias.
    """
    row, peeled = s.window_row(width).instructions, not adds_bias and peels(s, width)
    behind = width * (requantization + (not peeled)) + _CYCLES_A_ROW
    # what leaves the core's instruction cache takes a quarter as long again
    beyond = 1.25 if row * (1 + peeled) + behind > _CACHED_INSTRUCTIONS else 1.0
    return (s.kernel[0] * row + behind) * beyond


@lru_cache(maxsize=4096)
def _best_strip(s: DepthwiseShape) -> int:
    """Return the columns of the strips that take the fewest cycles; 0 where none serve."""
    if s.keeps_sums:
        return STRIP if s.reaches(STRIP) else 0

    columns = s.columns_of_classes

    def fits(width: int) -> bool:
        row = s.window_row(min(width, columns[0]))
        needed = row.width + row.words + row.weights + row.shifted_weights
        return needed <= _REGISTERS and s.reaches(width)

    def cycles(width: int) -> float:
        parts = [divmod(number, width) for number in columns]
        found = sum(
            whole * row_cycles(s, width, _REQUANTIZATION, adds_bias=False) for whole, _ in parts if whole
        )
        return found + sum(row_cycles(s, rest, _REQUANTIZATION, adds_bias=False) for _, rest in parts if rest)

    return min((width for width in _WIDE_STRIPS if fits(width)), key=cycles, default=0)
