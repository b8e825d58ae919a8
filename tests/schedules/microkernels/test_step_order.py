"""The order of a step's products and loads: right for every block, and one that two workers can share."""

from __future__ import annotations

import pytest

from tvm_pulp.schedules.microkernels.interleave import Instruction, cycles_of_a_pair
from tvm_pulp.schedules.microkernels.step_order import REGISTERS, step_order

BLOCKS = [(rows, columns) for rows in range(1, 6) for columns in range(1, 5)]
BLOCKS += [(1, columns) for columns in (5, 8, 13, 16)]


@pytest.mark.parametrize("rows,columns", BLOCKS)
def test_each_product_reads_its_own_step_s_values(rows: int, columns: int) -> None:
    order = step_order(rows, columns)
    assert sorted(order.products) == [(r, c) for r in range(rows) for c in range(columns)]
    step_of = {(load.operand, load.number): 0 for load in order.before_the_first_step()}
    loaded = {key: [0] for key in step_of}
    registers = {key[1] % REGISTERS: key[1] for key in step_of if key[0] == "b"}
    for step in range(3):
        for number, (r, c) in enumerate(order.products, 1):
            assert step_of["a", r] == step_of["b", c] == step
            assert registers[c % REGISTERS] == c
            for load in order.after(number):
                key = load.operand, load.number
                step_of[key] = step + load.ahead
                if load.operand == "b":
                    registers[load.number % REGISTERS] = load.number
                loaded.setdefault(key, []).append(step_of[key])
    for steps in loaded.values():
        assert steps == list(range(len(steps)))


@pytest.mark.parametrize("rows,columns", BLOCKS)
def test_each_operand_is_loaded_in_order(rows: int, columns: int) -> None:
    order = step_order(rows, columns)
    for operand, count in (("a", rows), ("b", columns)):
        first = [load.number for load in order.before_the_first_step() if load.operand == operand]
        places = range(1, rows * columns + 1)
        within = [x.number for place in places for x in order.after(place) if x.operand == operand]
        assert first + within == [n % count for n in range(len(first) + count)]


@pytest.mark.parametrize("rows,columns", [block for block in BLOCKS if min(block) > 1])
def test_no_product_waits_for_the_load_in_front_of_it(rows: int, columns: int) -> None:
    order = step_order(rows, columns)
    for number, (r, c) in enumerate([*order.products[1:], order.products[0]], 1):
        assert not {("a", r), ("b", c)} & {(x.operand, x.number) for x in order.after(number)}


def test_two_workers_keep_their_fpu_busy_with_the_largest_block() -> None:
    order = step_order(4, 4)
    body = []
    for number in range(1, 17):
        body.append(Instruction("fmadd.s", frozenset(), frozenset()))
        body += [Instruction("lw", frozenset(), frozenset())] * len(order.after(number))
    rounds = 64
    assert cycles_of_a_pair(body, rounds) <= 1.01 * rounds * 2 * 16
