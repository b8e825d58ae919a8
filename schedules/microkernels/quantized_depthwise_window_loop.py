"""The rows of a strip of a large depthwise window: a loop over the window's rows.

A strip is as wide as registers and the instruction cache allow, as all its windows share the loads of a row's
weights; see `quantized_depthwise`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.microkernels.assembly import add_constant
from tvm_pulp.schedules.microkernels.quantized_depthwise_assembly import (
    CONSTANT,
    IN,
    OUT,
    SCRATCH,
    SUMS,
    StripWriter,
)
from tvm_pulp.schedules.microkernels.quantized_depthwise_shape import DepthwiseShape, peels

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.dot_panel import Epilogue

_WEIGHT = "a2"
_FREE = (*SCRATCH, "a0", "a3", "a4", "a5", "a6", "a7")


class WindowLoopWriter(StripWriter):
    """Writes the function of strips of a width."""

    end = OUT

    def __init__(self, s: DepthwiseShape, e: Epilogue, width: int) -> None:
        super().__init__(s, e, width)
        self.starts_with_bias = True
        self.kept = {"weight": _WEIGHT}
        self.sums = SUMS[:width]
        self.row = s.window_row(width)
        free = iter((*_FREE, *SUMS[width:]))
        self.image = tuple(next(free) for _ in range(self.words))
        self.weights = tuple(next(free) for _ in range(self.row.weights))
        self.shifted = tuple(next(free) for _ in range(self.row.shifted_weights))

    def load_weights(self, pointer: str) -> None:
        """The pointer moves behind a channel's weights with its last row of results: nothing to write."""

    def rows(self) -> None:
        """Write the rows of results of a channel: two hardware loops, the inner one over a window."""
        text, s = self.text, self.s
        window = 4 * self.channel_words
        rows = self.fetch("rows", "t0")
        outer = len(text.lines)
        peeled = not self.e.adds_bias and peels(s, self.width)
        if peeled:
            self.image_row(dot="PV_DOTUSP_B")
        else:
            text.add(*(f"mv {total}, {CONSTANT if self.e.adds_bias else 'zero'}" for total in self.sums))
        text.add(f"li t0, {s.kernel[0] - peeled}")
        inner = len(text.lines)
        self.image_row()
        self.close_loop(0, "t0", inner)
        text.add(*add_constant(_WEIGHT, -window, "t0"))
        text.add(*add_constant(IN, (s.steps[0] - s.kernel[0]) * s.image_pitch, "t0"))
        self.requantize(self.sums)
        self.close_loop(1, rows, outer)
        text.add(*add_constant(_WEIGHT, window, "t0"))

    def image_row(self, dot: str = "PV_SDOTUSP_B") -> None:
        """Write the products of a row of the windows; `dot` is the instruction of each sum's first one."""
        text = self.text
        text.add(*(f"P_LW({weight}, 4, {_WEIGHT})" for weight in self.weights))
        self.load_row(self.image)
        self.products(dot, straddling=False, shifted=False)
        self.shift_weights()
        self.products(dot, straddling=False, shifted=True)
        text.add(*(self.straddle(self.image, number) for number in self.row.straddling_words))
        self.products(dot, straddling=True, shifted=False)
        self.products(dot, straddling=True, shifted=True)

    def products(self, dot: str, *, straddling: bool, shifted: bool) -> None:
        """Write the dot products of one kind of windows."""
        weights = self.shifted if shifted else self.weights
        for column, word in self.row.windows(straddling=straddling, shifted=shifted):
            for i, weight in enumerate(weights):
                name = "PV_SDOTUSP_B" if i else dot
                self.text.add(f"{name}({self.sums[column]}, {self.image[word + i]}, {weight})")

    def shift_weights(self) -> None:
        """Write what makes the weights of the windows that begin at an odd byte."""
        for i, shifted in enumerate(self.shifted):
            if i == 0:
                self.text.add(f"slli {shifted}, {self.weights[0]}, 8")
                continue
            self.text.add(f"srli {shifted}, {self.weights[i - 1]}, 24")
            if i < len(self.weights):
                self.text.add(f"P_INSERT({shifted}, {self.weights[i]}, 24, 8)")
