// Xpulpv2 scalar arithmetic: min/max/clip, bit manipulation, normalised additions, 16-bit products.
#include <iterator>

#include "core.hpp"
#include "instruction.hpp"

namespace sim {

namespace {

inline int32_t sx(uint32_t v) { return static_cast<int32_t>(v); }
inline uint32_t ux(int32_t v) { return static_cast<uint32_t>(v); }
inline int32_t low_half(uint32_t v) { return static_cast<int16_t>(v); }
inline int32_t high_half(uint32_t v) { return static_cast<int16_t>(v >> 16); }
inline uint32_t low_half_u(uint32_t v) { return v & 0xffff; }
inline uint32_t high_half_u(uint32_t v) { return v >> 16; }

// A mask of `width` ones (1 to 32) starting at bit `shift`.
inline uint32_t field_mask(uint32_t width, uint32_t shift) {
    return static_cast<uint32_t>(((1ull << width) - 1) << shift);
}

#define OPERATION(name, expression)                                  \
    void name(Core& core, const Instruction& i) {                    \
        [[maybe_unused]] const uint32_t a = core.x[i.rs1];           \
        [[maybe_unused]] const uint32_t b = core.x[i.rs2];           \
        [[maybe_unused]] const uint32_t n = static_cast<uint32_t>(i.immediate); \
        core.x[i.rd] = (expression);                                 \
    }
// The same with the old value of rd as `d`.
#define ACCUMULATE(name, expression)                                 \
    void name(Core& core, const Instruction& i) {                    \
        [[maybe_unused]] const uint32_t a = core.x[i.rs1];           \
        [[maybe_unused]] const uint32_t b = core.x[i.rs2];           \
        [[maybe_unused]] const uint32_t d = core.x[i.rs3];           \
        [[maybe_unused]] const uint32_t n = static_cast<uint32_t>(i.immediate); \
        core.x[i.rd] = (expression);                                 \
    }

OPERATION(avgu, (a + b) >> 1)
OPERATION(slet, sx(a) <= sx(b))
OPERATION(sletu, a <= b)
OPERATION(min_signed, sx(a) < sx(b) ? a : b)
OPERATION(min_unsigned, a < b ? a : b)
OPERATION(max_signed, sx(a) > sx(b) ? a : b)
OPERATION(max_unsigned, a > b ? a : b)
OPERATION(rotate_right, (a >> (b & 31)) | (a << ((32 - (b & 31)) & 31)))
OPERATION(find_first_one, a == 0 ? 32 : ux(__builtin_ctz(a)))
OPERATION(find_last_one, a == 0 ? 32 : 31 - ux(__builtin_clz(a)))
OPERATION(count_leading_bits, a == 0 ? 0 : ux(__builtin_clrsb(sx(a))))
OPERATION(count_ones, ux(__builtin_popcount(a)))
OPERATION(extend_half_signed, ux(low_half(a)))
OPERATION(extend_half_unsigned, a & 0xffff)
OPERATION(extend_byte_signed, ux(static_cast<int8_t>(a)))
OPERATION(extend_byte_unsigned, a & 0xff)
OPERATION(absolute, sx(a) < 0 ? 0u - a : a)

inline uint32_t clip(uint32_t value, int32_t low, int32_t high) {
    return sx(value) < low ? ux(low) : sx(value) > high ? ux(high) : value;
}
inline uint32_t clip_unsigned(uint32_t value, int32_t high) {
    return sx(value) > high ? ux(high) : sx(value) < 0 ? 0 : value;
}
inline int32_t clip_bound(uint32_t bits) { return sx(1u << (bits > 1 ? bits - 1 : 0)); }
OPERATION(clip_immediate, clip(a, sx(0u - ux(clip_bound(n))), clip_bound(n) - 1))
OPERATION(clip_unsigned_immediate, clip_unsigned(a, clip_bound(n) - 1))
OPERATION(clip_register, clip(a, sx(~b), sx(b)))
OPERATION(clip_unsigned_register, clip_unsigned(a, sx(b)))

ACCUMULATE(mac, d + a * b)
ACCUMULATE(msu, d - a * b)

// 16-bit products, shifted right by n, optionally rounded by half of the last place.
inline uint32_t round_half(uint32_t n) { return n == 0 ? 0 : 1u << (n - 1); }
inline uint32_t sra(uint32_t v, uint32_t n) { return ux(sx(v) >> n); }
// Rounding has more than 32 bits, but for the plain unsigned product.
inline uint32_t rounded_signed(uint32_t v, uint32_t n) { return ux(static_cast<int32_t>((int64_t{sx(v)} + round_half(n)) >> n)); }
inline uint32_t rounded_unsigned(uint32_t v, uint32_t n) { return static_cast<uint32_t>((uint64_t{v} + round_half(n)) >> n); }
OPERATION(muls, sra(ux(low_half(a) * low_half(b)), n))
OPERATION(mulhhs, sra(ux(high_half(a) * high_half(b)), n))
OPERATION(muls_round, rounded_signed(ux(low_half(a) * low_half(b)), n))
OPERATION(mulhhs_round, rounded_signed(ux(high_half(a) * high_half(b)), n))
OPERATION(mulu, (low_half_u(a) * low_half_u(b)) >> n)
OPERATION(mulhhu, (high_half_u(a) * high_half_u(b)) >> n)
OPERATION(mulu_round, (low_half_u(a) * low_half_u(b) + round_half(n)) >> n)
OPERATION(mulhhu_round, (high_half_u(a) * high_half_u(b) + round_half(n)) >> n)
ACCUMULATE(macs, sra(d + ux(low_half(a) * low_half(b)), n))
ACCUMULATE(machhs, sra(d + ux(high_half(a) * high_half(b)), n))
ACCUMULATE(macs_round, rounded_signed(d + ux(low_half(a) * low_half(b)), n))
ACCUMULATE(machhs_round, rounded_signed(d + ux(high_half(a) * high_half(b)), n))
ACCUMULATE(macu, (d + low_half_u(a) * low_half_u(b)) >> n)
ACCUMULATE(machhu, (d + high_half_u(a) * high_half_u(b)) >> n)
ACCUMULATE(macu_round, rounded_unsigned(d + low_half_u(a) * low_half_u(b), n))
ACCUMULATE(machhu_round, rounded_unsigned(d + high_half_u(a) * high_half_u(b), n))

OPERATION(add_normalised, sra(a + b, n))
OPERATION(add_normalised_unsigned, (a + b) >> n)
OPERATION(add_normalised_round, sra(a + b + round_half(n), n))
OPERATION(add_normalised_round_unsigned, (a + b + round_half(n)) >> n)
OPERATION(sub_normalised, sra(a - b, n))
OPERATION(sub_normalised_unsigned, (a - b) >> n)
OPERATION(sub_normalised_round, sra(a - b + round_half(n), n))
OPERATION(sub_normalised_round_unsigned, (a - b + round_half(n)) >> n)
// Forms with the shift in a register: rd op rs1, shifted by rs2.
ACCUMULATE(add_normalised_register, sra(d + a, b & 31))
ACCUMULATE(add_normalised_unsigned_register, (d + a) >> (b & 31))
ACCUMULATE(add_normalised_round_register, sra(d + a + round_half(b & 31), b & 31))
ACCUMULATE(add_normalised_round_unsigned_register, (d + a + round_half(b & 31)) >> (b & 31))
ACCUMULATE(sub_normalised_register, sra(d - a, b & 31))
ACCUMULATE(sub_normalised_unsigned_register, (d - a) >> (b & 31))
ACCUMULATE(sub_normalised_round_register, sra(d - a + round_half(b & 31), b & 31))
ACCUMULATE(sub_normalised_round_unsigned_register, (d - a + round_half(b & 31)) >> (b & 31))

// Bit fields: width - 1 and position come from immediates, or from bits 9..5 and 4..0 of rs2.
inline uint32_t extract_signed(uint32_t value, uint32_t width, uint32_t shift) {
    if (shift + width > 32) {
        width = 32 - shift;
    }
    return ux(sx(value << (32 - width - shift)) >> (32 - width));
}
inline uint32_t extract_unsigned(uint32_t value, uint32_t width, uint32_t shift) {
    return (value & field_mask(width, shift)) >> shift;
}
inline uint32_t insert(uint32_t target, uint32_t value, uint32_t width, uint32_t shift) {
    const uint32_t mask = field_mask(width, shift);
    return (target & ~mask) | ((value << shift) & mask);
}
#define WIDTH_I (n + 1)
#define SHIFT_I (i.immediate2)
#define WIDTH_R (((b >> 5) & 31) + 1)
#define SHIFT_R (b & 31)
OPERATION(extracti, extract_signed(a, WIDTH_I, SHIFT_I))
OPERATION(extractui, extract_unsigned(a, WIDTH_I, SHIFT_I))
OPERATION(extract, extract_signed(a, WIDTH_R, SHIFT_R))
OPERATION(extractu, extract_unsigned(a, WIDTH_R, SHIFT_R))
ACCUMULATE(inserti, insert(d, a, WIDTH_I, SHIFT_I))
ACCUMULATE(insert_register, insert(d, a, WIDTH_R, SHIFT_R))
OPERATION(bseti, a | field_mask(WIDTH_I, SHIFT_I))
OPERATION(bclri, a & ~field_mask(WIDTH_I, SHIFT_I))
OPERATION(bset, a | field_mask(WIDTH_R, SHIFT_R))
OPERATION(bclr, a & ~field_mask(WIDTH_R, SHIFT_R))

}  // namespace

void add_pulp_encodings(std::vector<Encoding>& table) {
    const Encoding rows[] = {
        {"p.avgu", "0000010 ----- ----- 001 ----- 0110011", Format::R, avgu},
        {"p.slet", "0000010 ----- ----- 010 ----- 0110011", Format::R, slet},
        {"p.sletu", "0000010 ----- ----- 011 ----- 0110011", Format::R, sletu},
        {"p.min", "0000010 ----- ----- 100 ----- 0110011", Format::R, min_signed},
        {"p.minu", "0000010 ----- ----- 101 ----- 0110011", Format::R, min_unsigned},
        {"p.max", "0000010 ----- ----- 110 ----- 0110011", Format::R, max_signed},
        {"p.maxu", "0000010 ----- ----- 111 ----- 0110011", Format::R, max_unsigned},
        {"p.ror", "0000100 ----- ----- 101 ----- 0110011", Format::R, rotate_right},
        {"p.ff1", "0001000 00000 ----- 000 ----- 0110011", Format::R1, find_first_one},
        {"p.fl1", "0001000 00000 ----- 001 ----- 0110011", Format::R1, find_last_one},
        {"p.clb", "0001000 00000 ----- 010 ----- 0110011", Format::R1, count_leading_bits},
        {"p.cnt", "0001000 00000 ----- 011 ----- 0110011", Format::R1, count_ones},
        {"p.exths", "0001000 00000 ----- 100 ----- 0110011", Format::R1, extend_half_signed},
        {"p.exthz", "0001000 00000 ----- 101 ----- 0110011", Format::R1, extend_half_unsigned},
        {"p.extbs", "0001000 00000 ----- 110 ----- 0110011", Format::R1, extend_byte_signed},
        {"p.extbz", "0001000 00000 ----- 111 ----- 0110011", Format::R1, extend_byte_unsigned},
        {"p.abs", "0000010 00000 ----- 000 ----- 0110011", Format::R1, absolute},
        {"p.clip", "0001010 ----- ----- 001 ----- 0110011", Format::IShift, clip_immediate},
        {"p.clipu", "0001010 ----- ----- 010 ----- 0110011", Format::IShift, clip_unsigned_immediate},
        {"p.clipr", "0001010 ----- ----- 101 ----- 0110011", Format::R, clip_register},
        {"p.clipur", "0001010 ----- ----- 110 ----- 0110011", Format::R, clip_unsigned_register},
        {"p.mac", "0100001 ----- ----- 000 ----- 0110011", Format::RAcc, mac},
        {"p.msu", "0100001 ----- ----- 001 ----- 0110011", Format::RAcc, msu},

        {"p.mulsN", "10----- ----- ----- 000 ----- 1011011", Format::RN, muls},
        {"p.mulhhsN", "11----- ----- ----- 000 ----- 1011011", Format::RN, mulhhs},
        {"p.mulsRN", "10----- ----- ----- 100 ----- 1011011", Format::RN, muls_round},
        {"p.mulhhsRN", "11----- ----- ----- 100 ----- 1011011", Format::RN, mulhhs_round},
        {"p.muluN", "00----- ----- ----- 000 ----- 1011011", Format::RN, mulu},
        {"p.mulhhuN", "01----- ----- ----- 000 ----- 1011011", Format::RN, mulhhu},
        {"p.muluRN", "00----- ----- ----- 100 ----- 1011011", Format::RN, mulu_round},
        {"p.mulhhuRN", "01----- ----- ----- 100 ----- 1011011", Format::RN, mulhhu_round},
        {"p.macsN", "10----- ----- ----- 001 ----- 1011011", Format::RNAcc, macs},
        {"p.machhsN", "11----- ----- ----- 001 ----- 1011011", Format::RNAcc, machhs},
        {"p.macsRN", "10----- ----- ----- 101 ----- 1011011", Format::RNAcc, macs_round},
        {"p.machhsRN", "11----- ----- ----- 101 ----- 1011011", Format::RNAcc, machhs_round},
        {"p.macuN", "00----- ----- ----- 001 ----- 1011011", Format::RNAcc, macu},
        {"p.machhuN", "01----- ----- ----- 001 ----- 1011011", Format::RNAcc, machhu},
        {"p.macuRN", "00----- ----- ----- 101 ----- 1011011", Format::RNAcc, macu_round},
        {"p.machhuRN", "01----- ----- ----- 101 ----- 1011011", Format::RNAcc, machhu_round},
        {"p.addN", "00----- ----- ----- 010 ----- 1011011", Format::RN, add_normalised},
        {"p.adduN", "10----- ----- ----- 010 ----- 1011011", Format::RN, add_normalised_unsigned},
        {"p.addRN", "00----- ----- ----- 110 ----- 1011011", Format::RN, add_normalised_round},
        {"p.adduRN", "10----- ----- ----- 110 ----- 1011011", Format::RN, add_normalised_round_unsigned},
        {"p.subN", "00----- ----- ----- 011 ----- 1011011", Format::RN, sub_normalised},
        {"p.subuN", "10----- ----- ----- 011 ----- 1011011", Format::RN, sub_normalised_unsigned},
        {"p.subRN", "00----- ----- ----- 111 ----- 1011011", Format::RN, sub_normalised_round},
        {"p.subuRN", "10----- ----- ----- 111 ----- 1011011", Format::RN, sub_normalised_round_unsigned},
        {"p.addNr", "0100000 ----- ----- 010 ----- 1011011", Format::RAcc, add_normalised_register},
        {"p.adduNr", "1100000 ----- ----- 010 ----- 1011011", Format::RAcc, add_normalised_unsigned_register},
        {"p.addRNr", "0100000 ----- ----- 110 ----- 1011011", Format::RAcc, add_normalised_round_register},
        {"p.adduRNr", "1100000 ----- ----- 110 ----- 1011011", Format::RAcc, add_normalised_round_unsigned_register},
        {"p.subNr", "0100000 ----- ----- 011 ----- 1011011", Format::RAcc, sub_normalised_register},
        {"p.subuNr", "1100000 ----- ----- 011 ----- 1011011", Format::RAcc, sub_normalised_unsigned_register},
        {"p.subRNr", "0100000 ----- ----- 111 ----- 1011011", Format::RAcc, sub_normalised_round_register},
        {"p.subuRNr", "1100000 ----- ----- 111 ----- 1011011", Format::RAcc, sub_normalised_round_unsigned_register},

        {"p.extract", "11----- ----- ----- 000 ----- 0110011", Format::Bits, extracti},
        {"p.extractu", "11----- ----- ----- 001 ----- 0110011", Format::Bits, extractui},
        {"p.insert", "11----- ----- ----- 010 ----- 0110011", Format::BitsAcc, inserti},
        {"p.bclr", "11----- ----- ----- 011 ----- 0110011", Format::Bits, bclri},
        {"p.bset", "11----- ----- ----- 100 ----- 0110011", Format::Bits, bseti},
        {"p.extractr", "1000000 ----- ----- 000 ----- 0110011", Format::R, extract},
        {"p.extractur", "1000000 ----- ----- 001 ----- 0110011", Format::R, extractu},
        {"p.insertr", "1000000 ----- ----- 010 ----- 0110011", Format::RAcc, insert_register},
        {"p.bclrr", "1000000 ----- ----- 011 ----- 0110011", Format::R, bclr},
        {"p.bsetr", "1000000 ----- ----- 100 ----- 0110011", Format::R, bset},
    };
    table.insert(table.end(), std::begin(rows), std::end(rows));
}

}  // namespace sim
