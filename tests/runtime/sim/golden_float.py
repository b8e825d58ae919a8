"""IEEE arithmetic by definition: exact fractions, rounded once. Nothing of the host's floating point."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

NEAREST, ZERO, DOWN, UP, AWAY = range(5)


@dataclass(frozen=True)
class Format:
    exponent: int
    fraction: int

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.fraction

    @property
    def bias(self) -> int:
        return (1 << (self.exponent - 1)) - 1

    @property
    def infinity(self) -> int:
        return ((1 << self.exponent) - 1) << self.fraction

    @property
    def nan(self) -> int:
        return self.infinity | 1 << (self.fraction - 1)

    @property
    def sign(self) -> int:
        return 1 << (self.bits - 1)

    @property
    def mask(self) -> int:
        return (1 << self.bits) - 1


SINGLE = Format(8, 23)
HALF = Format(5, 10)
BRAIN = Format(8, 7)


def is_nan(f: Format, bits: int) -> bool:
    return (bits & ~f.sign & f.mask) > f.infinity


def is_infinite(f: Format, bits: int) -> bool:
    return (bits & ~f.sign & f.mask) == f.infinity


def negative(f: Format, bits: int) -> bool:
    return bool(bits & f.sign)


def value(f: Format, bits: int) -> Fraction:
    """The value of a finite number."""
    exponent = bits >> f.fraction & ((1 << f.exponent) - 1)
    fraction = bits & ((1 << f.fraction) - 1)
    if exponent:
        fraction |= 1 << f.fraction
    magnitude = Fraction(fraction) * Fraction(2) ** (max(exponent, 1) - f.bias - f.fraction)
    return -magnitude if negative(f, bits) else magnitude


def negated(f: Format, bits: int) -> int:
    """The same number with the other sign; a NaN has none."""
    return bits if is_nan(f, bits) else bits ^ f.sign


def mirrored(mode: int) -> int:
    """The mode that rounds -x to the negative of what this one makes of x."""
    return {DOWN: UP, UP: DOWN}.get(mode, mode)


def round_integer(x: Fraction, mode: int) -> int:
    """An integer next to x."""
    floor = x.numerator // x.denominator
    rest = x - floor
    if mode == DOWN:
        return floor
    if mode == UP:
        return floor + (rest > 0)
    if mode == ZERO:
        return floor + (x < 0 and rest > 0)
    if rest != Fraction(1, 2):
        return floor + (rest > Fraction(1, 2))
    if mode == NEAREST:
        return floor + (floor & 1)
    return floor + (x > 0)


def rounded(f: Format, x: Fraction, mode: int = NEAREST, zero_sign: bool = False) -> int:
    """The number of a format next to x; zero_sign is the sign of an exact zero."""
    if x == 0:
        return f.sign if zero_sign else 0
    sign = f.sign if x < 0 else 0
    magnitude = abs(x)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    # pulp-open rounds with 64 bits: what lies below them is nothing even where the mode leads away from zero
    if exponent < -f.bias - f.fraction - 10:
        return sign
    exponent = max(exponent, 1 - f.bias)
    unit = Fraction(2) ** (exponent - f.fraction)
    directed = mirrored(mode) if sign else mode
    significand = round_integer(magnitude / unit, directed)
    result = significand * unit
    largest = (2 - Fraction(1, 1 << f.fraction)) * Fraction(2) ** f.bias
    if result > largest:
        return sign | f.infinity  # in every mode
    if significand >= 1 << (f.fraction + 1):
        significand >>= 1
        exponent += 1
    if significand < 1 << f.fraction:
        return sign | significand
    return sign | (exponent + f.bias) << f.fraction | (significand & ((1 << f.fraction) - 1))


def fused(f: Format, a: int, b: int, c: int, mode: int = NEAREST) -> int:
    """a * b + c."""
    if any(is_nan(f, x) for x in (a, b, c)):
        return f.nan
    product_sign = negative(f, a) != negative(f, b)
    if is_infinite(f, a) or is_infinite(f, b):
        other = b if is_infinite(f, a) else a
        if not is_infinite(f, other) and value(f, other) == 0:
            return f.nan
        if is_infinite(f, c) and negative(f, c) != product_sign:
            return f.nan
        return f.infinity | (f.sign if product_sign else 0)
    if is_infinite(f, c):
        return c & f.mask
    x, y = value(f, a) * value(f, b), value(f, c)
    both = product_sign and negative(f, c)
    opposite = product_sign != negative(f, c)
    if x != 0 or y != 0:
        opposite, both = True, False  # an exact cancellation
    total = x + y
    if f.bits == 16 and mode == NEAREST:
        total = Fraction(float(total))  # by way of a double
    return rounded(f, total, mode, both or (opposite and mode == DOWN))


def add(f: Format, a: int, b: int, mode: int = NEAREST) -> int:
    one = f.bias << f.fraction
    return fused(f, a, one, b, mode)


def multiply(f: Format, a: int, b: int, mode: int = NEAREST) -> int:
    sign = f.sign if negative(f, a) != negative(f, b) else 0
    return fused(f, a, b, sign, mode) if not (is_nan(f, a) or is_nan(f, b)) else f.nan


def divide(f: Format, a: int, b: int, mode: int = NEAREST) -> int:
    if is_nan(f, a) or is_nan(f, b):
        return f.nan
    sign = f.sign if negative(f, a) != negative(f, b) else 0
    if is_infinite(f, a):
        return f.nan if is_infinite(f, b) else sign | f.infinity
    if is_infinite(f, b):
        return sign
    if value(f, b) == 0:
        return f.nan if value(f, a) == 0 else sign | f.infinity
    return rounded(f, value(f, a) / value(f, b), mode, bool(sign))


def square_root(f: Format, a: int, mode: int = NEAREST) -> int:
    if is_nan(f, a):
        return f.nan
    if not is_infinite(f, a) and value(f, a) == 0:
        return a & f.mask
    if negative(f, a):
        return f.nan
    if is_infinite(f, a):
        return f.infinity
    # far more digits than any format has, and one more bit if something is left
    scale = 1 << 600
    square = value(f, a) * scale
    root = isqrt(square.numerator // square.denominator)
    exact = Fraction(root * root) == square
    return rounded(f, Fraction(2 * root + (not exact), 2 << 300), mode)


def smaller(f: Format, a: int, b: int, minimum: bool) -> int:
    a, b = a & f.mask, b & f.mask
    if is_nan(f, a) or is_nan(f, b):
        return f.nan if is_nan(f, a) and is_nan(f, b) else (b if is_nan(f, a) else a)
    return (a if before(f, a, b) else b) if minimum else (b if before(f, a, b) else a)


def _order(f: Format, a: int) -> int:
    return -(a & ~f.sign) - 1 if negative(f, a) else a


def before(f: Format, a: int, b: int) -> bool:
    """Order of numbers with -0 below +0."""
    return _order(f, a & f.mask) < _order(f, b & f.mask)


def compare(f: Format, a: int, b: int) -> int | None:
    """-1, 0, 1, or None where a NaN is involved."""
    if is_nan(f, a) or is_nan(f, b):
        return None
    a, b = a & f.mask, b & f.mask
    if not (a | b) & ~f.sign:
        return 0
    return (_order(f, a) > _order(f, b)) - (_order(f, a) < _order(f, b))


def to_integer(f: Format, a: int, low: int, high: int, mode: int) -> int:
    if is_nan(f, a):
        return high
    if is_infinite(f, a):
        return low if negative(f, a) else high
    return min(max(round_integer(value(f, a), mode), low), high)


def convert(source: Format, target: Format, a: int, mode: int = NEAREST) -> int:
    if is_nan(source, a):
        return target.nan
    sign = target.sign if negative(source, a) else 0
    if is_infinite(source, a):
        return sign | target.infinity
    return rounded(target, value(source, a), mode, bool(sign))


def classify(f: Format, a: int) -> int:
    a &= f.mask
    sign, magnitude = negative(f, a), a & ~f.sign
    if magnitude > f.infinity:
        return 1 << (9 if magnitude >> (f.fraction - 1) & 1 else 8)
    if magnitude == f.infinity:
        return 1 << (0 if sign else 7)
    if magnitude == 0:
        return 1 << (3 if sign else 4)
    if magnitude < 1 << f.fraction:
        return 1 << (2 if sign else 5)
    return 1 << (1 if sign else 6)
