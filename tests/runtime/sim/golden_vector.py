"""What the packed integer instructions compute, and the normalising ones."""

from __future__ import annotations

from collections.abc import Callable

from golden_operands import M32, Operands, Rule, joined, lanes, signed


def _shift(total: int, n: int, rounding: bool, is_signed: bool) -> int:
    total = total + (1 << (n - 1) if rounding and n else 0) & M32
    return (signed(total) if is_signed else total) >> n


def normalised(a: int, b: int, n: int, rounding: bool, is_signed: bool, subtract: bool) -> int:
    return _shift(a - b if subtract else a + b, n, rounding, is_signed)


def products(
    a: int, b: int, d: int, n: int, rounding: bool, is_signed: bool, high: bool, accumulates: bool
) -> int:
    x, y = (lanes(v, 16, is_signed)[1 if high else 0] for v in (a, b))
    total = signed(d + x * y) if is_signed else d + x * y & M32
    total += 1 << n >> 1 if rounding else 0
    # what is added to round does not overflow, but in the plain unsigned product
    return (total if is_signed or accumulates else total & M32) >> n


def shuffle2(a: int, selectors: int, d: int, bits: int) -> int:
    count = 32 // bits
    both = lanes(d, bits, False) + lanes(a, bits, False)
    return joined([both[selector % (2 * count)] for selector in lanes(selectors, bits, False)], bits)


def vectors() -> dict[str, Rule]:
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
