"""Programs for the fuzzer to start from: every encoding, the devices, and each kind of machine.

``python seeds.py FOLDER`` writes them. The corpus beside this file is what libFuzzer's ``-merge=1`` kept of
them and of what it found.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

from tvm_pulp.runtime.sim import _sim
from tvm_pulp.runtime.sim.programs import (
    A0,
    A1,
    A2,
    S0,
    S1,
    S2,
    S3,
    S4,
    S5,
    T1,
    T2,
    ZERO,
    barrier,
    build_elf,
    cluster_program,
    hardware_loop,
    i_type,
    load_immediate,
    lw,
    sw,
)  # fmt: skip

OPTION_BYTE = 15  # of the ELF header; its bits choose the machine, see program.hpp
MACHINES = (0, 1, 2, 3, 4, 8, 2 | 4 | 8, 16, 2 | 16, 32, 2 | 32, 64, 128)
_INSTRUCTIONS = 40

# What a program finds in its registers: addresses where something is.
_BASES = {
    S0: 0x10002000,  # L1
    S1: 0x1C01F000,  # L2
    S2: 0x10204000,  # event unit
    S3: 0x10204400,  # DMA
    S4: 0x1A102000,  # L3 engine
    S5: 0x1A109800,  # interrupt controller
}


def program(body: Sequence[int], machine: int = 0) -> bytes:
    """An ELF file for 4 workers with a body that each executes."""
    start = [word for register, base in _BASES.items() for word in load_immediate(register, base)]
    image = bytearray(
        build_elf(cluster_program([*start, *body], 4, 512, 0x4000), symbols={"f": (0x1C010000, 4096)})
    )
    image[OPTION_BYTE] = machine
    return bytes(image)


def _arithmetic(generator: random.Random) -> list[list[int]]:
    words = []
    for _, mask, match in _sim.encodings():
        if match & 0x7F in (0x63, 0x67, 0x6F, 0x73, 0x7B):
            continue  # jumps, CSRs and loops: by themselves
        word = match | generator.getrandbits(32) & ~mask
        if match & 0x7F in (0x03, 0x07, 0x0B, 0x23, 0x27, 0x2B):
            word = word & ~(31 << 15 | 0xE00 << 20) | generator.choice((S0, S1)) << 15
            word |= match & 0xE00 << 20
        words.append(word)
    generator.shuffle(words)
    return [words[at : at + _INSTRUCTIONS] for at in range(0, len(words), _INSTRUCTIONS)]


def _devices() -> list[list[int]]:
    wait = i_type(0x03, 6, T1, S2, 0x3C)
    copy_in = 64 | 1 << 17 | 1 << 18 | 1 << 20
    transfer = [lw(A1, S3)]
    for value in (copy_in, 0x2000, 0x1C01F000):
        transfer += [*load_immediate(T2, value), sw(T2, S3)]
    two_d = [lw(A1, S3)]
    for value in (64 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 22, 0x2000, 0x1C01F000, 8, 24):
        two_d += [*load_immediate(T2, value), sw(T2, S3)]
    external = [*load_immediate(T2, 0x1C01F000), sw(T2, S4, 4), *load_immediate(T1, 0x80000040)]
    external += [sw(T1, S4, 8), sw(A2, S4), i_type(0x13, 0, T1, ZERO, 64), sw(T1, S4, 8), lw(T1, S4, 12)]
    return [
        [*transfer, wait, lw(T1, S3, 4), sw(T1, S3, 4)],
        [*two_d, *transfer, wait, sw(A1, S3, 4)],
        [i_type(0x03, 6, T1, S2, 0xC0), lw(T1, S0), sw(A0, S0), sw(ZERO, S2, 0xC0), *barrier()],
        [*load_immediate(T2, 15), sw(T2, S2, 0x84), sw(T2, S2, 0x80), i_type(0x03, 6, T1, S2, 0x80)],
        [sw(T2, S2, 0x104), wait, sw(T2, S2, 0x28), lw(T1, S2, 0x20), sw(T1, S2, 4), lw(T2, S2, 0x204)],
        external,
        [*load_immediate(T2, 0x300), sw(T2, S5, 4), sw(T2, S5, 0x10), lw(T1, S5, 12)],
        [*load_immediate(T1, 0x1A10F000), sw(A0, T1), sw(A0, T1, 8), *load_immediate(T2, 10), sw(T2, T1)],
        [*hardware_loop(1, A0, hardware_loop(0, S0, [lw(T1, S0), sw(T1, S0, 4)]))],
        [i_type(0x73, 2, T1, ZERO, number) for number in (0x300, 0x780, 0xB00, 0xCC0, 0xCC1, 0x7B0, 0xF14)],
        [i_type(0x73, 1, ZERO, T1, number) for number in (0x002, 0x305, 0x7B1, 0x79F, 0xCC1)],
        [0x01014501 + n for n in range(0, 0x8000, 0x400)],
        [0x01014002 + n for n in range(0, 0xC000, 0x600)],
        [0x01014000 + n for n in range(0, 0xC000, 0x600)],
    ]


def seeds() -> list[bytes]:
    """The programs to start from."""
    generator = random.Random(1)
    bodies = [*_devices(), *_arithmetic(generator)]
    return [program(body, machine) for body in bodies for machine in generator.sample(MACHINES, 4)]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(seeds()):
        (folder / f"seed{number:03}").write_bytes(image)
