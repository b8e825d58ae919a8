"""Order of the instructions of a step of a register-blocked sum: every product of a row and a column, and the
loads of the next step's values.

Two workers share a FPU, so that the loop runs at its speed only if they never load at the same time: loads
stand evenly between the products. A register can be loaded again after its last product and must be before
its first one in the next step; the products come in an order that sets registers free as evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

REGISTERS = 4
"""Registers for values of B: column c's is in register c modulo this, which more columns share in turn."""


@dataclass(frozen=True)
class Load:
    """A load of row ``number`` of A, or of column ``number`` of B, after ``products`` products of a step.

    ``ahead`` tells whether the value is the next step's; else it is used later in the same step.
    """

    operand: str
    number: int
    products: int
    ahead: bool


@dataclass(frozen=True)
class StepOrder:
    """Products of a step as (row, column), in order, and the loads between them, in order."""

    products: tuple[tuple[int, int], ...]
    loads: tuple[Load, ...]

    def after(self, products: int) -> list[Load]:
        """Return the loads that follow so many products."""
        return [load for load in self.loads if load.products == products]

    def before_the_first_step(self) -> list[Load]:
        """Return the loads of values that a step expects in registers, those that it uses first in front."""
        uses = _uses(self.products)
        ahead = [load for load in self.loads if load.ahead]
        return sorted(ahead, key=lambda load: (uses[load.operand, load.number][0], load.operand))


@lru_cache(maxsize=64)
def step_order(rows: int, columns: int) -> StepOrder:
    """Return the order for a block of ``rows`` x ``columns`` results.

    The loads of each operand stand in the order of its rows (columns), over the step's end too, so that a
    pointer can move along with them. More than four columns go with one row only.
    """
    if columns > REGISTERS:
        return _one_row(columns)
    products = _products(rows, columns)
    uses = _uses(products)
    count, loads = len(products), len(uses)
    for shift in range(loads, (count + 1) * loads) if count >= loads else ():
        found = _assign(uses, count, [(j * count + shift) // loads for j in range(loads)])
        if found is not None:
            return StepOrder(products, found)
    # fewer products than loads: each register is loaded again as soon as it is free
    early = sorted(uses, key=lambda key: (uses[key][1], uses[key][0]))
    return StepOrder(products, tuple(Load(*key, uses[key][1], True) for key in early))


def _one_row(columns: int) -> StepOrder:
    """Return the order for one row: its columns' values pass through the registers one after the other."""
    loads = [Load("b", c, c - REGISTERS + 1, False) for c in range(REGISTERS, columns)]
    free = 0
    for c in range(REGISTERS):  # the next step's, in order, each when its register is used no more
        free = max(free, *range(c + 1, columns + 1, REGISTERS))
        loads.append(Load("b", c, free, True))
    loads.insert(-1, Load("a", 0, columns, True))
    return StepOrder(tuple((0, c) for c in range(columns)), tuple(loads))


def _products(rows: int, columns: int) -> tuple[tuple[int, int], ...]:
    """Return all products: of a row with the columns left, of a column with the rows left, and so on."""
    order = []
    for i in range(max(rows, columns)):
        if i < rows:
            order += [(i, c) for c in range(min(i, columns), columns)]
        if i < columns:
            order += [(r, i) for r in range(i + 1, rows)]
    return tuple(order)


def _uses(products: tuple[tuple[int, int], ...]) -> dict[tuple[str, int], tuple[int, int]]:
    """Return for each row of A and column of B the numbers, from 1, of its first and last product."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for number, (r, c) in enumerate(products, 1):
        for key in (("a", r), ("b", c)):
            found[key] = (found.get(key, (number, number))[0], number)
    return found


def _assign(
    uses: dict[tuple[str, int], tuple[int, int]], count: int, slots: list[int]
) -> tuple[Load, ...] | None:
    """Give each slot the load that must come first of those that can; None if one comes too late.

    Slots are numbers of products, those above ``count`` in the next step. At least one product stands between
    a load and its use.
    """
    left = dict(uses)
    loads = []
    for slot in slots:
        free = [key for key in left if left[key][1] <= slot]
        if not free:
            return None
        key = min(free, key=lambda key: (left[key][0], left[key][1], key))
        first, _ = left.pop(key)
        if slot > first + count - 2:
            return None
        products = slot if slot <= count else slot - count
        loads.append(Load(*key, products, slot <= count))
    return tuple(loads)
