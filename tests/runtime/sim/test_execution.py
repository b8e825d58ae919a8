"""Memory, control flow, compressed code and counters: what they do, and what they cost."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import (
    A0,
    A1,
    A2,
    A3,
    L1,
    L2,
    T1,
    T2,
    ZERO,
    addi,
    b_type,
    elf,
    hardware_loop,
    i_type,
    load_immediate,
    lw,
    on_core,
    store,
    sw,
)

from tvm_pulp.runtime.sim import Machine
from tvm_pulp.runtime.sim.programs import build_elf, exit_with, r_type, read_csr, s_type

PATTERN = bytes((37 * n + 129) & 255 for n in range(64))


def run_on_controller(
    code: list[int], memory: dict[int, bytes] | None = None, timing: bool = True
) -> Machine:
    machine = Machine(timing=timing)
    machine.load(build_elf([*code, *exit_with()]))
    for address, data in (memory or {}).items():
        machine.write(address, data)
    machine.run(1_000_000)
    return machine


def word_at(machine: Machine, address: int) -> int:
    return int(struct.unpack("<I", machine.read(address, 4))[0])


LOADS = {"b": (0, 1, True), "h": (1, 2, True), "w": (2, 4, True), "bu": (4, 1, False), "hu": (5, 2, False)}
REGISTER_FUNCT7 = {"b": 0x00, "h": 0x08, "w": 0x10, "bu": 0x20, "hu": 0x28}


@pytest.mark.parametrize("offset", range(8))
@pytest.mark.parametrize("kind", sorted(LOADS))
@pytest.mark.parametrize("form", ["offset", "register", "post", "post register"])
def test_loads(kind: str, form: str, offset: int) -> None:
    funct3, size, is_signed = LOADS[kind]
    step = 12
    load = {
        "offset": i_type(0x03, funct3, A0, A1, 3),
        "register": r_type(0x03, 7, REGISTER_FUNCT7[kind], A0, A1, A2),
        "post": i_type(0x0B, funct3, A0, A1, step),
        "post register": r_type(0x0B, 7, REGISTER_FUNCT7[kind], A0, A1, A2),
    }[form]
    code = [*load_immediate(A1, L2 + 8 + offset), *load_immediate(A2, step), load]
    code += [*load_immediate(T1, L2 + 64), sw(A0, T1), sw(A1, T1, 4)]
    machine = run_on_controller(code, {L2: PATTERN})
    at = 8 + offset + {"offset": 3, "register": step}.get(form, 0)
    value = int.from_bytes(PATTERN[at : at + size], "little", signed=is_signed)
    assert word_at(machine, L2 + 64) == value & 0xFFFFFFFF
    after = L2 + 8 + offset + (step if "post" in form else 0)
    assert word_at(machine, L2 + 68) == after


@pytest.mark.parametrize("offset", range(5))
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("form", ["offset", "register", "post", "post register"])
def test_stores(size: int, form: str, offset: int) -> None:
    width = {1: 0, 2: 1, 4: 2}[size]
    step = 8
    # the offset register of a store is in the place of rd
    register = {"register": 0x23, "post register": 0x2B}.get(form, 0)
    instruction = {
        "offset": s_type(0x23, width, A1, A0, 5),
        "post": s_type(0x2B, width, A1, A0, step),
    }.get(form, r_type(register, width + 4, 0, A2, A1, A0))
    code = [*load_immediate(A1, L2 + 8 + offset), *load_immediate(A2, step), *load_immediate(A0, 0x81C3A5E7)]
    code += [instruction, *load_immediate(T1, L2 + 64), sw(A1, T1, 4)]
    machine = run_on_controller(code, {L2: PATTERN})
    expected = bytearray(PATTERN)
    at = 8 + offset + {"offset": 5, "register": step}.get(form, 0)
    expected[at : at + size] = (0x81C3A5E7).to_bytes(4, "little")[:size]
    assert machine.read(L2, 64) == bytes(expected)
    assert word_at(machine, L2 + 68) == L2 + 8 + offset + (step if "post" in form else 0)


BRANCHES = {
    0: lambda a, b: a == b,
    1: lambda a, b: a != b,
    4: lambda a, b: _signed(a) < _signed(b),
    5: lambda a, b: _signed(a) >= _signed(b),
    6: lambda a, b: a < b,
    7: lambda a, b: a >= b,
}


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(BRANCHES)),
    st.sampled_from([0, 1, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]),
    st.sampled_from([0, 1, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]),
)
def test_branches(funct3: int, a: int, b: int) -> None:
    code = [*load_immediate(A0, a), *load_immediate(A1, b), addi(A2, ZERO, 1), b_type(funct3, A0, A1, 8)]
    code += [addi(A2, ZERO, 0), *load_immediate(T1, L2), sw(A2, T1)]
    assert word_at(run_on_controller(code, timing=False), L2) == BRANCHES[funct3](a, b)


@pytest.mark.parametrize(
    ("funct3", "immediate", "taken"), [(2, -3, True), (2, 4, False), (3, -3, False), (3, 4, True)]
)
def test_branch_on_small_constant(funct3: int, immediate: int, taken: bool) -> None:
    code = [addi(A0, ZERO, -3), addi(A2, ZERO, 1), b_type(funct3, A0, immediate & 31, 8), addi(A2, ZERO, 0)]
    code += [*load_immediate(T1, L2), sw(A2, T1)]
    assert word_at(run_on_controller(code), L2) == taken


def test_calls_and_returns() -> None:
    code = [0x00C000EF, *load_immediate(T1, L2)[:1], 0x0100006F]  # jal ra, +12 ; lui ; j past the function
    code += [addi(A0, ZERO, 42), 0x00008067, addi(ZERO, ZERO, 0)]  # function: a0 = 42, ret
    code += [sw(A0, T1)]
    assert word_at(run_on_controller(code), L2) == 42


@pytest.mark.parametrize("timing", [True, False])
def test_nested_hardware_loops(timing: bool) -> None:
    inner = hardware_loop(0, A1, [addi(A2, A2, 1), addi(A3, A3, 2)])
    code = [addi(A2, ZERO, 0), addi(A3, ZERO, 0), addi(A0, ZERO, 7), addi(A1, ZERO, 5)]
    code += hardware_loop(1, A0, [*inner, addi(A2, A2, 100)])
    code += [*load_immediate(T1, L2), sw(A2, T1), sw(A3, T1, 4)]
    machine = run_on_controller(code, timing=timing)
    assert word_at(machine, L2) == 7 * (5 + 100)
    assert word_at(machine, L2 + 4) == 7 * 5 * 2


def test_hardware_loop_built_piece_by_piece() -> None:
    pieces = [i_type(0x7B, 0, 0, 0, 6), i_type(0x7B, 1, 0, 0, 6), i_type(0x7B, 3, 0, 0, 9)]
    code = [addi(A2, ZERO, 0), *pieces, addi(A2, A2, 1), addi(A2, A2, 1), *load_immediate(T1, L2), sw(A2, T1)]
    assert word_at(run_on_controller(code), L2) == 18


def test_loop_of_one_round_and_immediate_count() -> None:
    setup_immediate = 0x0000507B | 3 << 20 | 4 << 15  # lp.setupi 0, 3, two instructions
    code = [addi(A2, ZERO, 0), setup_immediate, addi(A2, A2, 1), addi(A2, A2, 4)]
    code += [addi(A0, ZERO, 1), *hardware_loop(0, A0, [addi(A2, A2, 100)])]
    code += [*load_immediate(T1, L2), sw(A2, T1)]
    assert word_at(run_on_controller(code), L2) == 3 * 5 + 100


@pytest.mark.parametrize(
    ("half", "whole"),
    [
        (0x4505, addi(A0, ZERO, 1)),  # c.li a0, 1
        (0x157D, addi(A0, A0, -1)),  # c.addi a0, -1
        (0x852E, r_type(0x33, 0, 0, A0, ZERO, A1)),  # c.mv a0, a1
        (0x952E, r_type(0x33, 0, 0, A0, A0, A1)),  # c.add a0, a1
        (0x8D0D, r_type(0x33, 0, 0x20, A0, A0, A1)),  # c.sub a0, a1
        (0x8D2D, r_type(0x33, 4, 0, A0, A0, A1)),  # c.xor a0, a1
        (0x8D4D, r_type(0x33, 6, 0, A0, A0, A1)),  # c.or a0, a1
        (0x8D6D, r_type(0x33, 7, 0, A0, A0, A1)),  # c.and a0, a1
        (0x050E, i_type(0x13, 1, A0, A0, 3)),  # c.slli a0, 3
        (0x810D, i_type(0x13, 5, A0, A0, 3)),  # c.srli a0, 3
        (0x850D, i_type(0x13, 5, A0, A0, 0x403)),  # c.srai a0, 3
        (0x8975, i_type(0x13, 7, A0, A0, 29)),  # c.andi a0, 29
        (0x6509, 0x00002537),  # c.lui a0, 2
        (0x7579, 0xFFFFE537),  # c.lui a0, 0xffffe
    ],
)
def test_compressed_instructions(half: int, whole: int) -> None:
    results = []
    for word in (half | 0x0001 << 16, whole):  # the second half is c.nop
        code = [*load_immediate(A0, 0xDEADBEEF), *load_immediate(A1, 0x12345678), word]
        results.append(word_at(run_on_controller([*code, *load_immediate(T1, L2), sw(A0, T1)]), L2))
    assert results[0] == results[1]


def test_cycle_and_event_counters() -> None:
    on = [*load_immediate(T1, 0x7FFFFFFF), i_type(0x73, 1, 0, T1, 0xCC0), i_type(0x73, 1, 0, 0, 0x79F)]
    on += [addi(T1, ZERO, 1), i_type(0x73, 1, 0, T1, 0xCC1)]
    work = [*load_immediate(A0, L1), lw(A1, A0), addi(A1, A1, 1), sw(A1, A0), b_type(0, ZERO, ZERO, 4)]
    off = [i_type(0x73, 1, 0, 0, 0xCC1)]
    names = {1: "instructions", 2: "load stalls", 5: "loads", 6: "stores", 8: "branches", 9: "taken"}
    save = [*load_immediate(T1, L2)]
    for n, event in enumerate(names):
        save += [read_csr(T2, 0x780 + event), sw(T2, T1, 4 * n)]
    machine = Machine()
    machine.load(elf(on_core(0, [*on, *work, *off, *save])))
    machine.run()
    counts = dict(zip(names.values(), struct.unpack("<6I", machine.read(L2, 24)), strict=True))
    assert counts["instructions"] == len(work)
    assert (counts["loads"], counts["stores"], counts["branches"], counts["taken"]) == (1, 1, 1, 1)
    assert counts["load stalls"] <= 1


def test_restart_keeps_memory() -> None:
    count = [*load_immediate(T1, L2), lw(T2, T1), addi(T2, T2, 1), sw(T2, T1)]
    machine = Machine()
    machine.load(elf(on_core(0, count)))
    machine.write(L2, bytes(4))
    results = [machine.run()]
    for _ in range(3):
        machine.restart()
        results.append(machine.run())
    assert word_at(machine, L2) == 4
    assert len({result.cycles for result in results}) == 1


def test_changed_code_is_decoded_again() -> None:
    machine = Machine()
    machine.load(elf(on_core(0, store(L2, 1))))
    machine.run()
    machine.load(elf(on_core(0, store(L2, 2))))
    machine.run()
    assert word_at(machine, L2) == 2


def test_code_that_changes_itself() -> None:
    # the store replaces "addi a0, a0, 1" by "addi a0, a0, 64" before it is executed a second time
    loop = [addi(A0, A0, 1), sw(A2, A1), addi(T2, T2, -1), b_type(1, T2, ZERO, -12)]
    code = [addi(A0, ZERO, 0), addi(T2, ZERO, 2), *load_immediate(A2, addi(A0, A0, 64))]
    at = 0x1C010000 + 4 * (len(code) + 2)
    code += [*load_immediate(A1, at), *loop, *load_immediate(T1, L2), sw(A0, T1)]
    assert len(load_immediate(A1, at)) == 2
    assert word_at(run_on_controller(code), L2) == 65
