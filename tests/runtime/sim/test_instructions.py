"""Every arithmetic instruction against its definition, on random and on special operands."""

import dataclasses
import struct

import pytest
from golden import RULES
from golden_operands import MODES, Operands, Rule
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_pulp.runtime.sim import Machine, _sim
from tvm_pulp.runtime.sim.programs import (
    A0,
    A1,
    A2,
    A3,
    T1,
    T2,
    ZERO,
    b_type,
    build_elf,
    exit_with,
    load_immediate,
    lw,
    sw,
)

ENCODINGS = {name: (mask, match) for name, mask, match in _sim.encodings()}
# Loads, stores, jumps, CSRs and loops have tests of their own.
_OTHER_KINDS = (
    "l",
    "s",
    "p.l",
    "p.s",
    "b",
    "p.b",
    "j",
    "csr",
    "fence",
    "e",
    "m",
    "w",
    "flw",
    "fsw",
    "flh",
    "fsh",
    "p.elw",
)
ELSEWHERE = {name for name in ENCODINGS if name.startswith(_OTHER_KINDS) and name not in RULES}
ELSEWHERE.add("auipc")
DATA = 0x1C100000
SPECIAL = (
    0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0x80000001,
    0xFFFFFFFF, 0x3F800000, 0xBF800000, 0x00800000, 0x007FFFFF, 0x7F7FFFFF, 0x7F800000,
    0xFF800000, 0x7FC00000, 0x7F800001, 0x4F000000, 0xCF000000, 0x4F800000, 0x3C003C00,
    0x7C007C00, 0xFC00FC00, 0x7E007E00, 0x7C017C01, 0x04000400, 0x03FF03FF, 0x7BFF7BFF,
    0xFBFF0001, 0x80008000, 0x3F803F80, 0x7F807F80, 0x47FF8000, 0x477FE000, 0x477FF000,
    0x33000000, 0x33000001, 0x38800000, 0x3EFFFFFF, 0x3F000000, 0x3FC00000, 0x40200000,
)  # fmt: skip

words = st.one_of(st.sampled_from(SPECIAL), st.integers(0, 2**32 - 1))


@st.composite
def operands(draw: st.DrawFn) -> Operands:
    return Operands(
        draw(words), draw(words), draw(words), draw(words),
        draw(st.integers(0, 4095)), draw(st.integers(0, 31)), draw(st.sampled_from(MODES)),
    )  # fmt: skip


Registers = tuple[int, int, int, int]


def encode(name: str, form: str, o: Operands, registers: Registers = (A0, A1, A2, A3)) -> int:
    """The instruction with these registers as rs1, rs2, rs3 and rd."""
    rs1, rs2, rs3, rd = registers
    mask, match = ENCODINGS[name]
    word = match
    two = form.startswith(("R", "bits")) and not form.startswith(("R1", "bits"))
    fields = [(rd, 7), (rs1, 15)]
    if two:
        fields.append((rs2, 20))
    if form.startswith("R4"):
        fields.append((rs3, 27))
    if form.startswith("RN"):
        fields.append((o.n & 31, 25))
    if form == "I":
        fields.append((o.n & 0xFFF, 20))
    if form == "shift":
        fields.append((o.n & 31, 20))
    if form == "bits":
        fields += [(o.n & 31, 25), (o.m, 20)]
    if form.startswith("vec"):
        fields += [(o.n >> 1 & 31, 20), (o.n & 1, 25)]
    if form.endswith("rounded"):
        fields.append((o.mode, 12))
    for field, position in fields:
        word |= field << position
    assert word & mask == match, f"{name}: operands change the opcode"
    return word


def results(name: str, form: str, vectors: list[Operands]) -> list[int]:
    code = load_immediate(T1, DATA)
    for o in vectors:
        for register, value in ((A0, o.a), (A1, o.b), (A2, o.c), (A3, o.d)):
            code += load_immediate(register, value)
        code += [encode(name, form, o), sw(A3, T1), 0x00430313]  # addi t1, t1, 4
    code += [
        *load_immediate(T1, 0x1A1040A0),
        *load_immediate(T2, 0x80000000),
        sw(T2, T1),
        b_type(0, ZERO, ZERO, 0),
    ]
    machine = Machine(timing=False)
    machine.load(build_elf(code))
    machine.run(1_000_000)
    return list(struct.unpack(f"<{len(vectors)}I", machine.read(DATA, 4 * len(vectors))))


def expected(name: str, o: Operands) -> int:
    return int(RULES[name][1](o)) & 0xFFFFFFFF


def test_every_instruction_has_a_rule() -> None:
    assert sorted(set(ENCODINGS) - set(RULES) - ELSEWHERE) == []
    assert sorted(set(RULES) - set(ENCODINGS)) == []


@pytest.mark.parametrize("name", sorted(RULES))
def test_special_operands(name: str) -> None:
    form = RULES[name][0]
    count = len(SPECIAL)
    vectors = [
        Operands(
            a,
            SPECIAL[(7 * i + k) % count],
            SPECIAL[(11 * i + 3 * k) % count],
            SPECIAL[(5 * i + k) % count],
            (37 * i + k) & 4095,
            (3 * i + k) & 31,
            MODES[(i + k) % len(MODES)],
        )
        for i, a in enumerate(SPECIAL)
        for k in range(3)
    ]
    found = results(name, form, vectors)
    wrong = [
        (o, hex(x), hex(expected(name, o)))
        for o, x in zip(vectors, found, strict=True)
        if x != expected(name, o)
    ]
    assert wrong[:3] == []


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(RULES)), st.lists(operands(), min_size=1, max_size=12))
def test_random_operands(name: str, vectors: list[Operands]) -> None:
    rule: Rule = RULES[name]
    found = results(name, rule[0], vectors)
    assert [hex(x) for x in found] == [hex(expected(name, o)) for o in vectors]


POOL = (ZERO, *range(A0, A0 + 8))
register = st.sampled_from(POOL)
steps = st.tuples(
    st.sampled_from(sorted(RULES)), operands(), st.tuples(register, register, register, register)
)


@settings(max_examples=100, deadline=None)
@given(st.lists(words, min_size=8, max_size=8), st.lists(steps, min_size=1, max_size=40), st.booleans())
def test_random_sequences(
    start: list[int], sequence: list[tuple[str, Operands, Registers]], timing: bool
) -> None:
    """Results are operands of what follows, sources and destination may be the same, x0 among them."""
    values = dict(zip(POOL, [0, *start], strict=True))
    code = [word for number in POOL[1:] for word in load_immediate(number, values[number])]
    for name, immediates, (rs1, rs2, rs3, rd) in sequence:
        form, rule = RULES[name]
        code.append(encode(name, form, immediates, (rs1, rs2, rs3, rd)))
        inputs = {"a": values[rs1], "b": values[rs2], "c": values[rs3], "d": values[rd]}
        result = rule(dataclasses.replace(immediates, **inputs)) & 0xFFFFFFFF
        if rd != ZERO:
            values[rd] = result
    code += load_immediate(T1, DATA)
    code += [sw(number, T1, 4 * i) for i, number in enumerate(POOL)]
    machine = Machine(timing=timing)
    machine.load(build_elf([*code, *exit_with()]))
    machine.run(1_000_000)
    found = struct.unpack(f"<{len(POOL)}I", machine.read(DATA, 4 * len(POOL)))
    assert [hex(x) for x in found] == [hex(x) for x in values.values()]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        # as GNU's .insn assembles the forms of the facts page, registers a3, a0, a1
        ("p.mac", 0x42B506B3),
        ("p.max", 0x04B566B3),
        ("pv.sdotsp.b", 0xB8B516D7),
        ("pv.sdotsp.h", 0xB8B506D7),
        ("vfmac.h", 0x90B526B3),
        ("vfmac.ah", 0x90B516B3),
        ("vfdotpex.s.h", 0x96B506B3),
        ("vfcpka.h.s", 0xB0B526B3),
        ("fcvt.s.h", 0x402506D3),
        ("p.lw (post)", 0x0045268B),
        ("p.lw (post reg)", 0x20B5768B),
        ("p.sw (post)", 0x00B5222B),
        ("lp.setup", 0x00A5407B),
        ("lp.setupi", 0x0644507B),
        ("p.elw", 0x00056683),
    ],
)
def test_encodings_of_the_assembler(name: str, word: int) -> None:
    matching = [other for other, (mask, match) in ENCODINGS.items() if word & mask == match]
    best = max(matching, key=lambda other: ENCODINGS[other][0].bit_count())
    assert best == name


def test_encodings_do_not_collide() -> None:
    rows = list(ENCODINGS.items())
    for i, (name, (mask, match)) in enumerate(rows):
        for other, (other_mask, other_match) in rows[i + 1 :]:
            both = mask & other_mask
            if match & both == other_match & both:
                # one has to be the special case of the other
                assert both in (mask, other_mask), (name, other)


def test_x0_stays_zero() -> None:
    code = [lw(ZERO, ZERO, 0)]
    code = [*load_immediate(T1, DATA), 0x00500013, lw(ZERO, T1), 0x00A00033, sw(ZERO, T1, 4)]
    code += [*load_immediate(T1, 0x1A1040A0), *load_immediate(T2, 0x80000000), sw(T2, T1)]
    machine = Machine()
    machine.load(build_elf(code, data={DATA: b"\xff" * 8}))
    machine.run(10_000)
    assert machine.read(DATA + 4, 4) == bytes(4)
