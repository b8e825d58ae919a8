"""How fast the simulator is: lines of simulated instructions a second.

The workloads are the inner loops of matrix products as the compiler's kernels have them: 16 fused
multiply-adds and 8 loads, or 16 dot products of bytes and 8 loads, in a hardware loop, on 8 cores.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from .configuration import Configuration
from .machine import Machine
from .programs import (
    A1,
    A2,
    A3,
    S0,
    T1,
    T2,
    T3,
    ZERO,
    addi,
    b_type,
    build_elf,
    cluster_program,
    fmadd,
    hardware_loop,
    i_type,
    load_immediate,
    lw,
    r_type,
)  # fmt: skip

# What GVSoC does on the same kind of work, measured once on a comparable machine.
GVSOC_INSTRUCTIONS_PER_SECOND = 3e6

_ACCUMULATORS = tuple(range(16, 32))


def fma_program(rounds: int) -> bytes:
    """Build a program of 8 cores, each ``rounds`` times 16 FMAs and 8 loads."""
    body = []
    for n, accumulator in enumerate(_ACCUMULATORS):
        body.append(fmadd(accumulator, (A2, A3, 14, 15)[n // 4], (5, 6, 7, 9)[n % 4], accumulator))
        if n % 2:
            body.append(lw((A2, A3, 14, 15, 5, 6, 7, 9)[n // 2], A1, 4 * (n // 2)))
    return _looped(body, rounds)


def dot_program(rounds: int) -> bytes:
    """Build a program of 8 cores, each ``rounds`` times 8 loads and 16 dot products of bytes."""
    registers = (A2, A3, 14, 15, 5, 6, 7, 9)
    body = [lw(register, A1, 4 * n) for n, register in enumerate(registers)]
    body += [
        r_type(0x57, 1, 0x5C, accumulator, registers[n // 4], registers[4 + n % 4])
        for n, accumulator in enumerate(_ACCUMULATORS)
    ]
    return _looped(body, rounds)


def integer_program(rounds: int) -> bytes:
    """Build a program of 8 cores of plain integer code with a branch every eight instructions."""
    body = [addi(T1, T1, 1), r_type(0x33, 4, 0, T2, T2, T1), r_type(0x33, 0, 0, T3, T3, T2)] * 2
    back = b_type(1, S0, ZERO, -4 * (len(body) + 1))
    return build_elf(cluster_program([*load_immediate(S0, rounds), *body, addi(S0, S0, -1), back]))


def _looped(body: list[int], rounds: int) -> bytes:
    # a0 is the core's number: each core reads its own words of L1
    start = [
        i_type(0x13, 1, A1, 10, 5),
        *load_immediate(T1, 0x10000000),
        r_type(0x33, 0, 0, A1, A1, T1),
        *(addi(register, ZERO, 0) for register in (A2, A3, 14, 15, 5, 6, 7, 9, *_ACCUMULATORS)),
        *load_immediate(S0, rounds),
    ]
    return build_elf(cluster_program([*start, *hardware_loop(0, S0, body)]))


def measure(program: bytes, timing: bool, checks: bool = False) -> tuple[float, int]:
    """Run a program once.

    Returns
    -------
    tuple of float and int
        Simulated instructions a second of host time, and instructions.
    """
    machine = Machine(Configuration.named("pulp-open"), timing=timing, checks=checks)
    machine.load(program)
    begin = time.perf_counter()
    result = machine.run()
    return result.instructions / (time.perf_counter() - begin), result.instructions


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the speed of the simulator on each workload."""
    del arguments
    rounds = 60_000
    workloads = (
        ("8 cores, 16 FMA and 8 loads", fma_program(rounds)),
        ("8 cores, 16 byte dot products and 8 loads", dot_program(rounds)),
        ("8 cores, integer code and branches", integer_program(3 * rounds)),
    )
    for name, program in workloads:
        for mode, timing, checks in (
            ("timing", True, False),
            ("timing, checks", True, True),
            ("no timing", False, False),
        ):
            speed, instructions = max(measure(program, timing, checks) for _ in range(3))
            times = speed / GVSOC_INSTRUCTIONS_PER_SECOND
            print(
                f"simulator: {name:<42} {mode:<15} {speed / 1e6:7.1f} M instructions/s"
                f" ({instructions / 1e6:.1f} M; GVSoC about 3 M/s: {times:.0f} times)"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
