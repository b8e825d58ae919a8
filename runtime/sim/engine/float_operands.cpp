// Where the operands of floating-point instructions are on a chip with floating-point registers apart.
#include "instruction.hpp"

namespace sim {

namespace {

constexpr FloatOperands all{true, true, true, true, false};

uint32_t bits(uint32_t word, uint32_t position, uint32_t width) { return word >> position & ((1u << width) - 1); }

// Opcode OP-FP and the fused operations: the operation in the five upper bits, then the format.
FloatOperands scalar(uint32_t match, bool fused) {
    const uint32_t operation = bits(match, 27, 5);
    FloatOperands result = all;
    result.half = bits(match, 25, 2) == 2;
    if (fused) {
        return result;
    }
    switch (operation) {
        case 0b10100:                       // comparisons
        case 0b11000:                       // to an integer
        case 0b11100:                       // fmv.x, fclass
            result.rd = result.half = false;
            break;
        case 0b11010:                       // from an integer
        case 0b11110: result.rs1 = false; break;    // fmv from x
        case 0b01001:                       // fmulex.s, fmacex.s: the result is a single
        case 0b01010: result.half = false; break;
        default: break;
    }
    return result;
}

// Pairs of 16-bit numbers, among the integer operations.
FloatOperands pairs(uint32_t match) {
    FloatOperands result = all;
    const uint32_t operation = bits(match, 25, 7);
    if (operation >= 0b1010000 && operation <= 0b1010101) {
        result.rd = false;                  // comparisons
    } else if (operation == 0b1001100) {
        const bool to_integers = bits(match, 20, 5) == 2;
        (to_integers ? result.rd : result.rs1) = false;
    }
    return result;
}

}  // namespace

FloatOperands float_operands(uint32_t match) {
    switch (bits(match, 0, 7)) {
        case 0x07: return {true, false, false, false, false};
        case 0x27: return {false, false, true, false, false};
        case 0x43: case 0x47: case 0x4b: case 0x4f: return scalar(match, true);
        case 0x53: return scalar(match, false);
        case 0x33: return bits(match, 25, 7) > 0b1000000 && bits(match, 30, 2) == 0b10 ? pairs(match) : FloatOperands{};
        default: return {};
    }
}

}  // namespace sim
