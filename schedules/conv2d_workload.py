"""Sizes of a two-dimensional convolution and of the windows that its three steps walk through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from tvm_pulp.schedules.epilogue import Epilogue, EpilogueSizes
from tvm_pulp.target.tvm_names import PrimFunc

FORWARD, DATA_GRADIENT, WEIGHT_GRADIENT = "conv2d", "conv2d_data_gradient", "conv2d_weight_gradient"


@dataclass(frozen=True)
class WindowAxis:
    """Height or width: ``source`` values of data, ``out`` of the output, ``taps`` of the weights."""

    source: int
    out: int
    taps: int
    stride: int
    before: int
    dilation: int

    @property
    def reach(self) -> int:
        """Distance from a window's first tap to its last one."""
        return (self.taps - 1) * self.dilation

    def padded(self, outputs: int) -> int:
        """Return the extent of the data, padding included, that ``outputs`` neighbouring windows cover."""
        return (outputs - 1) * self.stride + self.reach + 1

    @cached_property
    def pairs_inside(self) -> int:
        """Number of pairs of a window and a tap that lie inside the data, not in the padding."""
        places = [w * self.stride - self.before + k * self.dilation
                  for w in range(self.out) for k in range(self.taps)]  # fmt: skip
        return sum(0 <= place < self.source for place in places)

    @property
    def inside(self) -> float:
        """Share of all pairs of a window and a tap that lie inside the data."""
        return self.pairs_inside / (self.out * self.taps)

    # The data gradient gathers from the output's gradient: position i of the data takes part in the windows
    # (i + before - tap * dilation) / stride. Positions are taken in classes of equal remainder modulo the
    # stride: in a class the taps that count are the same, and neighbours read neighbouring windows.

    @property
    def first_window(self) -> int:
        """Window that position 0 reads with its last tap, were it to count; may be negative."""
        return (self.before - self.reach) // self.stride

    def windows(self, positions: int) -> int:
        """Return the number of windows from ``first_window`` on that ``positions`` positions read."""
        return (positions - 1 + self.before) // self.stride - self.first_window + 1

    def tap_step(self) -> int:
        """Return the distance of the taps that count for one position."""
        return self.stride // math.gcd(self.stride, self.dilation)

    def class_taps(self, remainder: int) -> range:
        """Return the taps that count for the positions of a remainder modulo the stride."""
        counting = [
            k for k in range(self.taps) if (remainder + self.before - k * self.dilation) % self.stride == 0
        ]
        return range(counting[0], self.taps, self.tap_step()) if counting else range(0)

    def class_start(self, remainder: int) -> int:
        """Return the window, from ``first_window`` on, that a class reads with its first tap."""
        first = self.class_taps(remainder)[0]
        return (remainder + self.before - first * self.dilation) // self.stride - self.first_window


@dataclass(frozen=True)
class Conv2dSizes:
    """A convolution, or a depthwise one: ``outputs`` channels with one input channel each.

    ``inputs`` and ``outputs`` are the channels of one of the ``groups``; a depthwise one counts as one group.
    ``sections`` counts the partial sums of the weight gradient, else it is 1.
    """

    kind: str
    batch: int
    inputs: int
    outputs: int
    height: WindowAxis
    width: WindowAxis
    sections: int = 1
    depthwise: bool = False
    groups: int = 1
    epilogue: EpilogueSizes | None = None

    @property
    def image_axis(self) -> str:
        """Channels of the tensor that gets the padding: ``"o"`` of the output or ``"c"`` of the input."""
        return "o" if self.depthwise or self.kind == DATA_GRADIENT else "c"

    @property
    def result_axis(self) -> str:
        """Channels of the result of the forward step and of the data gradient."""
        return "c" if self.kind == DATA_GRADIENT and not self.depthwise else "o"

    @property
    def taps(self) -> int:
        """Number of taps."""
        return self.height.taps * self.width.taps

    @property
    def section_images(self) -> int:
        """Images of a section of the weight gradient."""
        return max(1, self.batch // self.sections)

    @property
    def section_rows(self) -> int:
        """Output rows of a section of the weight gradient."""
        return self.height.out // max(1, self.sections // self.batch)


@dataclass(frozen=True)
class Conv2dWorkload:
    """A kernel of one of the conv2d classes, and what follows in it."""

    function: PrimFunc
    sizes: Conv2dSizes
    epilogue: Epilogue | None = None

    @property
    def name(self) -> str:
        """Name of the kernel."""
        return str(self.function.attrs.get("global_symbol", "conv2d"))
