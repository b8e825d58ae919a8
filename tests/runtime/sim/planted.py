"""Programs with known faults, put together word by word."""

from tvm_pulp.runtime.sim.programs import (
    A0,
    A1,
    A2,
    A3,
    SP,
    T1,
    T2,
    T3,
    ZERO,
    addi,
    b_type,
    barrier,
    build_elf,
    cluster_program,
    hardware_loop,
    i_type,
    load_immediate,
    lw,
    sw,
)

L1 = 0x10000000
L2 = 0x1C100000
DMA = 0x10204400
DMA_DONE = 0x10204404
L3 = 0x80000000
L3_ENGINE = 0x1A102000


def on_core(core: int, body: list[int]) -> list[int]:
    """Instructions that one core alone executes; a0 is the core's number."""
    return [addi(T3, ZERO, core), b_type(1, A0, T3, 4 * (len(body) + 1)), *body]


def store(address: int, value: int) -> list[int]:
    return [*load_immediate(T1, address), *load_immediate(T2, value), sw(T2, T1)]


def load(address: int, use: bool = True) -> list[int]:
    words = [*load_immediate(T1, address), lw(T2, T1)]
    return [*words, addi(T2, T2, 1)] if use else [*words, addi(T2, ZERO, 0)]


def delay(rounds: int) -> list[int]:
    return [*load_immediate(T1, rounds), addi(T1, T1, -1), b_type(1, T1, ZERO, -4)]


def start_dma(local: int, external: int, size: int, to_l1: bool) -> list[int]:
    """Start a transfer; its number is in a1."""
    command = size | to_l1 << 17 | 1 << 18 | 1 << 20
    return [
        *load_immediate(T1, DMA),
        lw(A1, T1),
        *(word for value in (command, local, external) for word in (*load_immediate(T2, value), sw(T2, T1))),
    ]


def wait_dma() -> list[int]:
    """Poll until the transfer whose number is in a1 is done."""
    return [
        *load_immediate(T1, DMA_DONE),
        lw(A2, T1),
        0x00B65633,  # srl a2, a2, a1
        i_type(0x13, 7, A2, A2, 1),
        b_type(1, A2, ZERO, -12),
    ]


def start_l3(external: int, internal: int, size: int, to_l3: bool = False) -> list[int]:
    """Start a transfer between an offset in L3 and an address on the chip."""
    code = load_immediate(T1, L3_ENGINE)
    for offset, value in enumerate((external, internal, size | to_l3 << 31)):
        code += [*load_immediate(T2, value), sw(T2, T1, 4 * offset)]
    return code


def wait_l3() -> list[int]:
    """Poll until no L3 transfer is in flight; changes a1."""
    return [*load_immediate(T1, L3_ENGINE), lw(A1, T1, 12), b_type(1, A1, ZERO, -4)]


def elf(body: list[int], cores: int = 8, **options: int) -> bytes:
    return build_elf(cluster_program(body, cores, **options), symbols={"program": (0x1C010000, 0x1000)})


__all__ = [
    "A0",
    "A1",
    "A2",
    "A3",
    "L1",
    "L2",
    "L3",
    "L3_ENGINE",
    "SP",
    "T1",
    "T2",
    "ZERO",
    "addi",
    "b_type",
    "barrier",
    "delay",
    "elf",
    "hardware_loop",
    "i_type",
    "load",
    "load_immediate",
    "lw",
    "on_core",
    "start_dma",
    "start_l3",
    "store",
    "sw",
    "wait_dma",
    "wait_l3",
]
