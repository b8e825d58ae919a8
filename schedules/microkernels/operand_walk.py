"""How a panel walks along an operand: distances in memory, and the loads of a step."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE

GROUPS_REGISTER = "ra"
"""Counts the groups of a panel's sum, or holds the distance of rows that no immediate operand reaches."""


@dataclass(frozen=True)
class Distances:
    """Elements from a row of A (a column of B, of C) to the next, and from a step of the sum to the next."""

    a_row: int
    a_step: int
    b_column: int
    b_step: int
    c_column: int = 1

    def reach(self, rows: int, columns: int) -> bool:
        """Tell whether the instructions' immediate operands reach from a row of A (a column of C) to the
        next; from a column of B a register does.
        """
        distances = [(columns - 1) * self.c_column, *([self.a_row] if rows > 1 else [])]
        return all(4 * abs(value) <= LARGEST_IMMEDIATE for value in distances)


LONGEST_ROW = LARGEST_IMMEDIATE // 4
"""Elements from a row of A to the next that the instructions' immediate operands reach."""


class OperandWalk:
    """Loads of one operand: a block's rows (or columns) of a step, and the move to the next step.

    The pointer stays on the last row while the others are near enough for an offset; else it moves from row
    to row. A move that no immediate operand can hold is kept in a register.
    """

    def __init__(self, pointer: str, register: str, count: int, distance: int, step: int) -> None:
        self.pointer, self.register, self.count, self.distance = pointer, register, count, 4 * distance
        self.is_chained = abs((count - 1) * self.distance) > LARGEST_IMMEDIATE
        self.start = 0 if self.is_chained else (count - 1) * self.distance
        self.move = 4 * step - (count - 1) * self.distance * self.is_chained
        self.is_far = abs(self.move) > LARGEST_IMMEDIATE
        self.is_scattered = count > 1 and abs(self.distance) > LARGEST_IMMEDIATE

    def load(self, register: str, number: int) -> str:
        """Return the load of row ``number``; they come in order, and the last one moves on."""
        if number == self.count - 1:
            if self.is_far:
                return f"P_LWR({register}, {self.register}, {self.pointer})"
            return f"P_LW({register}, {self.move}, {self.pointer})"
        if self.is_scattered:
            return f"P_LWR({register}, {GROUPS_REGISTER}, {self.pointer})"
        if self.is_chained:
            return f"P_LW({register}, {self.distance}, {self.pointer})"
        return self.load_near(register, number)

    def load_near(self, register: str, number: int) -> str:
        """Return a load that leaves the pointer, for rows that are near."""
        return f"lw {register}, {-(self.count - 1 - number) * self.distance}({self.pointer})"

    def move_on(self) -> str:
        """Return the move to the next step without a load."""
        if self.is_far:
            return f"add {self.pointer}, {self.pointer}, {self.register}"
        return f"addi {self.pointer}, {self.pointer}, {self.move}"
