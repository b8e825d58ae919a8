"""What cores do together: event unit, DMA, and the controller being woken."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import (
    A0,
    A1,
    A2,
    L1,
    L2,
    T1,
    T2,
    ZERO,
    addi,
    b_type,
    barrier,
    delay,
    elf,
    i_type,
    load_immediate,
    lw,
    on_core,
    start_dma,
    store,
    sw,
    wait_dma,
)

from tvm_pulp.runtime.sim import Machine
from tvm_pulp.runtime.sim.programs import build_elf, exit_with, r_type, read_csr


def word_at(machine: Machine, address: int) -> int:
    return int(struct.unpack("<I", machine.read(address, 4))[0])


def test_barrier_waits_for_the_last() -> None:
    body = [*on_core(3, [*delay(300), *store(L1 + 4, 7)]), *barrier()]
    body += [*load_immediate(T1, L1 + 4), lw(A2, T1), i_type(0x13, 1, A1, A0, 2), *load_immediate(T1, L2)]
    body += [r_type(0x33, 0, 0, T1, T1, A1), sw(A2, T1)]
    machine = Machine()
    machine.load(elf(body))
    machine.run()
    assert struct.unpack("<8I", machine.read(L2, 32)) == (7,) * 8


def test_software_event_wakes_a_core() -> None:
    unit = 0x10204000
    enable = [*load_immediate(T1, unit), addi(T2, ZERO, 2), sw(T2, T1, 0x08)]
    waiter = [
        *enable,
        i_type(0x03, 6, A2, T1, 0x3C),
        *store(L1, 1),
        addi(T2, ZERO, 2),
        *load_immediate(T1, unit),
        sw(T2, T1, 0x04),
    ]
    sender = [*delay(100), *load_immediate(T1, unit), addi(T2, ZERO, 1 << 5), sw(T2, T1, 0x104)]
    machine = Machine()
    machine.load(elf([*on_core(5, waiter), *on_core(1, sender)]))
    machine.run(100_000)
    assert word_at(machine, L1) == 1


def test_cluster_core_wakes_the_controller() -> None:
    # the controller enables line 3, sleeps, and ends the program when it is woken
    controller = [*load_immediate(T1, 0x1A109800), addi(T2, ZERO, 8), sw(T2, T1, 4)]
    boot = [
        *load_immediate(T1, 0x10200000),
        *load_immediate(T2, 0x1C010000),
        sw(T2, T1, 0x40),
        addi(T2, ZERO, 1),
        sw(T2, T1, 8),
    ]
    after = [0x10500073, *load_immediate(T1, L2), read_csr(T2, 0xB00), sw(T2, T1), *exit_with(5)]
    worker = [
        *delay(200),
        *load_immediate(T1, 0x1A109810),
        addi(T2, ZERO, 8),
        sw(T2, T1),
        b_type(0, ZERO, ZERO, 0),
    ]
    first = [*controller, *boot, *after]
    start = [
        read_csr(A0, 0xF14),
        addi(A1, ZERO, 31),
        i_type(0x13, 5, A0, A0, 5),
        b_type(1, A0, A1, 4 * (len(first) + 1)),
    ]
    machine = Machine()
    machine.load(build_elf([*start, *first, *worker]))
    result = machine.run(100_000)
    assert result.exit_code == 5
    assert word_at(machine, L2) > 600


@settings(max_examples=40, deadline=None)
@given(
    to_l1=st.booleans(),
    local=st.integers(0, 40),
    external=st.integers(0, 40),
    size=st.integers(1, 900),
    timing=st.booleans(),
)
def test_dma_copies_any_bytes(to_l1: bool, local: int, external: int, size: int, timing: bool) -> None:
    source = bytes((n * n + 7 * n) & 255 for n in range(1024))
    machine = Machine(timing=timing)
    machine.load(elf(on_core(0, [*start_dma(L1 + local, L2 + external, size, to_l1), *wait_dma()])))
    machine.write(L1, bytes(1024) if to_l1 else source)
    machine.write(L2, source if to_l1 else bytes(1024))
    machine.run(1_000_000)
    at, of, target = (local, external, L1) if to_l1 else (external, local, L2)
    expected = bytearray(1024)
    expected[at : at + size] = source[of : of + size]
    assert machine.read(target, 1024) == bytes(expected)


@pytest.mark.parametrize("to_l1", [True, False])
def test_dma_in_two_dimensions(to_l1: bool) -> None:
    command = 12 * 5 | to_l1 << 17 | 1 << 18 | 1 << 19 | 1 << 20
    words = (command, L1 + 32, L2 + 8, 12, 20)
    start = [*load_immediate(T1, 0x10204400), lw(A1, T1)]
    for value in words:
        start += [*load_immediate(T2, value), sw(T2, T1)]
    machine = Machine()
    machine.load(elf(on_core(2, [*start, *wait_dma()])))
    matrix = bytes(range(128))
    machine.write(L2, matrix if to_l1 else bytes(128))
    machine.write(L1, bytes(128) if to_l1 else matrix)
    machine.run()
    if to_l1:
        assert machine.read(L1 + 32, 60) == b"".join(matrix[8 + 20 * n : 20 + 20 * n] for n in range(5))
    else:
        found = machine.read(L2, 128)
        assert [found[8 + 20 * n : 20 + 20 * n] for n in range(5)] == [
            matrix[32 + 12 * n : 44 + 12 * n] for n in range(5)
        ]
        assert found[20:28] == bytes(8)


def test_more_transfers_than_the_queues_hold() -> None:
    # sixteen counters and two places per core: the core waits for room and still everything arrives
    body: list[int] = []
    for n in range(12):
        body += start_dma(L1 + 64 * n, L2 + 64 * n, 64, True)
    body += [
        *load_immediate(T1, 0x10204404),
        lw(A2, T1),
        0x01061613,
        b_type(1, A2, ZERO, -8),
    ]  # slli a2, a2, 16
    machine = Machine()
    machine.load(elf(on_core(0, body)))
    data = bytes((5 * n) & 255 for n in range(768))
    machine.write(L2, data)
    machine.run(1_000_000)
    assert machine.read(L1, 768) == data
