// RVC: each 16-bit form as the 32-bit instruction that it stands for, floating-point loads and stores
// included.
#include "instruction.hpp"

namespace sim {

namespace {

uint32_t bits(uint32_t w, uint32_t position, uint32_t width) { return w >> position & ((1u << width) - 1); }

uint32_t i_type(uint32_t opcode, uint32_t funct3, uint32_t rd, uint32_t rs1, uint32_t immediate) {
    return (immediate & 0xfff) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode;
}
uint32_t s_type(uint32_t opcode, uint32_t funct3, uint32_t rs1, uint32_t rs2, uint32_t immediate) {
    return (immediate >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (immediate & 31) << 7 | opcode;
}
uint32_t r_type(uint32_t funct7, uint32_t funct3, uint32_t rd, uint32_t rs1, uint32_t rs2) {
    return funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x33;
}
uint32_t b_type(uint32_t funct3, uint32_t rs1, uint32_t offset) {
    return (offset >> 12 & 1) << 31 | (offset >> 5 & 63) << 25 | rs1 << 15 | funct3 << 12 | (offset >> 1 & 15) << 8 |
           (offset >> 11 & 1) << 7 | 0x63;
}
uint32_t j_type(uint32_t rd, uint32_t offset) {
    return (offset >> 20 & 1) << 31 | (offset >> 1 & 0x3ff) << 21 | (offset >> 11 & 1) << 20 |
           (offset >> 12 & 0xff) << 12 | rd << 7 | 0x6f;
}
uint32_t extend(uint32_t value, uint32_t width) {
    return static_cast<uint32_t>(static_cast<int32_t>(value << (32 - width)) >> (32 - width));
}

constexpr uint32_t op_imm = 0x13, op_load = 0x03, op_store = 0x23, op_load_float = 0x07, op_store_float = 0x27;

uint32_t quadrant0(uint32_t w) {
    const uint32_t rd = 8 + bits(w, 2, 3), rs1 = 8 + bits(w, 7, 3);
    const uint32_t word_offset = bits(w, 6, 1) << 2 | bits(w, 10, 3) << 3 | bits(w, 5, 1) << 6;
    switch (bits(w, 13, 3)) {
        case 0: {
            const uint32_t immediate = bits(w, 6, 1) << 2 | bits(w, 5, 1) << 3 | bits(w, 11, 2) << 4 | bits(w, 7, 4) << 6;
            return immediate == 0 ? 0 : i_type(op_imm, 0, rd, 2, immediate);
        }
        case 2: return i_type(op_load, 2, rd, rs1, word_offset);
        case 3: return i_type(op_load_float, 2, rd, rs1, word_offset);
        case 6: return s_type(op_store, 2, rs1, rd, word_offset);
        case 7: return s_type(op_store_float, 2, rs1, rd, word_offset);
        default: return 0;
    }
}

uint32_t quadrant1_arithmetic(uint32_t w) {
    const uint32_t rd = 8 + bits(w, 7, 3), rs2 = 8 + bits(w, 2, 3);
    const uint32_t shift = bits(w, 2, 5) | bits(w, 12, 1) << 5;
    switch (bits(w, 10, 2)) {
        case 0: return shift > 31 ? 0 : i_type(op_imm, 5, rd, rd, shift);
        case 1: return shift > 31 ? 0 : i_type(op_imm, 5, rd, rd, shift | 0x400);
        case 2: return i_type(op_imm, 7, rd, rd, extend(shift, 6));
        default: break;
    }
    if (bits(w, 12, 1) != 0) {
        return 0;
    }
    switch (bits(w, 5, 2)) {
        case 0: return r_type(0x20, 0, rd, rd, rs2);
        case 1: return r_type(0, 4, rd, rd, rs2);
        case 2: return r_type(0, 6, rd, rd, rs2);
        default: return r_type(0, 7, rd, rd, rs2);
    }
}

uint32_t quadrant1(uint32_t w) {
    const uint32_t rd = bits(w, 7, 5);
    const uint32_t immediate = extend(bits(w, 2, 5) | bits(w, 12, 1) << 5, 6);
    const uint32_t jump = extend(bits(w, 3, 3) << 1 | bits(w, 11, 1) << 4 | bits(w, 2, 1) << 5 | bits(w, 7, 1) << 6 |
                                 bits(w, 6, 1) << 7 | bits(w, 9, 2) << 8 | bits(w, 8, 1) << 10 | bits(w, 12, 1) << 11, 12);
    const uint32_t branch = extend(bits(w, 3, 2) << 1 | bits(w, 10, 2) << 3 | bits(w, 2, 1) << 5 | bits(w, 5, 2) << 6 |
                                   bits(w, 12, 1) << 8, 9);
    switch (bits(w, 13, 3)) {
        case 0: return i_type(op_imm, 0, rd, rd, immediate);
        case 1: return j_type(1, jump);
        case 2: return i_type(op_imm, 0, rd, 0, immediate);
        case 3:
            if (rd == 2) {
                const uint32_t stack = extend(bits(w, 6, 1) << 4 | bits(w, 2, 1) << 5 | bits(w, 5, 1) << 6 |
                                              bits(w, 3, 2) << 7 | bits(w, 12, 1) << 9, 10);
                return stack == 0 ? 0 : i_type(op_imm, 0, 2, 2, stack);
            }
            return immediate == 0 ? 0 : immediate << 12 | rd << 7 | 0x37;
        case 4: return quadrant1_arithmetic(w);
        case 5: return j_type(0, jump);
        case 6: return b_type(0, 8 + bits(w, 7, 3), branch);
        default: return b_type(1, 8 + bits(w, 7, 3), branch);
    }
}

uint32_t quadrant2(uint32_t w) {
    const uint32_t rd = bits(w, 7, 5), rs2 = bits(w, 2, 5);
    switch (bits(w, 13, 3)) {
        case 0: return bits(w, 12, 1) != 0 ? 0 : i_type(op_imm, 1, rd, rd, rs2);
        case 2: case 3: {
            const uint32_t offset = bits(w, 4, 3) << 2 | bits(w, 12, 1) << 5 | bits(w, 2, 2) << 6;
            if (bits(w, 13, 3) == 3) { return i_type(op_load_float, 2, rd, 2, offset); }
            return rd == 0 ? 0 : i_type(op_load, 2, rd, 2, offset);
        }
        case 4:
            if (bits(w, 12, 1) == 0) {
                if (rs2 != 0) { return r_type(0, 0, rd, 0, rs2); }
                return rd == 0 ? 0 : i_type(0x67, 0, 0, rd, 0);
            }
            if (rs2 != 0) { return r_type(0, 0, rd, rd, rs2); }
            return rd == 0 ? 0x00100073 : i_type(0x67, 0, 1, rd, 0);
        case 6: case 7: {
            const uint32_t opcode = bits(w, 13, 3) == 6 ? op_store : op_store_float;
            return s_type(opcode, 2, 2, rs2, bits(w, 9, 4) << 2 | bits(w, 7, 2) << 6);
        }
        default: return 0;
    }
}

}  // namespace

uint32_t expand_compressed(uint16_t word) {
    switch (word & 3) {
        case 0: return quadrant0(word);
        case 1: return quadrant1(word);
        case 2: return quadrant2(word);
        default: return 0;
    }
}

}  // namespace sim
