// Zfinx: single precision in the integer registers.
#include <cmath>
#include <iterator>

#include "core.hpp"
#include "floating.hpp"
#include "instruction.hpp"

namespace sim {

namespace {

// The rounding mode of an instruction: bits 12..14 (in immediate2), 7 = the dynamic mode of fcsr.
inline Rounding mode_of(const Core& core, const Instruction& i) {
    const uint32_t mode = i.immediate2 == 7 ? core.fcsr >> 5 & 7 : i.immediate2;
    return mode < 5 ? static_cast<Rounding>(mode) : Rounding::NearestEven;
}

// The host rounds to nearest even. Other modes compute in double, exactly or rounded to odd, and round that:
// a double has more than twice the digits.
#define ROUNDED(name, nearest, other)                                                           \
    __attribute__((noinline)) uint32_t name##_directed(const Core& core, const Instruction& i, Rounding mode) { \
        [[maybe_unused]] const double a = to_float(core.x[i.rs1]);                              \
        [[maybe_unused]] const double b = to_float(core.x[i.rs2]);                              \
        [[maybe_unused]] const double c = to_float(core.x[i.rs3]);                              \
        return (other);                                                                         \
    }                                                                                           \
    void name(Core& core, const Instruction& i) {                                               \
        const Rounding mode = mode_of(core, i);                                                 \
        if (SIM_UNLIKELY(mode != Rounding::NearestEven)) {                                      \
            core.x[i.rd] = name##_directed(core, i, mode);                                      \
            return;                                                                             \
        }                                                                                       \
        [[maybe_unused]] const float a = to_float(core.x[i.rs1]);                               \
        [[maybe_unused]] const float b = to_float(core.x[i.rs2]);                               \
        [[maybe_unused]] const float c = to_float(core.x[i.rs3]);                               \
        core.x[i.rd] = canonical(nearest);                                                      \
    }

ROUNDED(fadd, a + b, sum<Single>(a, b, mode))
ROUNDED(fsub, a - b, sum<Single>(a, -b, mode))
ROUNDED(fmul, a * b, narrow<Single>(a * b, mode))
ROUNDED(fdiv, a / b, narrow<Single>(divide_to_odd(a, b), mode))
ROUNDED(fsqrt, std::sqrt(a), narrow<Single>(root_to_odd(a), mode))

// Fused operations use the host's instruction where it has one; otherwise the library computes them.
#if defined(__x86_64__)
#define WITH_HOST_FMA __attribute__((target("fma")))
bool host_has_fma() { return __builtin_cpu_supports("fma"); }
#else
#define WITH_HOST_FMA
bool host_has_fma() { return true; }
#endif

#define FUSED(name, sign, factor, addend, other)                                                        \
    ROUNDED(name##_any, sign __builtin_fmaf(factor, b, addend), other)                                  \
    WITH_HOST_FMA void name(Core& core, const Instruction& i) {                                         \
        if (SIM_UNLIKELY(mode_of(core, i) != Rounding::NearestEven)) {                                  \
            name##_any(core, i);                                                                        \
            return;                                                                                     \
        }                                                                                               \
        const float a = to_float(core.x[i.rs1]), b = to_float(core.x[i.rs2]), c = to_float(core.x[i.rs3]); \
        core.x[i.rd] = canonical(sign __builtin_fmaf(factor, b, addend));                               \
    }
FUSED(fmadd, +, a, c, sum<Single>(a * b, c, mode))
FUSED(fmsub, +, a, -c, sum<Single>(a * b, -c, mode))
FUSED(fnmsub, +, -a, c, sum<Single>(-a * b, c, mode))
// The sign of the sum is turned, of an exact zero too.
FUSED(fnmadd, -, a, c, negated<Single>(sum<Single>(a * b, c, mirrored(mode))))

constexpr uint32_t sign_bit = 0x80000000u;

#define BITS(name, expression)                                       \
    void name(Core& core, const Instruction& i) {                    \
        [[maybe_unused]] const uint32_t a = core.x[i.rs1];           \
        [[maybe_unused]] const uint32_t b = core.x[i.rs2];           \
        core.x[i.rd] = (expression);                                 \
    }
BITS(fsgnj, (a & ~sign_bit) | (b & sign_bit))
BITS(fsgnjn, (a & ~sign_bit) | (~b & sign_bit))
BITS(fsgnjx, a ^ (b & sign_bit))
BITS(move, a)
BITS(feq, to_float(a) == to_float(b))
BITS(flt, to_float(a) < to_float(b))
BITS(fle, to_float(a) <= to_float(b))

inline bool is_nan(uint32_t v) { return (v & ~sign_bit) > 0x7f800000u; }
// Minimum and maximum of IEEE 754-2008: a NaN loses, -0 is below +0.
inline uint32_t pick(uint32_t a, uint32_t b, bool smaller) {
    if (is_nan(a)) { return is_nan(b) ? canonical_nan : b; }
    if (is_nan(b)) { return a; }
    const float x = to_float(a), y = to_float(b);
    if (x == y) { return smaller ? a | b : a & b; }
    return (x < y) == smaller ? a : b;
}
BITS(fmin, pick(a, b, true))
BITS(fmax, pick(a, b, false))

uint32_t classify(uint32_t v) {
    const bool negative = (v & sign_bit) != 0;
    const uint32_t exponent = v >> 23 & 0xff, fraction = v & 0x7fffff;
    if (exponent == 0xff) {
        if (fraction != 0) { return (fraction & 0x400000) != 0 ? 1u << 9 : 1u << 8; }
        return negative ? 1u << 0 : 1u << 7;
    }
    if (exponent == 0) {
        if (fraction == 0) { return negative ? 1u << 3 : 1u << 4; }
        return negative ? 1u << 2 : 1u << 5;
    }
    return negative ? 1u << 1 : 1u << 6;
}
BITS(fclass, classify(a))

// A float as an integral double in a rounding mode (exact: every float is a double).
inline double integral(uint32_t bits, Rounding mode) {
    const double v = to_float(bits);
    switch (mode) {
        case Rounding::NearestEven: return std::nearbyint(v);
        case Rounding::TowardZero: return std::trunc(v);
        case Rounding::Down: return std::floor(v);
        case Rounding::Up: return std::ceil(v);
        default: return std::round(v);
    }
}

void fcvt_w_s(Core& core, const Instruction& i) {
    const uint32_t bits = core.x[i.rs1];
    const double v = integral(bits, mode_of(core, i));
    core.x[i.rd] = is_nan(bits) || v >= 2147483648.0 ? 0x7fffffffu
                   : v < -2147483648.0               ? 0x80000000u
                                                     : static_cast<uint32_t>(static_cast<int32_t>(v));
}
void fcvt_wu_s(Core& core, const Instruction& i) {
    const uint32_t bits = core.x[i.rs1];
    const double v = integral(bits, mode_of(core, i));
    core.x[i.rd] = is_nan(bits) || v >= 4294967296.0 ? 0xffffffffu : v < 0 ? 0 : static_cast<uint32_t>(v);
}
// A double holds every 32-bit integer.
void fcvt_s_w(Core& core, const Instruction& i) {
    core.x[i.rd] = narrow<Single>(static_cast<int32_t>(core.x[i.rs1]), mode_of(core, i));
}
void fcvt_s_wu(Core& core, const Instruction& i) { core.x[i.rd] = narrow<Single>(core.x[i.rs1], mode_of(core, i)); }

}  // namespace

void add_float_encodings(std::vector<Encoding>& table) {
    const Unit F = Unit::Fpu, D = Unit::Divider;
    const bool host = host_has_fma();
    const Encoding rows[] = {
        {"fmadd.s", "-----00 ----- ----- --- ----- 1000011", Format::R4, host ? fmadd : fmadd_any, F, true},
        {"fmsub.s", "-----00 ----- ----- --- ----- 1000111", Format::R4, host ? fmsub : fmsub_any, F, true},
        {"fnmsub.s", "-----00 ----- ----- --- ----- 1001011", Format::R4, host ? fnmsub : fnmsub_any, F, true},
        {"fnmadd.s", "-----00 ----- ----- --- ----- 1001111", Format::R4, host ? fnmadd : fnmadd_any, F, true},
        {"fadd.s", "0000000 ----- ----- --- ----- 1010011", Format::R, fadd, F, true},
        {"fsub.s", "0000100 ----- ----- --- ----- 1010011", Format::R, fsub, F, true},
        {"fmul.s", "0001000 ----- ----- --- ----- 1010011", Format::R, fmul, F, true},
        {"fdiv.s", "0001100 ----- ----- --- ----- 1010011", Format::R, fdiv, D, true},
        {"fsqrt.s", "0101100 00000 ----- --- ----- 1010011", Format::R1, fsqrt, D, true},
        {"fsgnj.s", "0010000 ----- ----- 000 ----- 1010011", Format::R, fsgnj, F, true},
        {"fsgnjn.s", "0010000 ----- ----- 001 ----- 1010011", Format::R, fsgnjn, F, true},
        {"fsgnjx.s", "0010000 ----- ----- 010 ----- 1010011", Format::R, fsgnjx, F, true},
        {"fmin.s", "0010100 ----- ----- 000 ----- 1010011", Format::R, fmin, F, true},
        {"fmax.s", "0010100 ----- ----- 001 ----- 1010011", Format::R, fmax, F, true},
        {"feq.s", "1010000 ----- ----- 010 ----- 1010011", Format::R, feq, F, true},
        {"flt.s", "1010000 ----- ----- 001 ----- 1010011", Format::R, flt, F, true},
        {"fle.s", "1010000 ----- ----- 000 ----- 1010011", Format::R, fle, F, true},
        {"fcvt.w.s", "1100000 00000 ----- --- ----- 1010011", Format::R1, fcvt_w_s, F, true},
        {"fcvt.wu.s", "1100000 00001 ----- --- ----- 1010011", Format::R1, fcvt_wu_s, F, true},
        {"fcvt.s.w", "1101000 00000 ----- --- ----- 1010011", Format::R1, fcvt_s_w, F, true},
        {"fcvt.s.wu", "1101000 00001 ----- --- ----- 1010011", Format::R1, fcvt_s_wu, F, true},
        {"fmv.x.s", "1110000 00000 ----- 000 ----- 1010011", Format::R1, move},
        {"fmv.s.x", "1111000 00000 ----- 000 ----- 1010011", Format::R1, move},
        {"fclass.s", "1110000 00000 ----- 001 ----- 1010011", Format::R1, fclass, F, true},
    };
    table.insert(table.end(), std::begin(rows), std::end(rows));
}

}  // namespace sim
