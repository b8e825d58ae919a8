"""L3: transfers by its engine arrive, take the time of latency and bandwidth, and stay inside memory."""

import struct

import pytest
from planted import (
    A1,
    L1,
    L2,
    L3,
    L3_ENGINE,
    T1,
    T2,
    ZERO,
    addi,
    elf,
    load,
    load_immediate,
    lw,
    on_core,
    start_l3,
    store,
    sw,
    wait_l3,
)

from tvm_pulp.runtime.sim import BadAccess, Configuration, Machine
from tvm_pulp.runtime.sim.programs import build_elf, exit_with, read_csr

CHIP = Configuration.named("pulp-open").replace(l3_bytes=1 << 20)
DATA = bytes((11 * n + 3) & 255 for n in range(4096))


@pytest.mark.parametrize("timing", [True, False])
@pytest.mark.parametrize("target", [L1, L2])
def test_there_and_back(target: int, timing: bool) -> None:
    code = [*start_l3(100, target, 999), *start_l3(0x8000, target, 500, to_l3=True), *wait_l3()]
    machine = Machine(CHIP, timing=timing, checks=True)
    machine.load(elf(on_core(0, code)))
    machine.write(L3, DATA)
    result = machine.run(1_000_000)
    assert machine.read(target, 999) == DATA[100:1099]
    assert machine.read(L3 + 0x8000, 500) == DATA[100:600]
    assert not result.reports


def cycles(chip: Configuration, size: int) -> int:
    code = [read_csr(A1, 0xB00), *load_immediate(T1, L2), sw(A1, T1), *start_l3(0, L2 + 64, size), *wait_l3()]
    code += [read_csr(A1, 0xB00), *load_immediate(T1, L2), sw(A1, T1, 4)]
    machine = Machine(chip)
    machine.load(build_elf([*code, *exit_with()]))
    machine.run(1_000_000)
    first, last = struct.unpack("<2I", machine.read(L2, 8))
    return int(last - first)


def test_bandwidth_and_latency() -> None:
    slow, fast = CHIP, CHIP.replace(l3_bytes_per_second=4 * CHIP.frequency_hz)
    far = slow.replace(l3_latency=CHIP.l3_latency + 1000)
    poll = 8  # the program looks once per round of its loop
    assert cycles(slow, 4096) - cycles(slow, 2048) == pytest.approx(2048, abs=poll)
    assert cycles(fast, 4096) - cycles(fast, 2048) == pytest.approx(512, abs=poll)
    assert cycles(far, 64) - cycles(slow, 64) == pytest.approx(1000, abs=poll)


def test_controller_is_woken() -> None:
    enable = [*load_immediate(T1, 0x1A109800), *load_immediate(T2, 1 << 9), sw(T2, T1, 4)]
    asleep = 0x10500073
    machine = Machine(CHIP)
    machine.load(
        build_elf(
            [
                *enable,
                *start_l3(0, L2, 64),
                asleep,
                *load_immediate(T1, L3_ENGINE),
                lw(A1, T1, 12),
                *load_immediate(T1, L2 + 64),
                sw(A1, T1),
                *exit_with(),
            ]
        )
    )
    machine.write(L3, DATA)
    machine.run(100_000)
    assert machine.read(L2, 68) == DATA[:64] + bytes(4)


@pytest.mark.parametrize(
    ("external", "internal", "size"),
    [(1 << 20, L2, 4), (0xFFFFFFFC, L2, 8), (0, 0x1B000000, 4), (0, L2, 0), ((1 << 20) - 4, L2, 5)],
)
def test_outside_memory(external: int, internal: int, size: int) -> None:
    machine = Machine(CHIP)
    machine.load(elf(on_core(0, start_l3(external, internal, size))))
    with pytest.raises(BadAccess, match="L3 transfer"):
        machine.run(100_000)


def test_cluster_dma_does_not_reach_l3() -> None:
    start = [*load_immediate(T1, 0x10204400), lw(A1, T1)]
    for value in (64 | 1 << 17 | 1 << 18 | 1 << 20, L1, L3):
        start += [*load_immediate(T2, value), sw(T2, T1)]
    machine = Machine(CHIP)
    machine.load(elf(on_core(0, [*start, addi(ZERO, ZERO, 0)])))
    with pytest.raises(BadAccess, match="DMA transfer"):
        machine.run(100_000)


@pytest.mark.parametrize("access", [load(L3), store(L3, 1)])
def test_cores_do_not_reach_l3(access: list[int]) -> None:
    machine = Machine(CHIP)
    machine.load(elf(on_core(0, access)))
    with pytest.raises(
        BadAccess, match=r"at 0x80000000 \(L3, which only pi_ram transfers reach\): core 0 at pc"
    ):
        machine.run(100_000)


def test_rate_does_not_follow_the_clock() -> None:
    fast = CHIP.replace(frequency_hz=4 * CHIP.frequency_hz)
    assert cycles(fast, 4096) - cycles(fast, 2048) == pytest.approx(4 * 2048, abs=8)
