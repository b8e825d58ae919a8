"""What each instruction computes, by its definition: (rs1, rs2, rs3, old rd, immediates) to the new rd."""

from __future__ import annotations

from collections.abc import Callable

from golden_half import floats
from golden_operands import M32, Operands, Rule, joined, lanes, signed
from golden_vector import normalised, products, shuffle2, vectors


def _divide(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return -quotient if (a < 0) != (b < 0) else quotient


def _integer() -> dict[str, Rule]:
    s = signed
    rules: dict[str, Callable[[Operands], int]] = {
        "add": lambda o: o.a + o.b,
        "sub": lambda o: o.a - o.b,
        "sll": lambda o: o.a << (o.b & 31),
        "slt": lambda o: s(o.a) < s(o.b),
        "sltu": lambda o: o.a < o.b,
        "xor": lambda o: o.a ^ o.b,
        "srl": lambda o: o.a >> (o.b & 31),
        "sra": lambda o: s(o.a) >> (o.b & 31),
        "or": lambda o: o.a | o.b,
        "and": lambda o: o.a & o.b,
        "mul": lambda o: o.a * o.b,
        "mulh": lambda o: s(o.a) * s(o.b) >> 32,
        "mulhsu": lambda o: s(o.a) * o.b >> 32,
        "mulhu": lambda o: o.a * o.b >> 32,
        "div": lambda o: _divide(s(o.a), s(o.b)) if o.b else -1,
        "divu": lambda o: o.a // o.b if o.b else -1,
        "rem": lambda o: s(o.a) - s(o.b) * _divide(s(o.a), s(o.b)) if o.b else o.a,
        "remu": lambda o: o.a % o.b if o.b else o.a,
        "p.avgu": lambda o: (o.a + o.b & M32) >> 1,
        "p.slet": lambda o: s(o.a) <= s(o.b),
        "p.sletu": lambda o: o.a <= o.b,
        "p.min": lambda o: min(s(o.a), s(o.b)),
        "p.minu": lambda o: min(o.a, o.b),
        "p.max": lambda o: max(s(o.a), s(o.b)),
        "p.maxu": lambda o: max(o.a, o.b),
        "p.ror": lambda o: (o.a | o.a << 32) >> (o.b & 31),
        # the lower bound is looked at first: it matters where it is above the upper one
        "p.clipr": lambda o: s(~o.b) if s(o.a) < s(~o.b) else min(s(o.a), s(o.b)),
        "p.clipur": lambda o: o.b if s(o.a) > s(o.b) else max(s(o.a), 0),
        "p.extractr": lambda o: _extract(o.a, (o.b >> 5 & 31) + 1, o.b & 31, True),
        "p.extractur": lambda o: _extract(o.a, (o.b >> 5 & 31) + 1, o.b & 31, False),
        "p.bclrr": lambda o: o.a & ~_field((o.b >> 5 & 31) + 1, o.b & 31),
        "p.bsetr": lambda o: o.a | _field((o.b >> 5 & 31) + 1, o.b & 31),
        "pv.pack.h": lambda o: o.a << 16 | o.b & 0xFFFF,
    }
    table: dict[str, Rule] = {name: ("R", rule) for name, rule in rules.items()}
    one = {
        "p.ff1": lambda o: (o.a & -o.a).bit_length() - 1 if o.a else 32,
        "p.fl1": lambda o: o.a.bit_length() - 1 if o.a else 32,
        "p.clb": lambda o: 31 - (o.a if not o.a >> 31 else ~o.a & M32).bit_length() if o.a else 0,
        "p.cnt": lambda o: o.a.bit_count(),
        "p.exths": lambda o: signed(o.a, 16),
        "p.exthz": lambda o: o.a & 0xFFFF,
        "p.extbs": lambda o: signed(o.a, 8),
        "p.extbz": lambda o: o.a & 0xFF,
        "p.abs": lambda o: abs(signed(o.a)),
        "pv.abs.h": lambda o: joined([abs(x) for x in lanes(o.a, 16, True)], 16),
        "pv.abs.b": lambda o: joined([abs(x) for x in lanes(o.a, 8, True)], 8),
    }
    table |= {name: ("R1", rule) for name, rule in one.items()}
    immediate = {
        "addi": lambda o: o.a + signed(o.n, 12),
        "slti": lambda o: s(o.a) < signed(o.n, 12),
        "sltiu": lambda o: o.a < signed(o.n, 12) & M32,
        "xori": lambda o: o.a ^ signed(o.n, 12),
        "ori": lambda o: o.a | signed(o.n, 12),
        "andi": lambda o: o.a & signed(o.n, 12),
    }
    table |= {name: ("I", rule) for name, rule in immediate.items()}
    shifts = {
        "slli": lambda o: o.a << (o.n & 31),
        "srli": lambda o: o.a >> (o.n & 31),
        "srai": lambda o: s(o.a) >> (o.n & 31),
        "p.clip": lambda o: min(max(s(o.a), -_bound(o.n & 31)), _bound(o.n & 31) - 1),
        "p.clipu": lambda o: min(max(s(o.a), 0), _bound(o.n & 31) - 1),
    }
    table |= {name: ("shift", rule) for name, rule in shifts.items()}
    accumulate = {
        "p.mac": lambda o: o.d + o.a * o.b,
        "p.msu": lambda o: o.d - o.a * o.b,
        "p.insertr": lambda o: _insert(o.d, o.a, (o.b >> 5 & 31) + 1, o.b & 31),
        "pv.packhi.b": lambda o: (o.a & 255) << 24 | (o.b & 255) << 16 | o.d & 0xFFFF,
        "pv.packlo.b": lambda o: (o.a & 255) << 8 | o.b & 255 | o.d & 0xFFFF0000,
        "pv.shuffle2.h": lambda o: shuffle2(o.a, o.b, o.d, 16),
        "pv.shuffle2.b": lambda o: shuffle2(o.a, o.b, o.d, 8),
    }
    for rounding in (False, True):
        for is_signed in (True, False):
            for subtract in (False, True):
                stem = f"p.{'sub' if subtract else 'add'}{'' if is_signed else 'u'}{'R' if rounding else ''}N"
                table[stem] = (
                    "RN",
                    lambda o, k=(rounding, is_signed, subtract): normalised(o.a, o.b, o.n & 31, *k),
                )
                accumulate[stem + "r"] = lambda o, k=(rounding, is_signed, subtract): normalised(
                    o.d, o.a, o.b & 31, *k
                )
            for high in (False, True):
                stem = f"{'hh' if high else ''}{'s' if is_signed else 'u'}{'R' if rounding else ''}N"
                table["p.mul" + stem] = (
                    "RN",
                    lambda o, k=(rounding, is_signed, high): products(o.a, o.b, 0, o.n & 31, *k, False),
                )
                table["p.mac" + stem] = (
                    "RNAcc",
                    lambda o, k=(rounding, is_signed, high): products(o.a, o.b, o.d, o.n & 31, *k, True),
                )
    table |= {name: ("RAcc", rule) for name, rule in accumulate.items()}
    fields = {
        "p.extract": lambda o: _extract(o.a, (o.n & 31) + 1, o.m, True),
        "p.extractu": lambda o: _extract(o.a, (o.n & 31) + 1, o.m, False),
        "p.bclr": lambda o: o.a & ~_field((o.n & 31) + 1, o.m),
        "p.bset": lambda o: o.a | _field((o.n & 31) + 1, o.m),
        "p.insert": lambda o: _insert(o.d, o.a, (o.n & 31) + 1, o.m),
    }
    table |= {name: ("bits", rule) for name, rule in fields.items()}
    return table


def _bound(bits: int) -> int:
    # the immediate 0 stands for one value less than a bit would give
    return 1 << max(bits - 1, 0)


def _field(width: int, shift: int) -> int:
    return ((1 << width) - 1) << shift & M32


def _extract(value: int, width: int, shift: int, is_signed: bool) -> int:
    width = min(width, 32 - shift)
    part = value >> shift & ((1 << width) - 1)
    return signed(part, width) if is_signed else part


def _insert(target: int, value: int, width: int, shift: int) -> int:
    mask = _field(width, shift)
    return target & ~mask | value << shift & mask


RULES: dict[str, Rule] = _integer() | vectors() | floats()
