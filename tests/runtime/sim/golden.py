"""What each instruction computes, by its definition: (rs1, rs2, rs3, old rd, immediates) to the new rd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import golden_float as ieee
from golden_float import AWAY, BRAIN, DOWN, HALF, NEAREST, SINGLE, UP, ZERO, Format

M32 = 0xFFFFFFFF
MODES = (NEAREST, ZERO, DOWN, UP, AWAY)


@dataclass(frozen=True)
class Operands:
    a: int
    b: int
    c: int
    d: int
    n: int = 0  # first immediate (6 bits are drawn; each format takes its own)
    m: int = 0  # second immediate
    mode: int = NEAREST


Rule = tuple[str, Callable[[Operands], int]]


def signed(value: int, bits: int = 32) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def lanes(value: int, bits: int, is_signed: bool) -> list[int]:
    parts = [value >> shift & ((1 << bits) - 1) for shift in range(0, 32, bits)]
    return [signed(part, bits) for part in parts] if is_signed else parts


def joined(values: list[int], bits: int) -> int:
    return sum((value & ((1 << bits) - 1)) << (bits * n) for n, value in enumerate(values))


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
        "p.clipr": lambda o: (
            o.b
            if s(o.a) > s(o.b)
            else max(s(o.a), -s(o.b) - 1)
            if s(o.b) >= 0
            else s(~o.b)
            if s(o.a) < s(~o.b)
            else o.a
        ),
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
        "pv.shuffle2.h": lambda o: _shuffle2(o.a, o.b, o.d, 16),
        "pv.shuffle2.b": lambda o: _shuffle2(o.a, o.b, o.d, 8),
    }
    for rounding in (False, True):
        for is_signed in (True, False):
            for subtract in (False, True):
                stem = f"p.{'sub' if subtract else 'add'}{'' if is_signed else 'u'}{'R' if rounding else ''}N"
                table[stem] = (
                    "RN",
                    lambda o, k=(rounding, is_signed, subtract): _normalised(o.a, o.b, o.n & 31, *k),
                )
                accumulate[stem + "r"] = lambda o, k=(rounding, is_signed, subtract): _normalised(
                    o.d, o.a, o.b & 31, *k
                )
            for high in (False, True):
                stem = f"{'hh' if high else ''}{'s' if is_signed else 'u'}{'R' if rounding else ''}N"
                table["p.mul" + stem] = (
                    "RN",
                    lambda o, k=(rounding, is_signed, high): _products(o.a, o.b, 0, o.n & 31, *k),
                )
                table["p.mac" + stem] = (
                    "RNAcc",
                    lambda o, k=(rounding, is_signed, high): _products(o.a, o.b, o.d, o.n & 31, *k),
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


def _shift(total: int, n: int, rounding: bool, is_signed: bool) -> int:
    total = total + (1 << (n - 1) if rounding and n else 0) & M32
    return (signed(total) if is_signed else total) >> n


def _normalised(a: int, b: int, n: int, rounding: bool, is_signed: bool, subtract: bool) -> int:
    return _shift(a - b if subtract else a + b, n, rounding, is_signed)


def _products(a: int, b: int, d: int, n: int, rounding: bool, is_signed: bool, high: bool) -> int:
    x, y = (lanes(v, 16, is_signed)[1 if high else 0] for v in (a, b))
    return _shift(d + x * y, n, rounding, is_signed)


def _shuffle2(a: int, selectors: int, d: int, bits: int) -> int:
    count = 32 // bits
    both = lanes(d, bits, False) + lanes(a, bits, False)
    return joined([both[selector % (2 * count)] for selector in lanes(selectors, bits, False)], bits)


def _vectors() -> dict[str, Rule]:
    table: dict[str, Rule] = {}
    minus_one = {True: -1, False: 0}
    signed_ops: dict[str, Callable[[int, int, int], int]] = {
        "add": lambda x, y, w: x + y,
        "sub": lambda x, y, w: x - y,
        "avg": lambda x, y, w: signed(x + y, w) >> 1,
        "min": lambda x, y, w: min(x, y),
        "max": lambda x, y, w: max(x, y),
        "sra": lambda x, y, w: x >> (y % w),
        "or": lambda x, y, w: x | y,
        "xor": lambda x, y, w: x ^ y,
        "and": lambda x, y, w: x & y,
        "cmpeq": lambda x, y, w: minus_one[x == y],
        "cmpne": lambda x, y, w: minus_one[x != y],
        "cmpgt": lambda x, y, w: minus_one[x > y],
        "cmpge": lambda x, y, w: minus_one[x >= y],
        "cmplt": lambda x, y, w: minus_one[x < y],
        "cmple": lambda x, y, w: minus_one[x <= y],
    }
    unsigned_ops: dict[str, Callable[[int, int, int], int]] = {
        "avgu": lambda x, y, w: (x + y) % (1 << w) >> 1,
        "minu": signed_ops["min"],
        "maxu": signed_ops["max"],
        "srl": lambda x, y, w: x >> (y % w),
        "sll": lambda x, y, w: x << (y % w),
        "cmpgtu": signed_ops["cmpgt"],
        "cmpgeu": signed_ops["cmpge"],
        "cmpltu": signed_ops["cmplt"],
        "cmpleu": signed_ops["cmple"],
    }
    for is_signed, ops in ((True, signed_ops), (False, unsigned_ops)):
        for name, op in ops.items():
            for suffix, bits in ((".h", 16), (".b", 8)):
                for kind in ("", ".sc", ".sci"):

                    def rule(o: Operands, k=(op, bits, kind, is_signed, is_signed)) -> int:
                        op, bits, kind, sign_a, sign_b = k
                        pairs = zip(lanes(o.a, bits, sign_a), _second(o, bits, kind, sign_b), strict=True)
                        return joined([op(x, y, bits) for x, y in pairs], bits)

                    table[f"pv.{name}{kind}{suffix}"] = ("vec" if kind == ".sci" else "R", rule)
    for stem, sign_a, sign_b in (("sp", True, True), ("up", False, False), ("usp", False, True)):
        for suffix, bits in ((".h", 16), (".b", 8)):
            for kind in ("", ".sc", ".sci"):
                for accumulate in (False, True):

                    def dot(o: Operands, k=(bits, kind, sign_a, sign_b, accumulate)) -> int:
                        bits, kind, sign_a, sign_b, accumulate = k
                        pairs = zip(lanes(o.a, bits, sign_a), _second(o, bits, kind, sign_b), strict=True)
                        return (o.d if accumulate else 0) + sum(x * y for x, y in pairs)

                    form = ("vec" if kind == ".sci" else "R") + ("Acc" if accumulate else "")
                    table[f"pv.{'s' if accumulate else ''}dot{stem}{kind}{suffix}"] = (form, dot)
    for suffix, bits in ((".h", 16), (".b", 8)):
        count = 32 // bits
        table[f"pv.extract{suffix}"] = ("vec", lambda o, b=bits, c=count: lanes(o.a, b, True)[o.n % c])
        table[f"pv.extractu{suffix}"] = ("vec", lambda o, b=bits, c=count: lanes(o.a, b, False)[o.n % c])

        def insert(o: Operands, b: int = bits, c: int = count) -> int:
            parts = lanes(o.d, b, False)
            parts[o.n % c] = o.a
            return joined(parts, b)

        table[f"pv.insert{suffix}"] = ("vecAcc", insert)
        table[f"pv.shuffle{suffix}"] = (
            "R",
            lambda o, b=bits, c=count: joined([lanes(o.a, b, False)[x % c] for x in lanes(o.b, b, False)], b),
        )
    table["pv.shuffle.sci.h"] = (
        "vec",
        lambda o: joined([lanes(o.a, 16, False)[o.n >> n & 1] for n in range(2)], 16),
    )
    for top in range(4):

        def shuffle(o: Operands, top: int = top) -> int:
            parts = lanes(o.a, 8, False)
            return joined([parts[o.n >> 2 * n & 3] for n in range(3)] + [parts[top]], 8)

        table[f"pv.shuffleI{top}.sci.b"] = ("vec", shuffle)
    return table


def _second(o: Operands, bits: int, kind: str, is_signed: bool) -> list[int]:
    if kind == "":
        return lanes(o.b, bits, is_signed)
    if kind == ".sc":
        return [lanes(o.b, bits, is_signed)[0]] * (32 // bits)
    immediate = signed(o.n, 6) if is_signed else o.n & 63
    return [lanes(immediate & M32, bits, is_signed)[0]] * (32 // bits)


def _scalar_float(f: Format, suffix: str, modes: bool) -> dict[str, Rule]:
    """Rules of one scalar format; `modes` tells whether the instructions carry a rounding mode."""

    def mode(o: Operands) -> int:
        return o.mode if modes else NEAREST

    def negate(x: int) -> int:
        return x ^ f.sign

    def signs(bits: int) -> int:
        return signed(bits, f.bits)

    kind = "rounded" if modes else ""
    r: dict[str, Rule] = {
        "fmadd": ("R4" + kind, lambda o: ieee.fused(f, o.a, o.b, o.c, mode(o))),
        "fmsub": ("R4" + kind, lambda o: ieee.fused(f, o.a, o.b, negate(o.c), mode(o))),
        "fnmsub": ("R4" + kind, lambda o: ieee.fused(f, negate(o.a), o.b, o.c, mode(o))),
        "fnmadd": ("R4" + kind, lambda o: ieee.fused(f, negate(o.a), o.b, negate(o.c), mode(o))),
        "fadd": ("R" + kind, lambda o: ieee.add(f, o.a, o.b, mode(o))),
        "fsub": ("R" + kind, lambda o: ieee.add(f, o.a, negate(o.b), mode(o))),
        "fmul": ("R" + kind, lambda o: ieee.multiply(f, o.a, o.b, mode(o))),
        "fdiv": ("R" + kind, lambda o: ieee.divide(f, o.a, o.b, mode(o))),
        "fsqrt": ("R1" + kind, lambda o: ieee.square_root(f, o.a, mode(o))),
        "fsgnj": ("R", lambda o: signs(o.a & ~f.sign & f.mask | o.b & f.sign)),
        "fsgnjn": ("R", lambda o: signs(o.a & ~f.sign & f.mask | ~o.b & f.sign)),
        "fsgnjx": ("R", lambda o: signs(o.a & f.mask ^ o.b & f.sign)),
        "fmin": ("R", lambda o: ieee.smaller(f, o.a, o.b, True)),
        "fmax": ("R", lambda o: ieee.smaller(f, o.a, o.b, False)),
        "feq": ("R", lambda o: ieee.compare(f, o.a, o.b) == 0),
        "flt": ("R", lambda o: ieee.compare(f, o.a, o.b) == -1),
        "fle": ("R", lambda o: ieee.compare(f, o.a, o.b) in (-1, 0)),
        "fclass": ("R1", lambda o: ieee.classify(f, o.a)),
    }
    table = {name + suffix: rule for name, rule in r.items()}
    low, high = -(1 << 31), (1 << 31) - 1
    table[f"fcvt.w{suffix}"] = ("R1" + kind, lambda o: ieee.to_integer(f, o.a, low, high, mode(o)))
    table[f"fcvt.wu{suffix}"] = ("R1" + kind, lambda o: ieee.to_integer(f, o.a, 0, M32, mode(o)))
    table[f"fcvt{suffix}.w"] = ("R1" + kind, lambda o: ieee.rounded(f, ieee.Fraction(signed(o.a)), mode(o)))
    table[f"fcvt{suffix}.wu"] = ("R1" + kind, lambda o: ieee.rounded(f, ieee.Fraction(o.a), mode(o)))
    return table


def _expand(f: Format, bits: int) -> int:
    return ieee.convert(f, SINGLE, bits)


def _float() -> dict[str, Rule]:
    table = (
        _scalar_float(SINGLE, ".s", True)
        | _scalar_float(HALF, ".h", True)
        | _scalar_float(BRAIN, ".ah", False)
    )
    table |= {
        "fmv.x.s": ("R1", lambda o: o.a),
        "fmv.s.x": ("R1", lambda o: o.a),
        "fcvt.h.s": ("R1rounded", lambda o: ieee.convert(SINGLE, HALF, o.a, o.mode)),
        "fcvt.ah.s": ("R1", lambda o: ieee.convert(SINGLE, BRAIN, o.a)),
        "fcvt.h.ah": ("R1rounded", lambda o: ieee.convert(BRAIN, HALF, o.a, o.mode)),
        "fcvt.ah.h": ("R1", lambda o: ieee.convert(HALF, BRAIN, o.a)),
    }
    for f, suffix in ((HALF, ".h"), (BRAIN, ".ah")):
        modes = "rounded" if f is HALF else ""
        table[f"fmv.x{suffix}"] = ("R1", lambda o: signed(o.a, 16))
        table[f"fmv{suffix}.x"] = ("R1", lambda o: o.a & 0xFFFF)
        table[f"fcvt.s{suffix}"] = ("R1", lambda o, f=f: _expand(f, o.a))
        # the products are exact in single precision but for the range of bfloat16
        table[f"fmulex.s{suffix}"] = (
            "R" if not modes else "Rnearest",
            lambda o, f=f: ieee.multiply(SINGLE, _expand(f, o.a), _expand(f, o.b)),
        )
        table[f"fmacex.s{suffix}"] = (
            "RAcc" if not modes else "RAccnearest",
            lambda o, f=f: ieee.fused(SINGLE, _expand(f, o.a), _expand(f, o.b), o.d),
        )
        table |= _pairs(f, suffix)
    return table


def _halves(value: int, replicate: bool = False) -> tuple[int, int]:
    return value & 0xFFFF, value & 0xFFFF if replicate else value >> 16


def _pairs(f: Format, suffix: str) -> dict[str, Rule]:
    table: dict[str, Rule] = {}
    two: dict[str, Callable[[int, int], int]] = {
        "add": lambda x, y: ieee.add(f, x, y),
        "sub": lambda x, y: ieee.add(f, x, y ^ f.sign),
        "mul": lambda x, y: ieee.multiply(f, x, y),
        "div": lambda x, y: ieee.divide(f, x, y),
        "min": lambda x, y: ieee.smaller(f, x, y, True),
        "max": lambda x, y: ieee.smaller(f, x, y, False),
        "sgnj": lambda x, y: x & 0x7FFF | y & 0x8000,
        "sgnjn": lambda x, y: x & 0x7FFF | ~y & 0x8000,
        "sgnjx": lambda x, y: x ^ y & 0x8000,
    }
    tests: dict[str, Callable[[int | None], bool]] = {
        "eq": lambda c: c == 0,
        "ne": lambda c: c != 0,
        "lt": lambda c: c == -1,
        "ge": lambda c: c in (0, 1),
        "le": lambda c: c in (-1, 0),
        "gt": lambda c: c == 1,
    }
    for replicate, mark in ((False, ""), (True, ".r")):
        for name, op in two.items():

            def pair(o: Operands, k=(op, replicate)) -> int:
                op, replicate = k
                xs, ys = _halves(o.a), _halves(o.b, replicate)
                return joined([op(x, y) for x, y in zip(xs, ys, strict=True)], 16)

            table[f"vf{name}{mark}{suffix}"] = ("R", pair)
        for name, test in tests.items():

            def compared(o: Operands, k=(test, replicate)) -> int:
                test, replicate = k
                xs, ys = _halves(o.a), _halves(o.b, replicate)
                return sum(
                    test(ieee.compare(f, x, y)) << n for n, (x, y) in enumerate(zip(xs, ys, strict=True))
                )

            table[f"vf{name}{mark}{suffix}"] = ("R", compared)
        for name, flip in (("mac", 0), ("mre", f.sign)):

            def fused(o: Operands, k=(flip, replicate)) -> int:
                flip, replicate = k
                parts = zip(_halves(o.a), _halves(o.b, replicate), _halves(o.d), strict=True)
                return joined([ieee.fused(f, x ^ flip, y, z) for x, y, z in parts], 16)

            table[f"vf{name}{mark}{suffix}"] = ("RAcc", fused)
        if f is HALF:
            for name, flip in (("vfdotpex", 0), ("vfndotpex", SINGLE.sign)):

                def dot(o: Operands, k=(flip, replicate)) -> int:
                    flip, replicate = k
                    (a0, a1), (b0, b1) = _halves(o.a), _halves(o.b, replicate)
                    low = ieee.multiply(SINGLE, _expand(f, a0), _expand(f, b0))
                    both = ieee.fused(SINGLE, _expand(f, a1), _expand(f, b1), low)
                    return ieee.add(SINGLE, o.d, both ^ flip)

                table[f"{name}.s{mark}.h"] = ("RAcc", dot)
        else:

            def brain(o: Operands, replicate: bool = replicate) -> int:
                (a0, a1), (b0, b1) = _halves(o.a), _halves(o.b, replicate)
                high = ieee.multiply(SINGLE, _expand(f, a1), _expand(f, b1))
                return ieee.fused(SINGLE, _expand(f, a0), _expand(f, b0), high)  # the accumulator is lost

            table[f"vfdotpex.s{mark}.ah"] = ("RAcc", brain)
    table[f"vfsqrt{suffix}"] = ("R1", lambda o: joined([ieee.square_root(f, x) for x in _halves(o.a)], 16))
    table[f"vfcpka{suffix}.s"] = (
        "R",
        lambda o: joined([ieee.convert(SINGLE, f, o.a), ieee.convert(SINGLE, f, o.b)], 16),
    )
    table[f"vfcvt.x{suffix}"] = (
        "R1",
        lambda o: joined([ieee.to_integer(f, x, -32768, 32767, NEAREST) for x in _halves(o.a)], 16),
    )
    table[f"vfcvt{suffix}.x"] = (
        "R1",
        lambda o: joined([ieee.rounded(f, ieee.Fraction(signed(x, 16))) for x in _halves(o.a)], 16),
    )
    return table


RULES: dict[str, Rule] = _integer() | _vectors() | _float()
