"""The rows of a strip of a small depthwise window, whose weights and sums stay in registers.

A row of the image is loaded once, and goes into the sums of all rows of results that it takes part in; see
`quantized_depthwise`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.microkernels.quantized_depthwise_assembly import (
    FROM_CHANNEL_TO_CHANNEL,
    OUT,
    SCRATCH,
    SHIFT,
    SUMS,
    ZERO_POINT,
    StripWriter,
)
from tvm_pulp.schedules.microkernels.quantized_depthwise_shape import STRIP, DepthwiseShape

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.dot_panel import Epilogue

_WEIGHTS = ("a2", "a3", "a4", "a5", "a6", "a7")
_END = "a0"


class KeptSumsWriter(StripWriter):
    """Writes the function of strips of a width."""

    end = _END

    def __init__(self, s: DepthwiseShape, e: Epilogue, width: int) -> None:
        super().__init__(s, e, width)
        # rounding twice is long: a loop over all rows of sums would leave the instruction cache
        self.moves_sums = self.starts_with_bias = bool(e.own_shifts) and s.rows_of_sums > 1
        self.ends_with_loop = len(s.rests) == 1 and not self.moves_sums
        self.kept = dict(zip(FROM_CHANNEL_TO_CHANNEL, self.free_registers(), strict=False))
        self.entry = -s.rests[0] % s.rows_of_sums if self.ends_with_loop else 0

    def free_registers(self) -> list[str]:
        """Return the registers that the strip leaves alone."""
        s, e = self.s, self.e
        taps = s.kernel[0]
        used = {*SCRATCH[: self.words], *_WEIGHTS[:taps]}
        if s.steps[1] == 1:
            used |= {*_WEIGHTS[3 : 3 + taps]}
        if e.own_shifts or self.constant:
            used |= {SHIFT, ZERO_POINT}
        used |= {"t0", "t1"}  # of the requantisation
        return [register for register in (*SCRATCH, *_WEIGHTS, ZERO_POINT) if register not in used]

    def load_weights(self, pointer: str) -> None:
        """Write the loads of a channel's weights."""
        self.text.add(*(f"P_LW({_WEIGHTS[i]}, 4, {pointer})" for i in range(self.s.kernel[0])))

    def rows(self) -> None:
        """Write the rows of results of a channel."""
        text, s = self.text, self.s
        text.add(f"addi {_END}, {_END}, 1")
        if s.steps[1] == 1:  # the windows of the second and fourth column start in a word's second byte
            text.add(*(f"slli {_WEIGHTS[3 + i]}, {_WEIGHTS[i]}, 8" for i in range(s.kernel[0])))
        for row in range(s.kernel[0] - s.steps[0]):
            self.image_row(row, self.entry)
        if self.moves_sums:
            self.loop_over_rows()
        else:
            self.loop_over_rows_of_sums()
        text.add("3:")

    def loop_over_rows_of_sums(self) -> None:
        """Write a loop over as many rows of results as there are rows of sums, which take turns.

        Where the number of rows leaves the same rest in all tiles, the loop is entered so far in that it ends
        with the last row; else each row asks whether it is the last one.
        """
        text, s = self.text, self.s
        if self.entry:
            text.add("j 4f")
        text.add("2:")
        for row in range(s.rows_of_sums):
            text.add(*(["4:"] if row and row == self.entry else []))
            self.image_rows(row)
            self.requantize(self.row_of_sums(row))
            if row == s.rows_of_sums - 1:
                text.add(f"bne {OUT}, {_END}, 2b")
            elif not self.ends_with_loop:
                text.add(f"beq {OUT}, {_END}, 3f")

    def loop_over_rows(self) -> None:
        """Write a hardware loop over the rows of results, from one to the next of which the sums move."""
        text = self.text
        self.add_bias(self.row_of_sums(0), self.row_of_sums(0))
        rows = self.fetch("rows", "t0")
        start = len(text.lines)
        self.image_rows(0)
        self.requantize(self.row_of_sums(0))
        self.move_sums()
        self.close_loop(0, rows, start)

    def image_rows(self, row: int) -> None:
        """Add the last rows of the image that a row of results needs."""
        s = self.s
        for above in range(s.steps[0], 0, -1):
            self.image_row(row * s.steps[0] + s.kernel[0] - above)

    def image_row(self, row: int, first: int = 0) -> None:
        """Add a row's products to the sums of its windows, which begin with a row of sums."""
        s, text = self.s, self.text
        rows = []  # rows of sums that it belongs to, and its row in their windows
        for result in range(row // s.steps[0] + 1):
            tap = row - result * s.steps[0]
            if 0 <= tap < s.kernel[0]:
                rows.append(((result + first) % s.rows_of_sums, tap))
        self.load_row(SCRATCH)
        straddles = False
        for column in range(self.width):
            number, byte = divmod(column * s.steps[1], 4)
            if byte >= 2 and not straddles:
                text.add(self.straddle(SCRATCH, number))
            straddles = byte >= 2
            for sums, tap in rows:
                weight = _WEIGHTS[tap + (3 if byte % 2 else 0)]
                dot = "PV_DOTUSP_B" if tap == 0 else "PV_SDOTUSP_B"
                text.add(f"{dot}({SUMS[STRIP * sums + column]}, {SCRATCH[number]}, {weight})")

    def row_of_sums(self, row: int) -> tuple[str, ...]:
        """Return the registers of a row of sums."""
        return SUMS[STRIP * row : STRIP * row + self.width]

    def move_sums(self) -> None:
        """Make each row of sums the one before it; the first one, whose results come next, gets its bias."""
        self.add_bias(self.row_of_sums(0), self.row_of_sums(1))
        for row in range(2, self.s.rows_of_sums):
            places = zip(self.row_of_sums(row - 1), self.row_of_sums(row), strict=True)
            self.text.add(*(f"mv {to}, {total}" for to, total in places))
