"""Chips whose floating-point registers are apart from the integer ones: results, memory, time, programs."""

import dataclasses
import struct

import pytest
from golden import RULES
from golden_operands import Operands
from golden_registers import files, gives_one_half
from hypothesis import given, settings
from hypothesis import strategies as st
from test_instructions import SPECIAL, Registers, encode, operands, words

from tvm_pulp.runtime.sim import Configuration, Machine
from tvm_pulp.runtime.sim.programs import (
    A0,
    A1,
    SP,
    T1,
    T2,
    ZERO,
    addi,
    build_elf,
    exit_with,
    fmadd,
    i_type,
    load_immediate,
    lw,
    r_type,
    s_type,
    sw,
)

SEPARATE = Configuration().replace(merged_registers=False)
DATA = 0x1C100000
FLOATING = sorted(name for name in RULES if name.startswith(("f", "vf")))
POOL = tuple(range(A0, A0 + 8))  # of either file
ONES = 0xFFFF0000


def flw(rd: int, rs1: int, offset: int = 0) -> int:
    return i_type(0x07, 2, rd, rs1, offset)


def fsw(rs2: int, rs1: int, offset: int = 0) -> int:
    return s_type(0x27, 2, rs1, rs2, offset)


def move_to_float(rd: int, rs1: int) -> int:
    return r_type(0x53, 0, 0x78, rd, rs1, 0)


def run(code: list[int], chip: Configuration = SEPARATE, timing: bool = False) -> Machine:
    machine = Machine(chip, timing=timing, checks=True)
    machine.load(build_elf([*code, *exit_with()]))
    machine.write(DATA, bytes(4096))
    result = machine.run(1_000_000)
    assert result.exit_code == 0 and not result.reports
    return machine


def words_at(machine: Machine, count: int, address: int = DATA) -> list[int]:
    return list(struct.unpack(f"<{count}I", machine.read(address, 4 * count)))


Step = tuple[str, Operands, Registers]


def expected(integers: dict[int, int], floats: dict[int, int], sequence: list[Step], boxed: bool) -> None:
    """Execute a sequence by the definitions of its instructions."""
    for name, immediates, registers in sequence:
        where = files(name)
        rs1, rs2, rs3, rd = (
            (floats if is_float else integers)[number]
            for is_float, number in zip((where.rs1, where.rs2, where.rs3, where.rd), registers, strict=True)
        )
        inputs = {"a": rs1, "b": rs2, "c": rs3, "d": rd}
        result = RULES[name][1](dataclasses.replace(immediates, **inputs)) & 0xFFFFFFFF
        if boxed and gives_one_half(name):
            result |= ONES
        (floats if where.rd else integers)[registers[3]] = result
        integers[ZERO] = 0


def execute(
    integers: dict[int, int], floats: dict[int, int], sequence: list[Step], chip: Configuration, timing: bool
) -> tuple[list[int], list[int]]:
    """The integer and the floating-point registers after a sequence."""
    code: list[int] = []
    for number, value in floats.items():
        code += [*load_immediate(T1, value), move_to_float(number, T1)]
    for number, value in integers.items():
        if number != ZERO:
            code += load_immediate(number, value)
    code += [encode(name, RULES[name][0], o, registers) for name, o, registers in sequence]
    code += load_immediate(T1, DATA)
    code += [sw(number, T1, 4 * n) for n, number in enumerate(integers)]
    code += [fsw(number, T1, 512 + 4 * n) for n, number in enumerate(floats)]
    machine = run(code, chip, timing)
    return words_at(machine, len(integers)), words_at(machine, len(floats), DATA + 512)


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("name", FLOATING)
def test_operands_come_from_their_files(name: str, boxed: bool) -> None:
    chip = SEPARATE.replace(nan_boxed_halves=boxed)
    count = len(SPECIAL)
    for k in range(0, count, 3):
        # the registers of the other file with the same numbers hold something else
        integers = {ZERO: 0} | {n: SPECIAL[(3 * k + 5 * i + 1) % count] for i, n in enumerate(POOL)}
        floats = {ZERO: SPECIAL[k]} | {n: SPECIAL[(k + 7 * i) % count] for i, n in enumerate(POOL)}
        sequence: list[Step] = [
            (name, Operands(0, 0, 0, 0), registers) for registers in ((10, 11, 12, 13), (0, 15, 0, 0))
        ]
        found = execute(integers, floats, sequence, chip, timing=False)
        expected(integers, floats, sequence, boxed)
        assert found == (list(integers.values()), list(floats.values()))


register = st.sampled_from((ZERO, *POOL))
steps = st.tuples(
    st.one_of(st.sampled_from(FLOATING), st.sampled_from(sorted(RULES))),
    operands(),
    st.tuples(register, register, register, register),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(words, min_size=8, max_size=8),
    st.lists(words, min_size=9, max_size=9),
    st.lists(steps, min_size=1, max_size=40),
    st.booleans(),
    st.booleans(),
)
def test_random_sequences(
    start: list[int], float_start: list[int], sequence: list[Step], boxed: bool, timing: bool
) -> None:
    integers = {ZERO: 0} | dict(zip(POOL, start, strict=True))
    floats = dict(zip((ZERO, *POOL), float_start, strict=True))
    chip = SEPARATE.replace(nan_boxed_halves=boxed)
    found = execute(integers, floats, sequence, chip, timing)
    expected(integers, floats, sequence, boxed)
    assert found == (list(integers.values()), list(floats.values()))


@pytest.mark.parametrize("name", [name for name in FLOATING if gives_one_half(name)])
def test_boxed_halves_on_merged_registers(name: str) -> None:
    code = [*load_immediate(A0, 0x3C003F80), *load_immediate(A1, 0x40004000)]
    code += [
        encode(name, RULES[name][0], Operands(0, 0, 0, 0), (A0, A1, A1, A1)),
        *load_immediate(T1, DATA),
        sw(A1, T1),
    ]
    values = [
        words_at(run(code, Configuration().replace(nan_boxed_halves=boxed)), 1)[0] for boxed in (False, True)
    ]
    assert values[1] == values[0] | ONES


def test_loads_and_stores() -> None:
    code = [*load_immediate(T1, DATA), flw(ZERO, T1), flw(A0, T1, 4), i_type(0x07, 1, A1, T1, 4)]
    code += [
        addi(A0, ZERO, 5),
        fsw(ZERO, T1, 16),
        fsw(A0, T1, 20),
        fsw(A1, T1, 24),
        s_type(0x27, 1, T1, A0, 30),
        sw(A0, T1, 32),
    ]
    machine = Machine(SEPARATE)
    machine.load(
        build_elf([*code, *exit_with()], data={DATA: struct.pack("<9I", 0x11112222, 0x33334444, *[0] * 7)})
    )
    machine.run()
    assert words_at(machine, 9)[4:] == [0x11112222, 0x33334444, 0xFFFF4444, 0x44440000, 5]


C_NOP = 0x0001 << 16
C_FLW, C_FSW = 0x6148 | C_NOP, 0xE508 | C_NOP  # fa0, 4(a0); fa0, 8(a0)
C_FLWSP, C_FSWSP = 0x6532 | C_NOP, 0xE82A | C_NOP  # fa0, 12(sp); fa0, 16(sp)


@pytest.mark.parametrize("merged", [False, True])
def test_compressed_loads_and_stores(merged: bool) -> None:
    """On merged registers fa0 is a0, so only the forms over sp have something to load and store."""
    machine = Machine(Configuration().replace(merged_registers=merged))
    code = [*load_immediate(A0, DATA), *load_immediate(SP, DATA + 64)]
    code += [C_FLWSP, C_FSWSP] if merged else [C_FLW, C_FSW, C_FLWSP, C_FSWSP]
    content = bytearray(range(1, 129))
    machine.load(build_elf([*code, *exit_with()], data={DATA: bytes(content)}))
    machine.run()
    if not merged:
        content[8:12] = content[4:8]
    content[80:84] = content[76:80]
    assert machine.read(DATA, 128) == content


def cycles(body: list[int]) -> int:
    code = [
        *load_immediate(T1, DATA),
        *load_immediate(A0, 0x3F800000),
        move_to_float(A0, A0),
        move_to_float(A1, A0),
    ]
    machine = Machine(SEPARATE)
    machine.load(build_elf([*code, *body, *exit_with()]))
    return machine.run().cycles


@pytest.mark.parametrize(
    ("load", "use", "stalls"),
    [
        (flw(A0, T1), fmadd(A1, A0, A1, A1), 1),
        (flw(A0, T1), fmadd(A1, A1, A1, A0), 1),
        (flw(A0, T1), addi(T2, A0, 1), 0),  # a0 is not fa0
        (lw(A0, T1), fmadd(A1, A0, A1, A1), 0),
        (lw(A0, T1), addi(T2, A0, 1), 1),
        (flw(ZERO, T1), fmadd(A1, ZERO, A1, A1), 1),  # f0 is a register like the others
        (flw(A0, T1), fsw(A0, T1), 1),
        (lw(A0, T1), move_to_float(A1, A0), 1),
    ],
)
def test_a_load_is_late_for_its_own_file_only(load: int, use: int, stalls: int) -> None:
    nothing = addi(ZERO, ZERO, 0)
    assert cycles([load, use, nothing]) - cycles([load, nothing, use]) == stalls


def test_doubt_goes_with_the_register() -> None:
    code = [*load_immediate(T1, DATA), flw(A0, T1), addi(T2, A0, 1)]
    for use, count in ((addi(A1, A0, 1), 0), (fmadd(A1, A0, A0, A0), 1)):
        machine = Machine(SEPARATE, checks=True)
        machine.load(build_elf([*code, use, *exit_with()]))
        assert [report.kind for report in machine.run().reports] == ["unwritten"] * count
