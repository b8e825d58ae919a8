// IEEE arithmetic on register words: single precision on the host's unit, half and bfloat16 by
// computing exactly in double and rounding once.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace sim {

inline float to_float(uint32_t bits) { float f; std::memcpy(&f, &bits, 4); return f; }
inline uint32_t to_bits(float f) { uint32_t b; std::memcpy(&b, &f, 4); return b; }
inline uint64_t double_bits(double d) { uint64_t b; std::memcpy(&b, &d, 8); return b; }
inline double from_double_bits(uint64_t b) { double d; std::memcpy(&d, &b, 8); return d; }

constexpr uint32_t canonical_nan = 0x7fc00000;
// RISC-V gives one NaN for every invalid operation.
inline uint32_t canonical(float f) { return f != f ? canonical_nan : to_bits(f); }

struct Single { static constexpr int exponent_bits = 8, fraction_bits = 23; };
struct Half { static constexpr int exponent_bits = 5, fraction_bits = 10; };
struct Brain { static constexpr int exponent_bits = 8, fraction_bits = 7; };     // bfloat16

enum class Rounding { NearestEven = 0, TowardZero = 1, Down = 2, Up = 3, NearestAway = 4 };
// The mode that rounds -x to the negative of what `rounding` makes of x.
inline Rounding mirrored(Rounding rounding) {
    return rounding == Rounding::Up ? Rounding::Down : rounding == Rounding::Down ? Rounding::Up : rounding;
}

// A 16-bit number as a double, exactly.
template <typename Format>
inline double widen(uint32_t bits) {
    constexpr int m = Format::fraction_bits, e = Format::exponent_bits;
    constexpr int bias = (1 << (e - 1)) - 1;
    const bool negative = (bits >> 15 & 1) != 0;
    const int exponent = static_cast<int>(bits >> m) & ((1 << e) - 1);
    const uint32_t fraction = bits & ((1u << m) - 1);
    double value;
    if (exponent == (1 << e) - 1) {
        value = fraction != 0 ? std::nan("") : HUGE_VAL;
    } else if (exponent == 0) {
        value = std::ldexp(static_cast<double>(fraction), 1 - bias - m);
    } else {
        value = from_double_bits(static_cast<uint64_t>(exponent - bias + 1023) << 52 |
                                 static_cast<uint64_t>(fraction) << (52 - m));
    }
    return negative ? -value : value;
}

// A double (which must be exact or rounded to odd) to a narrower format, rounded once. As on pulp-open,
// what is too large becomes infinite in every rounding mode.
template <typename Format>
inline uint32_t narrow(double value, Rounding rounding = Rounding::NearestEven) {
    constexpr int m = Format::fraction_bits, e = Format::exponent_bits;
    constexpr int bias = (1 << (e - 1)) - 1;
    constexpr uint32_t infinity = ((1u << e) - 1) << m;
    if (value != value) {
        return infinity | 1u << (m - 1);
    }
    const uint64_t bits = double_bits(value);
    const uint32_t sign = static_cast<uint32_t>(bits >> 63) << (e + m);
    const int exponent = static_cast<int>(bits >> 52 & 0x7ff) - 1023;
    if (exponent == 1024) {
        return sign | infinity;
    }
    if ((bits << 1) == 0) {
        return sign;
    }
    const uint64_t significand = (bits & 0xfffffffffffffull) | (exponent == -1023 ? 0 : 1ull << 52);
    int target = exponent + bias;
    int shift = 52 - m;
    if (target <= 0) {                  // subnormal result
        shift += 1 - target;
        target = 0;
    }
    if (shift > 63) {                   // far below the smallest number: nothing, in whatever mode
        return sign;
    }
    uint64_t kept = significand >> shift;
    const uint64_t rest = significand & ((1ull << shift) - 1);
    const uint64_t half = 1ull << (shift - 1);
    bool up = false;
    switch (rounding) {
        case Rounding::NearestEven: up = rest > half || (rest == half && (kept & 1) != 0); break;
        case Rounding::TowardZero: break;
        case Rounding::Down: up = rest != 0 && sign != 0; break;
        case Rounding::Up: up = rest != 0 && sign == 0; break;
        case Rounding::NearestAway: up = rest >= half; break;
    }
    kept += up ? 1 : 0;
    // The hidden bit of a normal number adds one to the exponent field, a carry another one.
    const uint64_t result = target > 0 ? (static_cast<uint64_t>(target - 1) << m) + kept : kept;
    return sign | static_cast<uint32_t>(std::min<uint64_t>(result, infinity));
}

// The neighbour with an odd last bit of a result that was rounded to nearest with this error left over.
// Rounding it once more to a narrower format gives what rounding the exact result would give.
inline double to_odd(double nearest, double error) {
    if (error == 0 || error != error || !(std::fabs(nearest) < HUGE_VAL)) {
        return nearest;
    }
    uint64_t bits = double_bits(nearest);
    if ((bits & 1) == 0) {
        const bool toward_zero = (error < 0) != (nearest < 0);
        bits = toward_zero ? bits - 1 : bits + 1;
    }
    return from_double_bits(bits);
}

inline double add_to_odd(double a, double b) {
    const double sum = a + b;
    const double from_b = sum - a;
    return to_odd(sum, (a - (sum - from_b)) + (b - from_b));
}

inline double divide_to_odd(double a, double b) {
    const double quotient = a / b;
    const double rest = std::fma(-quotient, b, a);
    return to_odd(quotient, b < 0 ? -rest : rest);
}

inline double root_to_odd(double a) {
    const double root = std::sqrt(a);
    return to_odd(root, std::fma(-root, root, a));
}

// The sum of two exact doubles in a format. A zero that comes of cancelling is negative only when
// rounding down. As on pulp-open a 16-bit result is rounded to double on its way to nearest.
template <typename Format>
inline uint32_t sum(double a, double b, Rounding rounding) {
    const bool by_double = Format::fraction_bits < Single::fraction_bits && rounding == Rounding::NearestEven;
    const double odd = by_double ? a + b : add_to_odd(a, b);
    if (odd == 0 && (a != 0 || std::signbit(a) != std::signbit(b))) {
        return rounding == Rounding::Down ? 1u << (Format::exponent_bits + Format::fraction_bits) : 0;
    }
    return narrow<Format>(odd, rounding);
}

// A result with its sign turned; a NaN has none.
template <typename Format>
inline uint32_t negated(uint32_t result) {
    constexpr uint32_t sign = 1u << (Format::exponent_bits + Format::fraction_bits);
    constexpr uint32_t infinity = ((1u << Format::exponent_bits) - 1) << Format::fraction_bits;
    return (result & ~sign) > infinity ? result : result ^ sign;
}

// a * b + c or a * b - c. The product of two 16-bit numbers is exact in double.
template <typename Format>
inline uint32_t fused_16(uint32_t a, uint32_t b, uint32_t c, bool subtract, Rounding rounding) {
    const double addend = widen<Format>(c);
    return sum<Format>(widen<Format>(a) * widen<Format>(b), subtract ? -addend : addend, rounding);
}

}  // namespace sim
