// Xpulpv2 packed integers: two 16-bit or four 8-bit lanes in a register.
#include <iterator>
#include <string>

#include "core.hpp"
#include "instruction.hpp"

namespace sim {

namespace {

template <typename Lane> constexpr uint32_t lanes = 4 / sizeof(Lane);
template <typename Lane> constexpr uint32_t lane_bits = 8 * sizeof(Lane);

template <typename Lane>
inline Lane lane(uint32_t word, uint32_t index) { return static_cast<Lane>(word >> (index * lane_bits<Lane>)); }

template <typename Lane>
inline uint32_t place(uint32_t value, uint32_t index) {
    constexpr uint32_t mask = sizeof(Lane) == 1 ? 0xff : 0xffff;
    return (value & mask) << (index * lane_bits<Lane>);
}

// Where the second operand comes from: a register lane by lane, the lowest lane of a register for
// all (.sc), an immediate for all (.sci).
enum Operand { Vector, Scalar, Immediate };

template <typename Lane, Operand operand>
inline Lane second(const Core& core, const Instruction& i, uint32_t index) {
    if constexpr (operand == Vector) {
        return lane<Lane>(core.x[i.rs2], index);
    } else if constexpr (operand == Scalar) {
        return static_cast<Lane>(core.x[i.rs2]);
    } else {
        return static_cast<Lane>(i.immediate);
    }
}

template <typename Operation, typename Lane, Operand operand>
void lane_wise(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1];
    uint32_t result = 0;
    for (uint32_t index = 0; index < lanes<Lane>; ++index) {
        result |= place<Lane>(static_cast<uint32_t>(Operation::template apply<Lane>(
                                  lane<Lane>(a, index), second<Lane, operand>(core, i, index))), index);
    }
    core.x[i.rd] = result;
}

#define LANE_OPERATION(Name, expression) \
    struct Name { template <typename L> static L apply(L a, L b) { return static_cast<L>(expression); } };
LANE_OPERATION(Add, a + b)
LANE_OPERATION(Sub, a - b)
LANE_OPERATION(Average, static_cast<L>(a + b) >> 1)
LANE_OPERATION(Min, a < b ? a : b)
LANE_OPERATION(Max, a > b ? a : b)
LANE_OPERATION(ShiftRight, a >> (b & (8 * sizeof(L) - 1)))
LANE_OPERATION(ShiftLeft, static_cast<unsigned>(a) << (b & (8 * sizeof(L) - 1)))
LANE_OPERATION(Or, a | b)
LANE_OPERATION(Xor, a ^ b)
LANE_OPERATION(And, a & b)
LANE_OPERATION(Equal, a == b ? -1 : 0)
LANE_OPERATION(NotEqual, a != b ? -1 : 0)
LANE_OPERATION(Greater, a > b ? -1 : 0)
LANE_OPERATION(GreaterEqual, a >= b ? -1 : 0)
LANE_OPERATION(Less, a < b ? -1 : 0)
LANE_OPERATION(LessEqual, a <= b ? -1 : 0)

template <typename Lane>
void absolute(Core& core, const Instruction& i) {
    uint32_t result = 0;
    for (uint32_t index = 0; index < lanes<Lane>; ++index) {
        const int32_t value = lane<Lane>(core.x[i.rs1], index);
        result |= place<Lane>(static_cast<uint32_t>(value < 0 ? -value : value), index);
    }
    core.x[i.rd] = result;
}

// Dot products; LaneA and LaneB give the signedness of each side.
template <typename LaneA, typename LaneB, Operand operand, bool accumulate>
void dot(Core& core, const Instruction& i) {
    uint32_t sum = accumulate ? core.x[i.rs3] : 0;
    const uint32_t a = core.x[i.rs1];
    for (uint32_t index = 0; index < lanes<LaneA>; ++index) {
        sum += static_cast<uint32_t>(lane<LaneA>(a, index)) *
               static_cast<uint32_t>(second<LaneB, operand>(core, i, index));
    }
    core.x[i.rd] = sum;
}

template <typename Lane>
void extract(Core& core, const Instruction& i) {
    const uint32_t index = static_cast<uint32_t>(i.immediate) & (lanes<Lane> - 1);
    core.x[i.rd] = static_cast<uint32_t>(lane<Lane>(core.x[i.rs1], index));
}
template <typename Lane>
void insert(Core& core, const Instruction& i) {
    const uint32_t index = static_cast<uint32_t>(i.immediate) & (lanes<Lane> - 1);
    core.x[i.rd] = (core.x[i.rs3] & ~place<Lane>(~0u, index)) | place<Lane>(core.x[i.rs1], index);
}

template <typename Lane>
void shuffle(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1], selectors = core.x[i.rs2];
    uint32_t result = 0;
    for (uint32_t index = 0; index < lanes<Lane>; ++index) {
        const uint32_t from = static_cast<uint32_t>(lane<Lane>(selectors, index)) & (lanes<Lane> - 1);
        result |= place<Lane>(static_cast<uint32_t>(lane<Lane>(a, from)), index);
    }
    core.x[i.rd] = result;
}
// Selects among the lanes of rs1 (selector bit above the index set) and of the old rd.
template <typename Lane>
void shuffle2(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1], selectors = core.x[i.rs2], d = core.x[i.rs3];
    uint32_t result = 0;
    for (uint32_t index = 0; index < lanes<Lane>; ++index) {
        const uint32_t selector = static_cast<uint32_t>(lane<Lane>(selectors, index));
        const uint32_t source = (selector & lanes<Lane>) != 0 ? a : d;
        result |= place<Lane>(static_cast<uint32_t>(lane<Lane>(source, selector & (lanes<Lane> - 1))), index);
    }
    core.x[i.rd] = result;
}
void shuffle_half_immediate(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1], s = static_cast<uint32_t>(i.immediate);
    core.x[i.rd] = place<uint16_t>(a >> ((s & 1) * 16), 0) | place<uint16_t>(a >> ((s >> 1 & 1) * 16), 1);
}
// The top byte comes from a fixed position, the others are selected by two bits each.
template <uint32_t top>
void shuffle_byte_immediate(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1], s = static_cast<uint32_t>(i.immediate);
    uint32_t result = place<uint8_t>(a >> (8 * top), 3);
    for (uint32_t index = 0; index < 3; ++index) {
        result |= place<uint8_t>(a >> ((s >> (2 * index) & 3) * 8), index);
    }
    core.x[i.rd] = result;
}
void pack_half(Core& core, const Instruction& i) {
    core.x[i.rd] = (core.x[i.rs1] << 16) | (core.x[i.rs2] & 0xffff);
}
void pack_high_bytes(Core& core, const Instruction& i) {
    core.x[i.rd] = (core.x[i.rs1] & 0xff) << 24 | (core.x[i.rs2] & 0xff) << 16 | (core.x[i.rs3] & 0xffff);
}
void pack_low_bytes(Core& core, const Instruction& i) {
    core.x[i.rd] = (core.x[i.rs1] & 0xff) << 8 | (core.x[i.rs2] & 0xff) | (core.x[i.rs3] & 0xffff0000);
}

#define NAME_(stem, suffix) "pv." stem suffix
// Six forms of a lane-wise operation: halves and bytes, each with vector, scalar and immediate.
#define LANE_ROWS(stem, bits, Operation, Half, Byte, immediate_format)                                   \
    {NAME_(stem, ".h"), bits "- ----- ----- 000 ----- 1010111", Format::R, lane_wise<Operation, Half, Vector>},       \
    {NAME_(stem, ".sc.h"), bits "- ----- ----- 100 ----- 1010111", Format::R, lane_wise<Operation, Half, Scalar>},    \
    {NAME_(stem, ".sci.h"), bits "- ----- ----- 110 ----- 1010111", immediate_format, lane_wise<Operation, Half, Immediate>}, \
    {NAME_(stem, ".b"), bits "- ----- ----- 001 ----- 1010111", Format::R, lane_wise<Operation, Byte, Vector>},       \
    {NAME_(stem, ".sc.b"), bits "- ----- ----- 101 ----- 1010111", Format::R, lane_wise<Operation, Byte, Scalar>},    \
    {NAME_(stem, ".sci.b"), bits "- ----- ----- 111 ----- 1010111", immediate_format, lane_wise<Operation, Byte, Immediate>}
#define SIGNED_ROWS(stem, bits, Operation) LANE_ROWS(stem, bits, Operation, int16_t, int8_t, Format::VecS)
#define UNSIGNED_ROWS(stem, bits, Operation) LANE_ROWS(stem, bits, Operation, uint16_t, uint8_t, Format::VecU)

#define DOT_ROWS(stem, bits, HalfA, HalfB, ByteA, ByteB, accumulate, format, immediate_format)            \
    {NAME_(stem, ".h"), bits "- ----- ----- 000 ----- 1010111", format, dot<HalfA, HalfB, Vector, accumulate>},        \
    {NAME_(stem, ".sc.h"), bits "- ----- ----- 100 ----- 1010111", format, dot<HalfA, HalfB, Scalar, accumulate>},     \
    {NAME_(stem, ".sci.h"), bits "- ----- ----- 110 ----- 1010111", immediate_format, dot<HalfA, HalfB, Immediate, accumulate>}, \
    {NAME_(stem, ".b"), bits "- ----- ----- 001 ----- 1010111", format, dot<ByteA, ByteB, Vector, accumulate>},        \
    {NAME_(stem, ".sc.b"), bits "- ----- ----- 101 ----- 1010111", format, dot<ByteA, ByteB, Scalar, accumulate>},     \
    {NAME_(stem, ".sci.b"), bits "- ----- ----- 111 ----- 1010111", immediate_format, dot<ByteA, ByteB, Immediate, accumulate>}

}  // namespace

void add_vector_encodings(std::vector<Encoding>& table) {
    const Encoding rows[] = {
        SIGNED_ROWS("add", "000000", Add),
        SIGNED_ROWS("sub", "000010", Sub),
        SIGNED_ROWS("avg", "000100", Average),
        UNSIGNED_ROWS("avgu", "000110", Average),
        SIGNED_ROWS("min", "001000", Min),
        UNSIGNED_ROWS("minu", "001010", Min),
        SIGNED_ROWS("max", "001100", Max),
        UNSIGNED_ROWS("maxu", "001110", Max),
        UNSIGNED_ROWS("srl", "010000", ShiftRight),
        SIGNED_ROWS("sra", "010010", ShiftRight),
        UNSIGNED_ROWS("sll", "010100", ShiftLeft),
        SIGNED_ROWS("or", "010110", Or),
        SIGNED_ROWS("xor", "011000", Xor),
        SIGNED_ROWS("and", "011010", And),
        SIGNED_ROWS("cmpeq", "000001", Equal),
        SIGNED_ROWS("cmpne", "000011", NotEqual),
        SIGNED_ROWS("cmpgt", "000101", Greater),
        SIGNED_ROWS("cmpge", "000111", GreaterEqual),
        SIGNED_ROWS("cmplt", "001001", Less),
        SIGNED_ROWS("cmple", "001011", LessEqual),
        UNSIGNED_ROWS("cmpgtu", "001101", Greater),
        UNSIGNED_ROWS("cmpgeu", "001111", GreaterEqual),
        UNSIGNED_ROWS("cmpltu", "010001", Less),
        UNSIGNED_ROWS("cmpleu", "010011", LessEqual),
        DOT_ROWS("dotsp", "100110", int16_t, int16_t, int8_t, int8_t, false, Format::R, Format::VecS),
        DOT_ROWS("dotup", "100000", uint16_t, uint16_t, uint8_t, uint8_t, false, Format::R, Format::VecU),
        DOT_ROWS("dotusp", "100010", uint16_t, int16_t, uint8_t, int8_t, false, Format::R, Format::VecS),
        DOT_ROWS("sdotsp", "101110", int16_t, int16_t, int8_t, int8_t, true, Format::RAcc, Format::VecSAcc),
        DOT_ROWS("sdotup", "101000", uint16_t, uint16_t, uint8_t, uint8_t, true, Format::RAcc, Format::VecUAcc),
        DOT_ROWS("sdotusp", "101010", uint16_t, int16_t, uint8_t, int8_t, true, Format::RAcc, Format::VecSAcc),
        {"pv.abs.h", "0111000 ----- ----- 000 ----- 1010111", Format::R1, absolute<int16_t>},
        {"pv.abs.b", "0111000 ----- ----- 001 ----- 1010111", Format::R1, absolute<int8_t>},
        {"pv.extract.h", "011110- ----- ----- 110 ----- 1010111", Format::VecU, extract<int16_t>},
        {"pv.extract.b", "011110- ----- ----- 111 ----- 1010111", Format::VecU, extract<int8_t>},
        {"pv.extractu.h", "100100- ----- ----- 110 ----- 1010111", Format::VecU, extract<uint16_t>},
        {"pv.extractu.b", "100100- ----- ----- 111 ----- 1010111", Format::VecU, extract<uint8_t>},
        {"pv.insert.h", "101100- ----- ----- 110 ----- 1010111", Format::VecUAcc, insert<uint16_t>},
        {"pv.insert.b", "101100- ----- ----- 111 ----- 1010111", Format::VecUAcc, insert<uint8_t>},
        {"pv.shuffle.h", "110000- ----- ----- 000 ----- 1010111", Format::R, shuffle<uint16_t>},
        {"pv.shuffle.sci.h", "110000- ----- ----- 110 ----- 1010111", Format::VecU, shuffle_half_immediate},
        {"pv.shuffle.b", "110000- ----- ----- 001 ----- 1010111", Format::R, shuffle<uint8_t>},
        {"pv.shuffleI0.sci.b", "110000- ----- ----- 111 ----- 1010111", Format::VecU, shuffle_byte_immediate<0>},
        {"pv.shuffleI1.sci.b", "111010- ----- ----- 111 ----- 1010111", Format::VecU, shuffle_byte_immediate<1>},
        {"pv.shuffleI2.sci.b", "111100- ----- ----- 111 ----- 1010111", Format::VecU, shuffle_byte_immediate<2>},
        {"pv.shuffleI3.sci.b", "111110- ----- ----- 111 ----- 1010111", Format::VecU, shuffle_byte_immediate<3>},
        {"pv.shuffle2.h", "110010- ----- ----- 000 ----- 1010111", Format::RAcc, shuffle2<uint16_t>},
        {"pv.shuffle2.b", "110010- ----- ----- 001 ----- 1010111", Format::RAcc, shuffle2<uint8_t>},
        {"pv.pack.h", "1101000 ----- ----- 000 ----- 1010111", Format::R, pack_half},
        {"pv.packhi.b", "110110- ----- ----- 001 ----- 1010111", Format::RAcc, pack_high_bytes},
        {"pv.packlo.b", "111000- ----- ----- 001 ----- 1010111", Format::RAcc, pack_low_bytes},
    };
    table.insert(table.end(), std::begin(rows), std::end(rows));
}

}  // namespace sim
