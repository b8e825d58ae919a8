// Half precision and bfloat16: scalars (Xf16, Xf16alt), pairs (Xfvec) and expanding products (Xfaux).
#include <cmath>
#include <iterator>

#include "core.hpp"
#include "floating.hpp"
#include "instruction.hpp"

namespace sim {

namespace {

inline Rounding rounding_of(const Core& core, uint32_t field) {
    const uint32_t mode = field == 7 ? core.fcsr >> 5 & 7 : field;
    return mode < 5 ? static_cast<Rounding>(mode) : Rounding::NearestEven;
}
// bfloat16 instructions carry 5 in the rounding field to tell them from half precision: they round to nearest.
template <typename Format>
inline Rounding scalar_rounding(const Core& core, const Instruction& i) {
    return Format::exponent_bits == 8 ? Rounding::NearestEven : rounding_of(core, i.immediate2);
}

template <typename Format> constexpr uint32_t infinity_16 = ((1u << Format::exponent_bits) - 1) << Format::fraction_bits;
template <typename Format> constexpr uint32_t nan_16 = infinity_16<Format> | 1u << (Format::fraction_bits - 1);
// A register filled with the sign of its low half.
inline uint32_t filled(uint32_t v) { return static_cast<uint32_t>(static_cast<int16_t>(v)); }
template <typename Format> inline bool is_nan_16(uint32_t v) { return (v & 0x7fff) > infinity_16<Format>; }

// ---- operations on one 16-bit value each; the result is in the low 16 bits ----
#define OPERATION2(Name, expression)                                                                 \
    struct Name {                                                                                    \
        template <typename F> static uint32_t apply(uint32_t a, uint32_t b, Rounding r) {            \
            (void)r;                                                                                 \
            return (expression);                                                                     \
        }                                                                                            \
    };
OPERATION2(Add, sum<F>(widen<F>(a), widen<F>(b), r))
OPERATION2(Sub, sum<F>(widen<F>(a), -widen<F>(b), r))
OPERATION2(Mul, narrow<F>(widen<F>(a) * widen<F>(b), r))
OPERATION2(Div, narrow<F>(divide_to_odd(widen<F>(a), widen<F>(b)), r))
OPERATION2(Sqrt, ((void)b, narrow<F>(root_to_odd(widen<F>(a)), r)))
OPERATION2(SignCopy, (a & 0x7fff) | (b & 0x8000))
OPERATION2(SignNegate, (a & 0x7fff) | (~b & 0x8000))
OPERATION2(SignXor, (a & 0xffff) ^ (b & 0x8000))
// The sum is rounded before it is halved.
OPERATION2(Average, ((void)r, narrow<F>(widen<F>(sum<F>(widen<F>(a), widen<F>(b), Rounding::NearestEven)) * 0.5)))

template <typename F>
uint32_t pick_16(uint32_t a, uint32_t b, bool smaller) {
    if (is_nan_16<F>(a)) { return is_nan_16<F>(b) ? nan_16<F> : b; }
    if (is_nan_16<F>(b)) { return a; }
    const double x = widen<F>(a), y = widen<F>(b);
    if (x == y) { return filled(smaller ? a | b : a & b); }
    return filled((x < y) == smaller ? a : b);
}
OPERATION2(Min, pick_16<F>(a, b, true))
OPERATION2(Max, pick_16<F>(a, b, false))
OPERATION2(Equal, widen<F>(a) == widen<F>(b))
// No comparison holds for a NaN, not even this one.
OPERATION2(NotEqual, widen<F>(a) < widen<F>(b) || widen<F>(a) > widen<F>(b))
OPERATION2(Less, widen<F>(a) < widen<F>(b))
OPERATION2(LessEqual, widen<F>(a) <= widen<F>(b))
OPERATION2(Greater, widen<F>(a) > widen<F>(b))
OPERATION2(GreaterEqual, widen<F>(a) >= widen<F>(b))

template <typename F>
uint32_t classify_16(uint32_t v) {
    const bool negative = (v & 0x8000) != 0;
    const uint32_t magnitude = v & 0x7fff;
    if (magnitude > infinity_16<F>) { return (v >> (F::fraction_bits - 1) & 1) != 0 ? 1u << 9 : 1u << 8; }
    if (magnitude == infinity_16<F>) { return negative ? 1u : 1u << 7; }
    if (magnitude == 0) { return negative ? 1u << 3 : 1u << 4; }
    if (magnitude < 1u << F::fraction_bits) { return negative ? 1u << 2 : 1u << 5; }
    return negative ? 1u << 1 : 1u << 6;
}

// ---- scalars: results are filled with their sign; the number that a NaN loses to stays as it was ----
template <typename F, typename Operation>
void scalar(Core& core, const Instruction& i) {
    core.x[i.rd] = filled(Operation::template apply<F>(core.x[i.rs1], core.x[i.rs2], scalar_rounding<F>(core, i)));
}
template <typename F, bool smaller>
void scalar_pick(Core& core, const Instruction& i) {
    core.x[i.rd] = pick_16<F>(core.x[i.rs1], core.x[i.rs2], smaller);
}
template <typename F, bool negate_product, bool negate_addend>
void scalar_fused(Core& core, const Instruction& i) {
    const double product = widen<F>(core.x[i.rs1]) * widen<F>(core.x[i.rs2]);
    const double addend = widen<F>(core.x[i.rs3]);
    core.x[i.rd] = filled(sum<F>(negate_product ? -product : product, negate_addend ? -addend : addend,
                                 scalar_rounding<F>(core, i)));
}
template <typename F>
void scalar_fused_negated(Core& core, const Instruction& i) {
    const double product = widen<F>(core.x[i.rs1]) * widen<F>(core.x[i.rs2]);
    core.x[i.rd] = filled(negated<F>(sum<F>(product, widen<F>(core.x[i.rs3]), mirrored(scalar_rounding<F>(core, i)))));
}
inline double integral(double v, Rounding r) {
    switch (r) {
        case Rounding::NearestEven: return std::nearbyint(v);
        case Rounding::TowardZero: return std::trunc(v);
        case Rounding::Down: return std::floor(v);
        case Rounding::Up: return std::ceil(v);
        default: return std::round(v);
    }
}
template <typename F>
void to_word(Core& core, const Instruction& i) {
    const double v = integral(widen<F>(core.x[i.rs1]), scalar_rounding<F>(core, i));
    core.x[i.rd] = v != v || v >= 2147483648.0 ? 0x7fffffffu
                   : v < -2147483648.0         ? 0x80000000u
                                               : static_cast<uint32_t>(static_cast<int32_t>(v));
}
template <typename F>
void to_unsigned_word(Core& core, const Instruction& i) {
    const double v = integral(widen<F>(core.x[i.rs1]), scalar_rounding<F>(core, i));
    core.x[i.rd] = v != v || v >= 4294967296.0 ? 0xffffffffu : v < 0 ? 0 : static_cast<uint32_t>(v);
}
template <typename F>
void from_word(Core& core, const Instruction& i) {
    core.x[i.rd] = filled(narrow<F>(static_cast<int32_t>(core.x[i.rs1]), scalar_rounding<F>(core, i)));
}
template <typename F>
void from_unsigned_word(Core& core, const Instruction& i) {
    core.x[i.rd] = filled(narrow<F>(core.x[i.rs1], scalar_rounding<F>(core, i)));
}
template <typename F>
void to_single(Core& core, const Instruction& i) {
    core.x[i.rd] = canonical(static_cast<float>(widen<F>(core.x[i.rs1])));
}
template <typename F>
void from_single(Core& core, const Instruction& i) {
    core.x[i.rd] = filled(narrow<F>(to_float(core.x[i.rs1]), scalar_rounding<F>(core, i)));
}
template <typename To, typename From>
void between(Core& core, const Instruction& i) {
    core.x[i.rd] = filled(narrow<To>(widen<From>(core.x[i.rs1]), scalar_rounding<To>(core, i)));
}
// With one register file a move is of the whole register.
void move(Core& core, const Instruction& i) { core.x[i.rd] = core.x[i.rs1]; }
template <typename F>
void classify_scalar(Core& core, const Instruction& i) { core.x[i.rd] = classify_16<F>(core.x[i.rs1]); }

// Products of 16-bit numbers into single precision.
template <typename F>
void multiply_expand(Core& core, const Instruction& i) {
    core.x[i.rd] = canonical(static_cast<float>(widen<F>(core.x[i.rs1]) * widen<F>(core.x[i.rs2])));
}
template <typename F>
void accumulate_expand(Core& core, const Instruction& i) {
    core.x[i.rd] = sum<Single>(widen<F>(core.x[i.rs1]) * widen<F>(core.x[i.rs2]), to_float(core.x[i.rs3]),
                               scalar_rounding<F>(core, i));
}

// ---- pairs ----
template <typename F, typename Operation, bool replicate>
void pair(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1], b = core.x[i.rs2];
    const Rounding r = rounding_of(core, 7);
    const uint32_t low = Operation::template apply<F>(a & 0xffff, b & 0xffff, r);
    const uint32_t high = Operation::template apply<F>(a >> 16, replicate ? b & 0xffff : b >> 16, r);
    core.x[i.rd] = (low & 0xffff) | high << 16;
}
template <typename F, typename Operation, bool replicate>
void pair_compare(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1], b = core.x[i.rs2];
    const uint32_t low = Operation::template apply<F>(a & 0xffff, b & 0xffff, Rounding::NearestEven);
    const uint32_t high = Operation::template apply<F>(a >> 16, replicate ? b & 0xffff : b >> 16, Rounding::NearestEven);
    core.x[i.rd] = low | high << 16;
}
// a * b + d, or a * b - d.
template <typename F, bool replicate, bool negate>
void pair_fused(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1], b = core.x[i.rs2], d = core.x[i.rs3];
    const Rounding r = rounding_of(core, 7);
    const uint32_t low = fused_16<F>(a & 0xffff, b & 0xffff, d & 0xffff, negate, r);
    const uint32_t high = fused_16<F>(a >> 16, replicate ? b & 0xffff : b >> 16, d >> 16, negate, r);
    core.x[i.rd] = low | high << 16;
}
template <typename F>
void pack_singles(Core& core, const Instruction& i) {
    const Rounding r = rounding_of(core, 7);
    core.x[i.rd] = narrow<F>(to_float(core.x[i.rs1]), r) | narrow<F>(to_float(core.x[i.rs2]), r) << 16;
}
// acc + (a1*b1 + a0*b0), the sum of the products fused once, all in single precision.
template <typename F, bool replicate, bool negate>
void dot_expand(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1], b = core.x[i.rs2];
    const float a0 = static_cast<float>(widen<F>(a & 0xffff)), a1 = static_cast<float>(widen<F>(a >> 16));
    const float b0 = static_cast<float>(widen<F>(b & 0xffff));
    const float b1 = replicate ? b0 : static_cast<float>(widen<F>(b >> 16));
    const float products = __builtin_fmaf(a1, b1, a0 * b0);
    const float accumulator = to_float(core.x[i.rs3]);
    core.x[i.rd] = canonical(negate ? accumulator - products : accumulator + products);
}
// The model of pulp-open loses the accumulator of the bfloat16 form, and fuses the other way round.
template <bool replicate>
void dot_expand_brain(Core& core, const Instruction& i) {
    if (!core.configuration->bf16_dot_drops_accumulator) {
        dot_expand<Brain, replicate, false>(core, i);
        return;
    }
    const uint32_t a = core.x[i.rs1], b = core.x[i.rs2];
    const float a0 = static_cast<float>(widen<Brain>(a & 0xffff)), a1 = static_cast<float>(widen<Brain>(a >> 16));
    const float b0 = static_cast<float>(widen<Brain>(b & 0xffff));
    const float b1 = replicate ? b0 : static_cast<float>(widen<Brain>(b >> 16));
    core.x[i.rd] = canonical(__builtin_fmaf(a0, b0, a1 * b1));
}
template <typename F>
void pair_to_integers(Core& core, const Instruction& i) {
    uint32_t result = 0;
    for (uint32_t k = 0; k < 2; ++k) {
        const double v = integral(widen<F>(core.x[i.rs1] >> (16 * k) & 0xffff), rounding_of(core, 7));
        // 2^31 itself overflows on the way, as it does on pulp-open.
        const bool wraps = v == 2147483648.0;
        const int32_t clipped = wraps || v < -32768 ? -32768 : v != v || v > 32767 ? 32767 : static_cast<int32_t>(v);
        result |= (static_cast<uint32_t>(clipped) & 0xffff) << (16 * k);
    }
    core.x[i.rd] = result;
}
template <typename F>
void integers_to_pair(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1];
    const Rounding r = rounding_of(core, 7);
    core.x[i.rd] = narrow<F>(static_cast<int16_t>(a), r) | narrow<F>(static_cast<int16_t>(a >> 16), r) << 16;
}

#define HALF_PAIR_ROWS(stem, bits, Operation, unit)                                                                   \
    {"vf" stem ".h", bits " ----- ----- 010 ----- 0110011", Format::R, pair<Half, Operation, false>, unit, true},       \
    {"vf" stem ".r.h", bits " ----- ----- 110 ----- 0110011", Format::R, pair<Half, Operation, true>, unit, true}
#define BRAIN_PAIR_ROWS(stem, bits, Operation, unit, plain, replicated)                                                 \
    {"vf" stem ".ah", bits " ----- ----- " plain " ----- 0110011", Format::R, pair<Brain, Operation, false>, unit, true},  \
    {"vf" stem ".r.ah", bits " ----- ----- " replicated " ----- 0110011", Format::R, pair<Brain, Operation, true>, unit, true}
#define PAIR_ROWS(stem, bits, Operation, unit)                                                                          \
    HALF_PAIR_ROWS(stem, bits, Operation, unit), BRAIN_PAIR_ROWS(stem, bits, Operation, unit, "001", "101")
#define COMPARE_ROWS(stem, bits, Operation)                                                                            \
    {"vf" stem ".h", bits " ----- ----- 010 ----- 0110011", Format::R, pair_compare<Half, Operation, false>, Unit::Fpu, true},   \
    {"vf" stem ".r.h", bits " ----- ----- 110 ----- 0110011", Format::R, pair_compare<Half, Operation, true>, Unit::Fpu, true},  \
    {"vf" stem ".ah", bits " ----- ----- 001 ----- 0110011", Format::R, pair_compare<Brain, Operation, false>, Unit::Fpu, true}, \
    {"vf" stem ".r.ah", bits " ----- ----- 101 ----- 0110011", Format::R, pair_compare<Brain, Operation, true>, Unit::Fpu, true}
#define FUSED_ROWS(stem, bits, negate)                                                                                 \
    {"vf" stem ".h", bits " ----- ----- 010 ----- 0110011", Format::RAcc, pair_fused<Half, false, negate>, Unit::Fpu, true},     \
    {"vf" stem ".r.h", bits " ----- ----- 110 ----- 0110011", Format::RAcc, pair_fused<Half, true, negate>, Unit::Fpu, true},    \
    {"vf" stem ".ah", bits " ----- ----- 001 ----- 0110011", Format::RAcc, pair_fused<Brain, false, negate>, Unit::Fpu, true},   \
    {"vf" stem ".r.ah", bits " ----- ----- 101 ----- 0110011", Format::RAcc, pair_fused<Brain, true, negate>, Unit::Fpu, true}
// The rows of one scalar format: `mode` is the rounding field of its encodings.
#define SCALAR_ROWS(F, suffix, mode, s0, s1, s2)                                                                       \
    {"fmadd" suffix, "-----10 ----- ----- " mode " ----- 1000011", Format::R4, scalar_fused<F, false, false>, Unit::Fpu, true},  \
    {"fmsub" suffix, "-----10 ----- ----- " mode " ----- 1000111", Format::R4, scalar_fused<F, false, true>, Unit::Fpu, true},   \
    {"fnmsub" suffix, "-----10 ----- ----- " mode " ----- 1001011", Format::R4, scalar_fused<F, true, false>, Unit::Fpu, true},  \
    {"fnmadd" suffix, "-----10 ----- ----- " mode " ----- 1001111", Format::R4, scalar_fused_negated<F>, Unit::Fpu, true},   \
    {"fadd" suffix, "0000010 ----- ----- " mode " ----- 1010011", Format::R, scalar<F, Add>, Unit::Fpu, true},          \
    {"fsub" suffix, "0000110 ----- ----- " mode " ----- 1010011", Format::R, scalar<F, Sub>, Unit::Fpu, true},          \
    {"fmul" suffix, "0001010 ----- ----- " mode " ----- 1010011", Format::R, scalar<F, Mul>, Unit::Fpu, true},          \
    {"fdiv" suffix, "0001110 ----- ----- " mode " ----- 1010011", Format::R, scalar<F, Div>, Unit::HalfDivider, true},  \
    {"fsqrt" suffix, "0101110 00000 ----- " mode " ----- 1010011", Format::R1, scalar<F, Sqrt>, Unit::HalfDivider, true}, \
    {"fsgnj" suffix, "0010010 ----- ----- " s0 " ----- 1010011", Format::R, scalar<F, SignCopy>, Unit::Fpu, true},  \
    {"fsgnjn" suffix, "0010010 ----- ----- " s1 " ----- 1010011", Format::R, scalar<F, SignNegate>, Unit::Fpu, true}, \
    {"fsgnjx" suffix, "0010010 ----- ----- " s2 " ----- 1010011", Format::R, scalar<F, SignXor>, Unit::Fpu, true},  \
    {"fmin" suffix, "0010110 ----- ----- " s0 " ----- 1010011", Format::R, scalar_pick<F, true>, Unit::Fpu, true},            \
    {"fmax" suffix, "0010110 ----- ----- " s1 " ----- 1010011", Format::R, scalar_pick<F, false>, Unit::Fpu, true},            \
    {"feq" suffix, "1010010 ----- ----- " s2 " ----- 1010011", Format::R, scalar<F, Equal>, Unit::Fpu, true},           \
    {"flt" suffix, "1010010 ----- ----- " s1 " ----- 1010011", Format::R, scalar<F, Less>, Unit::Fpu, true},            \
    {"fle" suffix, "1010010 ----- ----- " s0 " ----- 1010011", Format::R, scalar<F, LessEqual>, Unit::Fpu, true},       \
    {"fcvt.w" suffix, "1100010 00000 ----- " mode " ----- 1010011", Format::R1, to_word<F>, Unit::Fpu, true},           \
    {"fcvt.wu" suffix, "1100010 00001 ----- " mode " ----- 1010011", Format::R1, to_unsigned_word<F>, Unit::Fpu, true}, \
    {"fcvt" suffix ".w", "1101010 00000 ----- " mode " ----- 1010011", Format::R1, from_word<F>, Unit::Fpu, true},      \
    {"fcvt" suffix ".wu", "1101010 00001 ----- " mode " ----- 1010011", Format::R1, from_unsigned_word<F>, Unit::Fpu, true}, \
    {"fmv.x" suffix, "1110010 00000 ----- " s0 " ----- 1010011", Format::R1, move, Unit::Fpu, true},                \
    {"fclass" suffix, "1110010 00000 ----- " s1 " ----- 1010011", Format::R1, classify_scalar<F>, Unit::Fpu, true},     \
    {"fmv" suffix ".x", "1111010 00000 ----- " s0 " ----- 1010011", Format::R1, move, Unit::Fpu, true},              \
    {"fcvt" suffix ".s", "0100010 00000 ----- " mode " ----- 1010011", Format::R1, from_single<F>, Unit::Fpu, true},    \
    {"fmulex.s" suffix, "0100110 ----- ----- " mode " ----- 1010011", Format::R, multiply_expand<F>, Unit::Fpu, true},  \
    {"fmacex.s" suffix, "0101010 ----- ----- " mode " ----- 1010011", Format::RAcc, accumulate_expand<F>, Unit::Fpu, true}

}  // namespace

void add_half_encodings(std::vector<Encoding>& table) {
    const Unit F = Unit::Fpu;
    const Encoding rows[] = {
        SCALAR_ROWS(Half, ".h", "---", "000", "001", "010"),
        SCALAR_ROWS(Brain, ".ah", "101", "100", "101", "110"),
        {"fcvt.s.h", "0100000 00010 ----- 000 ----- 1010011", Format::R1, to_single<Half>, F, true},
        {"fcvt.s.ah", "0100000 00110 ----- 000 ----- 1010011", Format::R1, to_single<Brain>, F, true},
        {"fcvt.h.ah", "0100010 00110 ----- --- ----- 1010011", Format::R1, between<Half, Brain>, F, true},
        {"fcvt.ah.h", "0100010 00010 ----- 101 ----- 1010011", Format::R1, between<Brain, Half>, F, true},
        PAIR_ROWS("add", "1000001", Add, F),
        PAIR_ROWS("sub", "1000010", Sub, F),
        PAIR_ROWS("mul", "1000011", Mul, F),
        PAIR_ROWS("div", "1000100", Div, Unit::Divider),
        PAIR_ROWS("min", "1000101", Min, F),
        PAIR_ROWS("max", "1000110", Max, F),
        HALF_PAIR_ROWS("sgnj", "1001101", SignCopy, F),
        // Here pulp-open has the form with a replicated operand where the other pairs have the plain one.
        BRAIN_PAIR_ROWS("sgnj", "1001101", SignCopy, F, "101", "001"),
        PAIR_ROWS("sgnjn", "1001110", SignNegate, F),
        PAIR_ROWS("sgnjx", "1001111", SignXor, F),
        PAIR_ROWS("avg", "1010110", Average, F),
        {"vfsqrt.h", "1000111 00000 ----- 010 ----- 0110011", Format::R1, pair<Half, Sqrt, false>, Unit::Divider, true},
        {"vfsqrt.ah", "1000111 00000 ----- 001 ----- 0110011", Format::R1, pair<Brain, Sqrt, false>, Unit::Divider, true},
        FUSED_ROWS("mac", "1001000", false),
        FUSED_ROWS("mre", "1001001", true),
        COMPARE_ROWS("eq", "1010000", Equal),
        COMPARE_ROWS("ne", "1010001", NotEqual),
        COMPARE_ROWS("lt", "1010010", Less),
        COMPARE_ROWS("ge", "1010011", GreaterEqual),
        COMPARE_ROWS("le", "1010100", LessEqual),
        COMPARE_ROWS("gt", "1010101", Greater),
        {"vfcpka.h.s", "1011000 ----- ----- 010 ----- 0110011", Format::R, pack_singles<Half>, F, true},
        {"vfcpka.ah.s", "1011000 ----- ----- 001 ----- 0110011", Format::R, pack_singles<Brain>, F, true},
        {"vfcvt.x.h", "1001100 00010 ----- 010 ----- 0110011", Format::R1, pair_to_integers<Half>, F, true},
        {"vfcvt.h.x", "1001100 00011 ----- 010 ----- 0110011", Format::R1, integers_to_pair<Half>, F, true},
        {"vfcvt.x.ah", "1001100 00010 ----- 001 ----- 0110011", Format::R1, pair_to_integers<Brain>, F, true},
        {"vfcvt.ah.x", "1001100 00011 ----- 001 ----- 0110011", Format::R1, integers_to_pair<Brain>, F, true},
        {"vfdotpex.s.h", "1001011 ----- ----- 000 ----- 0110011", Format::RAcc, dot_expand<Half, false, false>, F, true},
        {"vfdotpex.s.r.h", "1001011 ----- ----- 100 ----- 0110011", Format::RAcc, dot_expand<Half, true, false>, F, true},
        {"vfndotpex.s.h", "1011101 ----- ----- 000 ----- 0110011", Format::RAcc, dot_expand<Half, false, true>, F, true},
        {"vfndotpex.s.r.h", "1011101 ----- ----- 100 ----- 0110011", Format::RAcc, dot_expand<Half, true, true>, F, true},
        {"vfdotpex.s.ah", "1001011 ----- ----- 001 ----- 0110011", Format::RAcc, dot_expand_brain<false>, F, true},
        {"vfdotpex.s.r.ah", "1001011 ----- ----- 101 ----- 0110011", Format::RAcc, dot_expand_brain<true>, F, true},
    };
    table.insert(table.end(), std::begin(rows), std::end(rows));
}

}  // namespace sim
