"""Each check finds the fault that was planted, names both sides, and stays quiet otherwise."""

from pathlib import Path

import pytest
from planted import (
    A0,
    A1,
    L1,
    L2,
    SP,
    T1,
    T2,
    ZERO,
    addi,
    barrier,
    delay,
    elf,
    i_type,
    load,
    load_immediate,
    lw,
    on_core,
    start_dma,
    store,
    sw,
    wait_dma,
)

from tvm_pulp.runtime.sim import Machine, Report

REFERENCE = Path(__file__).parent / "reference" / "elf"


def reports(program: bytes, timing: bool = True) -> list[Report]:
    machine = Machine(checks=True, timing=timing)
    machine.load(program)
    return list(machine.run(10_000_000).reports)


@pytest.mark.parametrize(
    ("name", "timing"),
    [("hello-gcc14", True), ("hello-gcc14", False), ("mixed-gcc14", True), ("mixed-clang", False)],
)
def test_clean_programs_have_no_reports(name: str, timing: bool) -> None:
    assert reports((REFERENCE / f"{name}.elf").read_bytes(), timing) == []


def test_real_races_of_a_reference_program_are_found() -> None:
    # "fstop" of the fork test is polled by some cores while others write it
    found = reports((REFERENCE / "control-gcc14.elf").read_bytes())
    assert any(report.kind == "race" and "fstop" in report.name for report in found)


def test_write_and_read_without_barrier_race() -> None:
    found = reports(
        elf([*store(L1, 0), *barrier(), *on_core(0, store(L1, 1)), *on_core(1, [*delay(100), *load(L1)])])
    )
    races = [report for report in found if report.kind == "race" and not report.access.write]
    assert len(races) == 1
    (race,) = races
    assert race.address == L1 and race.size == 4
    assert race.access.by == "core 1" and race.other is not None and race.other.by == "core 0"
    assert race.other.write and race.access.cycle > race.other.cycle
    assert "(program+0x" in race.access.where and "(program+0x" in race.other.where
    assert "race at 0x10000000" in str(race) and "unordered with write by core 0" in str(race)


def test_a_barrier_orders() -> None:
    body = [*on_core(0, store(L1, 1)), *barrier(), *on_core(1, load(L1))]
    assert reports(elf(body)) == []


def test_two_writes_race() -> None:
    found = reports(elf([*on_core(0, store(L1, 1)), *on_core(1, [*delay(50), *store(L1, 2)])]))
    assert [report.kind for report in found] == ["race"]
    assert found[0].access.write and found[0].other is not None and found[0].other.write


def test_read_then_write_race() -> None:
    body = [
        *on_core(0, store(L1, 1)),
        *barrier(),
        *on_core(0, load(L1)),
        *on_core(1, [*delay(50), *store(L1, 2)]),
    ]
    found = reports(elf(body))
    assert [(report.kind, report.access.write) for report in found] == [("race", True)]


def test_different_bytes_of_a_word_do_not_race() -> None:
    byte = [*load_immediate(T1, L1), 0x00A30333, addi(T2, ZERO, 7), 0x00730023]  # sb t2, 0(t1 + a0)
    assert reports(elf(byte)) == []


def test_a_mutex_orders() -> None:
    lock = [*load_immediate(T1, 0x10204000), i_type(0x03, 6, ZERO, T1, 0xC0)]
    unlock = [*load_immediate(T1, 0x10204000), sw(ZERO, T1, 0xC0)]
    body = [
        *on_core(0, store(L1, 0)),
        *barrier(),
        *lock,
        *load_immediate(T1, L1),
        lw(T2, T1),
        addi(T2, T2, 1),
        sw(T2, T1),
        *unlock,
    ]
    assert reports(elf(body)) == []
    without = [
        *on_core(0, store(L1, 0)),
        *barrier(),
        *load_immediate(T1, L1),
        lw(T2, T1),
        addi(T2, T2, 1),
        sw(T2, T1),
    ]
    assert {report.kind for report in reports(elf(without))} == {"race"}


def test_test_and_set_orders() -> None:
    lock = [*load_immediate(T1, L1 + 0x100040), lw(T2, T1), 0xFE039EE3]  # bnez t2, -4
    unlock = [*load_immediate(T1, L1 + 0x40), sw(ZERO, T1)]
    count = [*load_immediate(T1, L1), lw(T2, T1), addi(T2, T2, 1), sw(T2, T1)]
    body = [*on_core(0, [*store(L1, 0), *store(L1 + 0x40, 0)]), *barrier(), *lock, *count, *unlock]
    assert reports(elf(body)) == []


def test_core_reads_what_a_transfer_writes() -> None:
    start = start_dma(L1 + 64, L2, 256, True)
    early = elf([*on_core(0, [*store(L2, 5), *start, *delay(200), *load(L1 + 64), *wait_dma()])])
    found = [report for report in reports(early) if report.kind == "race"]
    assert len(found) == 1
    assert found[0].other is not None and found[0].other.by == "a DMA transfer"
    late = elf([*on_core(0, [*store(L2, 5), *start, *wait_dma(), *load(L1 + 64)])])
    assert [report.kind for report in reports(late)] == []


def test_core_overwrites_what_a_transfer_reads() -> None:
    start = start_dma(L1 + 64, L2, 64, False)
    body = [*on_core(0, [*store(L1 + 64, 5), *start, *store(L1 + 64, 6), *wait_dma()])]
    found = [report for report in reports(elf(body)) if report.kind == "race"]
    assert [(report.access.by, report.access.write) for report in found] == [("core 0", True)]


def test_transfer_started_by_another_core_without_barrier() -> None:
    body = [
        *on_core(1, store(L1 + 64, 5)),
        *on_core(0, [*delay(100), *start_dma(L1 + 64, L2, 64, False), *wait_dma()]),
    ]
    found = [report for report in reports(elf(body)) if report.kind == "race"]
    assert len(found) == 1
    assert (
        found[0].access.by == "a DMA transfer"
        and found[0].other is not None
        and found[0].other.by == "core 1"
    )


def test_read_of_unwritten_memory() -> None:
    found = reports(elf(on_core(3, load(L1 + 0x100))))
    assert [(report.kind, report.address, report.access.by) for report in found] == [
        ("unwritten", L1 + 0x100, "core 3")
    ]


def test_unwritten_value_that_nobody_uses_is_fine() -> None:
    assert reports(elf(on_core(3, load(L1 + 0x100, use=False)))) == []


def test_unwritten_memory_stays_so_when_it_is_moved() -> None:
    copied = [*load_immediate(T1, L1 + 0x100), lw(T2, T1), sw(T2, T1, 8)]
    assert reports(elf(on_core(0, copied))) == []
    found = reports(elf(on_core(0, [*copied, lw(T2, T1, 8), addi(T2, T2, 1)])))
    assert [(report.kind, report.address) for report in found] == [("unwritten", L1 + 0x108)]
    moved = [*start_dma(L1 + 64, L2, 64, True), *wait_dma(), *load(L1 + 64)]
    assert [report.kind for report in reports(elf(on_core(0, moved)))] == ["unwritten"]


def test_host_writes_count() -> None:
    machine = Machine(checks=True)
    machine.load(elf(on_core(0, load(L1 + 0x100))))
    machine.write(L1 + 0x100, b"\1\2\3\4")
    assert machine.run().reports == ()


def test_stack_overflow_into_another_core() -> None:
    # core 0's stack begins 1 KiB above core 1's
    push = [addi(SP, SP, -16), sw(A0, SP)]
    deep = [*push, *on_core(0, [addi(SP, SP, -1200), sw(A0, SP), addi(SP, SP, 1200)]), addi(SP, SP, 16)]
    found = reports(elf([*push, *barrier(), *deep]))
    assert [(report.kind, report.access.by) for report in found if report.kind != "race"] == [
        ("stack-overflow", "core 0")
    ]


def test_stack_bounds_that_are_told() -> None:
    machine = Machine(checks=True)
    machine.load(elf([addi(SP, SP, -256), sw(A0, SP), addi(SP, SP, 256)]))
    machine.set_stack(2, L1 + 0x10000 - 2 * 1024 - 128, L1 + 0x10000 - 2 * 1024)
    found = machine.run().reports
    assert [(report.kind, report.access.by) for report in found] == [("stack-overflow", "core 2")]


def test_declared_flag_orders() -> None:
    flag, data = L1 + 0x20, L1 + 0x40
    wait = [*load_immediate(T1, flag), lw(T2, T1), 0xFE038EE3]  # beqz t2, -4
    body = [
        *on_core(0, store(flag, 0)),
        *barrier(),
        *on_core(0, [*store(data, 9), *store(flag, 1)]),
        *on_core(1, [*wait, *load(data)]),
    ]
    assert {report.kind for report in reports(elf(body))} == {"race"}
    machine = Machine(checks=True)
    machine.load(elf(body))
    machine.declare_flag(flag)
    assert machine.run().reports == ()


def test_named_buffer_appears() -> None:
    machine = Machine(checks=True)
    machine.load(elf(on_core(0, load(L1 + 0x104))))
    machine.name_buffers({"conv1.weight": (L1 + 0x100, 64)})
    assert machine.run().reports[0].name == "0x10000104 (conv1.weight+0x4)"


def test_checks_do_not_change_time() -> None:
    results = []
    for checks in (False, True):
        machine = Machine(checks=checks)
        machine.load(REFERENCE / "hello-gcc14.elf")
        results.append(machine.run())
    assert results[0].cycles == results[1].cycles
    assert results[0].stdout == results[1].stdout


def test_a_restart_forgets_reports_but_not_memory() -> None:
    machine = Machine(checks=True)
    machine.load(
        elf([*on_core(0, [*load(L1 + 0x80), *store(L1 + 0x80, 1)]), *on_core(1, [addi(A1, ZERO, 1)])])
    )
    assert len(machine.run().reports) == 1
    machine.restart()
    assert machine.run().reports == ()
