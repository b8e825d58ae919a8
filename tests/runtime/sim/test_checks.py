"""Each check finds the fault that was planted, names both sides, and stays quiet otherwise."""

from pathlib import Path

import pytest
from planted import (
    A0,
    A1,
    L1,
    L2,
    L3,
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
    start_l3,
    store,
    sw,
    wait_dma,
    wait_l3,
)

from tvm_pulp.runtime.sim import BadAccess, Configuration, Machine, Report
from tvm_pulp.runtime.sim.profile import CAUSES
from tvm_pulp.runtime.sim.programs import build_elf, exit_with

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
    assert found[0].other is not None and found[0].other.by == "a DMA transfer of core 0"
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
        found[0].access.by == "a DMA transfer of core 0"
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


L3_RACES = {
    "core reads what a transfer brings": (
        [*start_l3(0, L2, 64), *load(L2 + 8), *wait_l3()],
        ("core 0", False),
        ("an L3 transfer of core 0", True),
    ),
    "core writes what a transfer takes": (
        [*start_l3(0, L1 + 64, 64, to_l3=True), *store(L1 + 72, 1), *wait_l3()],
        ("core 0", True),
        ("an L3 transfer of core 0", False),
    ),
    "DMA takes what a transfer brings": (
        [*start_l3(0, L2, 64), *start_dma(L1 + 256, L2, 16, True), *wait_dma(), *wait_l3()],
        ("a DMA transfer of core 0", False),
        ("an L3 transfer of core 0", True),
    ),
    "transfer takes what the DMA brings": (
        [*start_dma(L1 + 64, L2, 16, True), *start_l3(0, L1 + 64, 16, to_l3=True), *wait_dma(), *wait_l3()],
        ("an L3 transfer of core 0", False),
        ("a DMA transfer of core 0", True),
    ),
}


@pytest.mark.parametrize("timing", [True, False])
@pytest.mark.parametrize("name", L3_RACES)
def test_race_with_an_l3_transfer(name: str, timing: bool) -> None:
    body, access, other = L3_RACES[name]
    machine = Machine(checks=True, timing=timing)
    machine.load(elf(on_core(0, body)))
    for address in (L1, L2, L3):
        machine.write(address, bytes(512))
    machine.name_buffers({"latents": (L2, 512), "tile": (L1 + 64, 448)})
    (race,) = machine.run(1_000_000).reports
    assert race.kind == "race" and race.other is not None
    assert ((race.access.by, race.access.write), (race.other.by, race.other.write)) == (access, other)
    assert "(latents" in race.name or "(tile" in race.name
    assert "(program+0x" in race.access.where and "(program+0x" in race.other.where
    if timing:
        assert race.access.cycle > race.other.cycle > 0


def test_waiting_for_an_l3_transfer_orders() -> None:
    there = [*store(L2, 1), *start_l3(0, L2, 4, to_l3=True), *start_l3(0, L1 + 64, 4), *wait_l3()]
    body = [*on_core(0, [*there, *store(L2, 2), *load(L1 + 64)])]
    assert reports(elf(body)) == []


def test_waiting_for_the_first_of_two_l3_transfers_orders_only_that() -> None:
    """The controller sleeps until the first is done, as `pi_ram` does, and then touches both buffers."""
    asleep = 0x10500073
    enable = [*load_immediate(T1, 0x1A109800), *load_immediate(T2, 1 << 9), sw(T2, T1, 4)]
    start = [*enable, *start_l3(0, L2, 64), *start_l3(0, L2 + 64, 4096), asleep]
    machine = Machine(checks=True)
    machine.load(build_elf([*start, *load(L2 + 4), *load(L2 + 68), *wait_l3(), *exit_with()]))
    machine.write(L3, bytes(4096))
    (race,) = machine.run(1_000_000).reports
    assert race.address == L2 + 68 and race.access.by == "the fabric controller"
    assert race.other is not None and race.other.by == "an L3 transfer of the fabric controller"


def test_l3_transfers_of_two_cores_race_without_order() -> None:
    def program(between: list[int]) -> bytes:
        first = on_core(0, [*start_l3(0, L2, 64), *([] if between else wait_l3())])
        second = [*delay(500), *start_l3(0, L2 + 32, 64), *wait_l3()]
        return elf([*first, *between, *on_core(1, second), *barrier(), *on_core(0, wait_l3())])

    for between, count in (([], 1), (barrier(), 0)):
        machine = Machine(checks=True)
        machine.load(program(between))
        machine.write(L3, bytes(64))
        found = machine.run(1_000_000).reports
        assert [report.kind for report in found] == ["race"] * count
        assert all(report.access.by == "an L3 transfer of core 1" for report in found)


def test_unwritten_memory_stays_so_in_l3() -> None:
    body = [*start_l3(0, L2, 64), *wait_l3(), *load(L2)]
    assert [report.kind for report in reports(elf(on_core(0, body)))] == ["unwritten"]
    back = [*start_l3(0, L2, 64, to_l3=True), *start_l3(0, L2 + 64, 64), *wait_l3(), *load(L2 + 64)]
    assert [report.kind for report in reports(elf(on_core(0, back)))] == ["unwritten"]


MISALIGNED = {
    "load": [*load_immediate(T1, L1 + 66), lw(T2, T1)],
    "store": [*load_immediate(T1, L1 + 65), 0x00731023],  # sh t2, 0(t1)
}


@pytest.mark.parametrize("timing", [True, False])
@pytest.mark.parametrize("kind", MISALIGNED)
def test_misaligned_access_traps_where_the_chip_would(kind: str, timing: bool) -> None:
    chip = Configuration.named("pulp-open").replace(misaligned_traps=True)
    machine = Machine(chip, timing=timing)
    machine.load(elf(on_core(2, MISALIGNED[kind])))
    message = (
        rf"misaligned {kind} of [24] bytes at 0x1000004\d, which traps on this chip: core 2 at pc \S+ \(prog"
    )
    with pytest.raises(BadAccess, match=message) as caught:
        machine.run(100_000)
    assert caught.value.exit_code == 70
    aligned = Machine(chip)
    aligned.load(elf(on_core(2, [*load_immediate(T1, L1 + 66), 0x00731023])))
    assert aligned.run(100_000).exit_code == 0


def test_misaligned_access_takes_two_where_the_chip_splits_it() -> None:
    machine = Machine(profile=True)
    machine.load(elf(on_core(2, [*load_immediate(T1, L1 + 66), *([lw(T2, T1)] * 20)])))
    profile = machine.run(100_000).profile
    assert profile is not None
    row = profile.cores()["core 2"]
    assert dict(zip(CAUSES, row.cycles, strict=True))["misaligned"] == 20
