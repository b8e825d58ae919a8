"""Small programs put together word by word, without a compiler: for benchmarks and tests."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

_CODE = 0x1C010000
_L1 = 0x10000000
_EVENT_UNIT = 0x10204000
_EXIT = 0x1A1040A0

ZERO, RA, SP, GP, TP, T0, T1, T2, S0, S1, A0, A1, A2, A3, A4, A5, A6, A7 = range(18)
S2, S3, S4, S5, S6, S7, S8, S9, S10, S11, T3, T4, T5, T6 = range(18, 32)


def r_type(opcode: int, funct3: int, funct7: int, rd: int, rs1: int, rs2: int) -> int:
    """Encode an instruction with two source registers."""
    return funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def r4_type(opcode: int, funct3: int, funct2: int, rd: int, rs1: int, rs2: int, rs3: int) -> int:
    """Encode an instruction with three source registers."""
    return rs3 << 27 | funct2 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def i_type(opcode: int, funct3: int, rd: int, rs1: int, immediate: int) -> int:
    """Encode an instruction with a 12-bit immediate."""
    return (immediate & 0xFFF) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def s_type(opcode: int, funct3: int, rs1: int, rs2: int, immediate: int) -> int:
    """Encode a store."""
    return (
        (immediate >> 5 & 0x7F) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (immediate & 31) << 7 | opcode
    )


def b_type(funct3: int, rs1: int, rs2: int, offset: int) -> int:
    """Encode a branch."""
    return (
        (offset >> 12 & 1) << 31
        | (offset >> 5 & 63) << 25
        | rs2 << 20
        | rs1 << 15
        | funct3 << 12
        | (offset >> 1 & 15) << 8
        | (offset >> 11 & 1) << 7
        | 0x63
    )


def addi(rd: int, rs1: int, immediate: int) -> int:
    """Encode ``addi``."""
    return i_type(0x13, 0, rd, rs1, immediate)


def load_immediate(rd: int, value: int) -> list[int]:
    """Load a 32-bit constant: ``lui`` and ``addi``."""
    value &= 0xFFFFFFFF
    low = (value & 0xFFF) - ((value & 0x800) << 1)
    high = (value - low) & 0xFFFFF000
    words = [high | rd << 7 | 0x37]
    if low:
        words.append(addi(rd, rd, low))
    return words


def lw(rd: int, rs1: int, offset: int = 0) -> int:
    """Encode ``lw``."""
    return i_type(0x03, 2, rd, rs1, offset)


def sw(rs2: int, rs1: int, offset: int = 0) -> int:
    """Encode ``sw``."""
    return s_type(0x23, 2, rs1, rs2, offset)


def read_csr(rd: int, number: int) -> int:
    """Encode ``csrr``."""
    return i_type(0x73, 2, rd, ZERO, number)


def fmadd(rd: int, rs1: int, rs2: int, rs3: int) -> int:
    """Encode ``fmadd.s`` with rounding to nearest."""
    return r4_type(0x43, 0, 0, rd, rs1, rs2, rs3)


def hardware_loop(level: int, count: int, body: Sequence[int]) -> list[int]:
    """Wrap instructions of 4 bytes in a hardware loop whose count is in a register."""
    return [i_type(0x7B, 4, level, count, 2 * len(body)), *body]


def barrier() -> list[int]:
    """Barrier 0 of the event unit: trigger, wait, clear (clobbers t0)."""
    return [*load_immediate(T0, _EVENT_UNIT), i_type(0x03, 6, T0, T0, 0x21C)]


def exit_with(code: int = 0) -> list[int]:
    """End the program (clobbers t0 and t1)."""
    return [
        *load_immediate(T0, _EXIT),
        *load_immediate(T1, 0x80000000 | code),
        sw(T1, T0),
        b_type(0, ZERO, ZERO, 0),
    ]


def cluster_program(
    body: Sequence[int], cores: int = 8, stack: int = 1024, l1_bytes: int = 0x10000
) -> list[int]:
    """Put boot code before a body that every worker executes; core 0 then ends the program.

    The fabric controller starts the cores and sleeps. In the body a0 is the core's number, sp the end
    of its stack at the top of L1, and barrier 0 joins all cores. The last thing is a barrier.

    Parameters
    ----------
    body : sequence of int
        Instructions of 4 bytes; may use every register but sp.
    cores : int, optional
        Workers that are started.
    stack, l1_bytes : int, optional
        Bytes of stack per core, bytes of L1.

    Returns
    -------
    list of int
        Instructions, the entry first.
    """
    mask = (1 << cores) - 1
    controller = [
        *load_immediate(T0, 0x10200000),
        *load_immediate(T1, _CODE),
        *(sw(T1, T0, 0x40 + 4 * core) for core in range(cores)),
        *load_immediate(T3, 0x10201400),
        addi(T1, ZERO, -1),
        sw(T1, T3),
        *load_immediate(T1, mask),
        sw(T1, T0, 8),
        0x10500073,  # wfi
        b_type(0, ZERO, ZERO, -4),
    ]
    boot = [
        read_csr(A0, 0xF14),
        i_type(0x13, 5, A1, A0, 5),
        addi(A2, ZERO, 31),
        b_type(1, A1, A2, 4 * (len(controller) + 1)),
        *controller,
    ]
    worker = [
        i_type(0x13, 7, A0, A0, 31),
        *load_immediate(SP, _L1 + l1_bytes),
        *load_immediate(T0, stack),
        r_type(0x33, 0, 1, T0, T0, A0),
        r_type(0x33, 0, 0x20, SP, SP, T0),
        *load_immediate(T0, _EVENT_UNIT),
        *load_immediate(T1, 1 << 8 | 1 << 16 | 1 << 17 | 1 << 18),
        sw(T1, T0, 0x08),
        *load_immediate(T1, mask),
        sw(T1, T0, 0x200),
        sw(T1, T0, 0x20C),
        *load_immediate(T1, 40),
        addi(T1, T1, -1),
        b_type(1, T1, ZERO, -4),
        *barrier(),
        # the body may change a0: the number is read again at the end
        *body,
        *barrier(),
        read_csr(A0, 0xF14),
        b_type(0, A0, ZERO, 16),
        *load_immediate(T0, _EVENT_UNIT),
        i_type(0x03, 6, T0, T0, 0x3C),
        b_type(0, ZERO, ZERO, -8),
    ]
    # the branch over the waiting loop of the other cores
    position = len(worker) - 3 - len(load_immediate(T0, _EVENT_UNIT))
    worker[position] = b_type(0, A0, ZERO, 4 * (len(worker) - position))
    return [*boot, *worker, *exit_with()]


def build_elf(
    code: Iterable[int],
    data: dict[int, bytes] | None = None,
    symbols: dict[str, tuple[int, int]] | None = None,
    base: int = _CODE,
) -> bytes:
    """Build an ELF executable.

    Parameters
    ----------
    code : iterable of int
        Instructions of 4 bytes; the first is the entry.
    data : dict, optional
        More bytes to load, by address.
    symbols : dict, optional
        Name to address and size; they become function symbols.
    base : int, optional
        Address of the code.
    """
    text = b"".join(struct.pack("<I", word & 0xFFFFFFFF) for word in code)
    parts = [(base, text), *sorted((data or {}).items())]
    names = b"\0"
    table = bytes(16)
    for name, (address, size) in (symbols or {}).items():
        table += struct.pack("<IIIBBH", len(names), address, size, 0x12, 0, 1)
        names += name.encode() + b"\0"
    header_size, entry_size = 52, 32
    offset = header_size + entry_size * len(parts)
    program_headers = b""
    body = b""
    for address, content in parts:
        program_headers += struct.pack(
            "<8I", 1, offset + len(body), address, address, len(content), len(content), 7, 4
        )
        body += content
    symbols_at = offset + len(body)
    names_at = symbols_at + len(table)
    sections_at = names_at + len(names)
    sections = bytes(40)
    sections += struct.pack("<10I", 0, 2, 0, 0, symbols_at, len(table), 2, 1, 4, 16)
    sections += struct.pack("<10I", 0, 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
    header = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)
    header += struct.pack(
        "<HHIIIIIHHHHHH", 2, 243, 1, base, header_size, sections_at, 0, header_size, entry_size,
        len(parts), 40, 3, 0,
    )  # fmt: skip
    return header + program_headers + body + table + names + sections
