"""What the floating-point instructions compute: scalars of three formats, pairs, expanding products."""

from __future__ import annotations

from collections.abc import Callable

import golden_float as ieee
from golden_float import BRAIN, HALF, NEAREST, SINGLE, Format
from golden_operands import M32, Operands, Rule, joined, signed


def _scalar_float(f: Format, suffix: str, modes: bool) -> dict[str, Rule]:
    """Rules of one scalar format; `modes` tells whether the instructions carry a rounding mode."""

    def mode(o: Operands) -> int:
        return o.mode if modes else NEAREST

    def smaller(o: Operands, minimum: bool) -> int:
        # the number that a NaN loses to keeps the whole register
        for x, other in ((o.a, o.b), (o.b, o.a)):
            if ieee.is_nan(f, x) and not ieee.is_nan(f, other):
                return other
        return signs(ieee.smaller(f, o.a, o.b, minimum))

    def fused_negated(o: Operands) -> int:
        return ieee.negated(f, ieee.fused(f, o.a, o.b, o.c, ieee.mirrored(mode(o))))

    def negate(x: int) -> int:
        return x ^ f.sign

    def signs(bits: int) -> int:
        return signed(bits, f.bits)

    kind = "rounded" if modes else ""
    r: dict[str, Rule] = {
        "fmadd": ("R4" + kind, lambda o: signs(ieee.fused(f, o.a, o.b, o.c, mode(o)))),
        "fmsub": ("R4" + kind, lambda o: signs(ieee.fused(f, o.a, o.b, negate(o.c), mode(o)))),
        "fnmsub": ("R4" + kind, lambda o: signs(ieee.fused(f, negate(o.a), o.b, o.c, mode(o)))),
        "fnmadd": ("R4" + kind, lambda o: signs(fused_negated(o))),
        "fadd": ("R" + kind, lambda o: signs(ieee.add(f, o.a, o.b, mode(o)))),
        "fsub": ("R" + kind, lambda o: signs(ieee.add(f, o.a, negate(o.b), mode(o)))),
        "fmul": ("R" + kind, lambda o: signs(ieee.multiply(f, o.a, o.b, mode(o)))),
        "fdiv": ("R" + kind, lambda o: signs(ieee.divide(f, o.a, o.b, mode(o)))),
        "fsqrt": ("R1" + kind, lambda o: signs(ieee.square_root(f, o.a, mode(o)))),
        "fsgnj": ("R", lambda o: signs(o.a & ~f.sign & f.mask | o.b & f.sign)),
        "fsgnjn": ("R", lambda o: signs(o.a & ~f.sign & f.mask | ~o.b & f.sign)),
        "fsgnjx": ("R", lambda o: signs(o.a & f.mask ^ o.b & f.sign)),
        "fmin": ("R", lambda o: smaller(o, True)),
        "fmax": ("R", lambda o: smaller(o, False)),
        "feq": ("R", lambda o: ieee.compare(f, o.a, o.b) == 0),
        "flt": ("R", lambda o: ieee.compare(f, o.a, o.b) == -1),
        "fle": ("R", lambda o: ieee.compare(f, o.a, o.b) in (-1, 0)),
        "fclass": ("R1", lambda o: ieee.classify(f, o.a)),
    }
    table = {name + suffix: rule for name, rule in r.items()}
    low, high = -(1 << 31), (1 << 31) - 1
    table[f"fcvt.w{suffix}"] = ("R1" + kind, lambda o: ieee.to_integer(f, o.a, low, high, mode(o)))
    table[f"fcvt.wu{suffix}"] = ("R1" + kind, lambda o: ieee.to_integer(f, o.a, 0, M32, mode(o)))
    table[f"fcvt{suffix}.w"] = (
        "R1" + kind,
        lambda o: signs(ieee.rounded(f, ieee.Fraction(signed(o.a)), mode(o))),
    )
    table[f"fcvt{suffix}.wu"] = ("R1" + kind, lambda o: signs(ieee.rounded(f, ieee.Fraction(o.a), mode(o))))
    return table


def _expand(f: Format, bits: int) -> int:
    return ieee.convert(f, SINGLE, bits)


def floats() -> dict[str, Rule]:
    table = (
        _scalar_float(SINGLE, ".s", True)
        | _scalar_float(HALF, ".h", True)
        | _scalar_float(BRAIN, ".ah", False)
    )
    table |= {
        "fmv.x.s": ("R1", lambda o: o.a),
        "fmv.s.x": ("R1", lambda o: o.a),
        "fcvt.h.s": ("R1rounded", lambda o: signed(ieee.convert(SINGLE, HALF, o.a, o.mode), 16)),
        "fcvt.ah.s": ("R1", lambda o: signed(ieee.convert(SINGLE, BRAIN, o.a), 16)),
        "fcvt.h.ah": ("R1rounded", lambda o: signed(ieee.convert(BRAIN, HALF, o.a, o.mode), 16)),
        "fcvt.ah.h": ("R1", lambda o: signed(ieee.convert(HALF, BRAIN, o.a), 16)),
    }
    for f, suffix in ((HALF, ".h"), (BRAIN, ".ah")):
        modes = "rounded" if f is HALF else ""
        table[f"fmv.x{suffix}"] = ("R1", lambda o: o.a)
        table[f"fmv{suffix}.x"] = ("R1", lambda o: o.a)
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
        # the sum is rounded before it is halved
        "avg": lambda x, y: ieee.multiply(f, ieee.add(f, x, y), (f.bias - 1) << f.fraction),
    }
    tests: dict[str, Callable[[int | None], bool]] = {
        "eq": lambda c: c == 0,
        "ne": lambda c: c in (-1, 1),
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
                    test(ieee.compare(f, x, y)) << 16 * n for n, (x, y) in enumerate(zip(xs, ys, strict=True))
                )

            table[f"vf{name}{mark}{suffix}"] = ("R", compared)
        for name, flip in (("mac", 0), ("mre", f.sign)):  # a * b + d, a * b - d

            def fused(o: Operands, k=(flip, replicate)) -> int:
                flip, replicate = k
                parts = zip(_halves(o.a), _halves(o.b, replicate), _halves(o.d), strict=True)
                return joined([ieee.fused(f, x, y, z ^ flip) for x, y, z in parts], 16)

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

    def to_half_word(bits: int) -> int:
        if not ieee.is_nan(f, bits) and not ieee.is_infinite(f, bits) and ieee.value(f, bits) == 1 << 31:
            return -32768  # wraps on the way
        return ieee.to_integer(f, bits, -32768, 32767, NEAREST)

    table[f"vfcvt.x{suffix}"] = ("R1", lambda o: joined([to_half_word(x) for x in _halves(o.a)], 16))
    table[f"vfcvt{suffix}.x"] = (
        "R1",
        lambda o: joined([ieee.rounded(f, ieee.Fraction(signed(x, 16))) for x in _halves(o.a)], 16),
    )
    return table
