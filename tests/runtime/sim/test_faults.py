"""Runs that cannot go on end with one line that says where and why, and each kind can be told apart."""

import re
import signal
import threading
import time

import pytest
from planted import (
    A0,
    L1,
    T1,
    T2,
    ZERO,
    addi,
    b_type,
    elf,
    i_type,
    load_immediate,
    lw,
    on_core,
    start_dma,
    sw,
)

from tvm_pulp.runtime.sim import (
    BadAccess,
    Configuration,
    CycleLimit,
    Deadlock,
    Interrupted,
    Machine,
    SimulationError,
    UnknownInstruction,
)
from tvm_pulp.runtime.sim.errors import BY_KIND
from tvm_pulp.runtime.sim.programs import build_elf


def run(program: bytes, max_cycles: int | None = 1_000_000, timing: bool = True) -> None:
    machine = Machine(timing=timing)
    machine.load(program)
    machine.run(max_cycles)


@pytest.mark.parametrize("timing", [True, False])
def test_unmapped_load(timing: bool) -> None:
    with pytest.raises(BadAccess) as caught:
        run(elf(on_core(2, [*load_immediate(T1, 0x30000004), lw(T2, T1)])), timing=timing)
    message = str(caught.value)
    assert "load of 4 bytes at 0x30000004" in message
    assert re.search(r"core 2 at pc 0x1c010[0-9a-f]{3} \(program\+0x[0-9a-f]+\)", message)
    assert ("cycle" in message) == timing
    assert "\n" not in message


def test_null_pointer_store() -> None:
    with pytest.raises(BadAccess, match="store of 4 bytes at 0x00000000"):
        run(elf(on_core(0, [sw(A0, ZERO)])))


def test_l1_at_zero_is_an_option() -> None:
    machine = Machine(Configuration.named("pulp-open").replace(l1_alias_at_zero=True))
    machine.load(elf(on_core(5, [sw(A0, ZERO, 16)])))
    machine.run()
    assert machine.read(L1 + 16, 4) == b"\5\0\0\0"


def test_end_of_l1() -> None:
    with pytest.raises(BadAccess, match="0x10010000"):
        run(elf(on_core(0, [*load_immediate(T1, L1 + 0x10000), lw(T2, T1)])))


def test_byte_access_to_a_device() -> None:
    with pytest.raises(BadAccess, match="load of 1 byte at 0x10204000"):
        run(elf(on_core(0, [*load_immediate(T1, 0x10204000), i_type(0x03, 4, T2, T1, 0)])))


def test_unknown_instruction() -> None:
    with pytest.raises(UnknownInstruction, match=r"unknown instruction 0xffffffff: core 4 at pc 0x"):
        run(elf(on_core(4, [0xFFFFFFFF])))


def test_unknown_csr() -> None:
    with pytest.raises(UnknownInstruction, match="unknown CSR 0x7ff"):
        run(elf(on_core(0, [i_type(0x73, 2, T1, ZERO, 0x7FF)])))


def test_jump_to_nowhere() -> None:
    with pytest.raises(BadAccess, match="jump to 0x00000100"):
        run(elf(on_core(0, [i_type(0x67, 0, 0, ZERO, 0x100)])))


def test_dma_outside_memory() -> None:
    with pytest.raises(
        BadAccess, match="DMA transfer of 64 bytes outside memory: external address 0x20000000"
    ):
        run(elf(on_core(0, start_dma(L1, 0x20000000, 64, True))))
    with pytest.raises(BadAccess, match="leaves L1"):
        run(elf(on_core(0, start_dma(L1 + 0xFFF0, 0x1C100000, 64, True))))
    with pytest.raises(BadAccess, match="0 bytes"):
        run(elf(on_core(0, start_dma(L1, 0x1C100000, 0, True))))


@pytest.mark.parametrize("timing", [True, False])
def test_endless_program(timing: bool) -> None:
    machine = Machine(timing=timing)
    machine.load(elf([b_type(0, ZERO, ZERO, 0)]))
    with pytest.raises(CycleLimit, match="100000") as caught:
        machine.run(100_000)
    assert caught.value.result is not None
    assert caught.value.result.instructions > 50_000


def test_deadlock_tells_where_everyone_waits() -> None:
    wait = [*load_immediate(T1, 0x10204000), i_type(0x03, 6, T1, T1, 0x3C)]
    with pytest.raises(Deadlock, match=r"core 0 at 0x1c010.*core 7 at .*controller at"):
        run(elf(wait))


def test_interrupt() -> None:
    machine = Machine()
    machine.load(elf([b_type(0, ZERO, ZERO, 0)]))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    begin = time.monotonic()
    try:
        with pytest.raises(Interrupted) as caught:
            machine.run()
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begin < 30
    assert caught.value.result is not None and caught.value.result.cycles > 0


def test_exit_codes_differ() -> None:
    codes = [error.exit_code for error in BY_KIND]
    assert len(set(codes)) == len(codes)
    assert all(64 < code < 256 for code in codes)
    assert all(issubclass(error, SimulationError) for error in BY_KIND)


def test_run_after_the_end() -> None:
    machine = Machine()
    machine.load(elf([addi(A0, A0, 0)]))
    machine.run()
    with pytest.raises(SimulationError, match="has ended"):
        machine.run()


def test_run_without_program() -> None:
    with pytest.raises(SimulationError, match="no program"):
        Machine().run()


def test_host_access_outside_memory() -> None:
    machine = Machine()
    with pytest.raises(BadAccess, match="host write of 4 bytes at 0x00000000"):
        machine.write(0, b"1234")
    with pytest.raises(BadAccess, match="host read"):
        machine.read(0x1C18FFFE, 4)


def test_program_may_return_a_code() -> None:
    words = [
        *load_immediate(T1, 0x1A1040A0),
        *load_immediate(T2, 0x80000007),
        sw(T2, T1),
        b_type(0, ZERO, ZERO, 0),
    ]
    machine = Machine()
    machine.load(build_elf(words))
    assert machine.run().exit_code == 7
