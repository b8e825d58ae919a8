// From instruction words to decoded instructions.
#include <algorithm>
#include <array>
#include <cstring>

#include "configuration.hpp"
#include "core.hpp"
#include "instruction.hpp"

namespace sim {

namespace {

uint32_t bits(uint32_t word, uint32_t position, uint32_t width) { return word >> position & ((1u << width) - 1); }
int32_t sign_extend(uint32_t value, uint32_t width) {
    return static_cast<int32_t>(value << (32 - width)) >> (32 - width);
}

void parse_pattern(Encoding& encoding) {
    uint32_t bit = 32;
    for (const char* c = encoding.pattern; *c != 0; ++c) {
        if (*c == ' ') {
            continue;
        }
        --bit;
        if (*c != '-') {
            encoding.mask |= 1u << bit;
            encoding.match |= (*c == '1' ? 1u : 0u) << bit;
        }
    }
}

std::vector<Encoding> build() {
    std::vector<Encoding> table;
    add_integer_encodings(table);
    add_memory_encodings(table);
    add_pulp_encodings(table);
    add_vector_encodings(table);
    add_float_encodings(table);
    add_half_encodings(table);
    add_system_encodings(table);
    for (Encoding& encoding : table) {
        parse_pattern(encoding);
        encoding.floats = float_operands(encoding.match);
    }
    // Where patterns overlap the one with more fixed bits is meant.
    std::stable_sort(table.begin(), table.end(), [](const Encoding& a, const Encoding& b) {
        return __builtin_popcount(a.mask) > __builtin_popcount(b.mask);
    });
    return table;
}

// Candidates by the seven low bits of the word.
const std::array<std::vector<uint16_t>, 128>& buckets() {
    static const auto result = [] {
        std::array<std::vector<uint16_t>, 128> by_opcode;
        const auto& table = encodings();
        for (size_t i = 0; i < table.size(); ++i) {
            by_opcode[table[i].match & 127].push_back(static_cast<uint16_t>(i));
        }
        return by_opcode;
    }();
    return result;
}

uint8_t target(uint32_t reg) { return static_cast<uint8_t>(reg == 0 ? discarded_register : reg); }

// A 16-bit result with the ones above it that RISC-V's rule for narrow values wants.
void boxed(Core& core, const Instruction& i) {
    encodings()[i.opcode].handler(core, i);
    core.x[i.rd] |= 0xffff0000u;
}

int32_t branch_offset(uint32_t w) {
    return sign_extend(bits(w, 31, 1) << 12 | bits(w, 7, 1) << 11 | bits(w, 25, 6) << 5 | bits(w, 8, 4) << 1, 13);
}
int32_t jump_offset(uint32_t w) {
    return sign_extend(bits(w, 31, 1) << 20 | bits(w, 12, 8) << 12 | bits(w, 20, 1) << 11 | bits(w, 21, 10) << 1, 21);
}

void fill_operands(Format format, uint32_t w, const FloatOperands& floats, Instruction& out) {
    const auto number = [w](uint32_t position, bool is_float) {
        return bits(w, position, 5) + (is_float ? first_float_register : 0u);
    };
    const uint32_t rd = number(7, floats.rd), rs1 = number(15, floats.rs1), rs2 = number(20, floats.rs2);
    const uint32_t rs3 = number(27, floats.rs3);
    const int32_t imm12 = sign_extend(w >> 20, 12);
    const auto reads = [&out](uint32_t reg) { out.inputs |= uint64_t{1} << reg; };
    const auto use1 = [&] { out.rs1 = static_cast<uint8_t>(rs1); reads(rs1); };
    const auto use2 = [&] { out.rs2 = static_cast<uint8_t>(rs2); reads(rs2); };
    const auto accumulator = [&] { out.rs3 = static_cast<uint8_t>(rd); reads(rd); };
    const uint32_t vector_immediate = bits(w, 20, 5) << 1 | bits(w, 25, 1);
    out.rd = target(rd);
    out.immediate2 = static_cast<uint8_t>(bits(w, 12, 3));
    switch (format) {
        case Format::R: use1(); use2(); break;
        case Format::R1: use1(); break;
        case Format::RAcc: use1(); use2(); accumulator(); break;
        case Format::RAcc1: use1(); accumulator(); break;
        case Format::R4: use1(); use2(); out.rs3 = static_cast<uint8_t>(rs3); reads(rs3); break;
        case Format::RN: use1(); use2(); out.immediate = static_cast<int32_t>(bits(w, 25, 5)); break;
        case Format::RNAcc: use1(); use2(); accumulator(); out.immediate = static_cast<int32_t>(bits(w, 25, 5)); break;
        case Format::RRd: use1(); use2(); accumulator(); break;
        case Format::I: use1(); out.immediate = imm12; break;
        case Format::IShift: use1(); out.immediate = static_cast<int32_t>(rs2); break;
        case Format::BitsAcc: accumulator(); [[fallthrough]];
        case Format::Bits:
            use1();
            out.immediate = static_cast<int32_t>(bits(w, 25, 5));
            out.immediate2 = static_cast<uint8_t>(rs2);
            break;
        case Format::VecSAcc: accumulator(); [[fallthrough]];
        case Format::VecS: use1(); out.immediate = sign_extend(vector_immediate, 6); break;
        case Format::VecUAcc: accumulator(); [[fallthrough]];
        case Format::VecU: use1(); out.immediate = static_cast<int32_t>(vector_immediate); break;
        case Format::Load: use1(); out.immediate = imm12; out.rs3 = target(rs1); break;
        case Format::LoadReg: use1(); use2(); out.rs3 = target(rs1); break;
        case Format::Store:
            use1();
            use2();
            out.immediate = sign_extend(bits(w, 25, 7) << 5 | bits(w, 7, 5), 12);
            out.rd = target(rs1);
            break;
        case Format::StoreReg:
            use1();
            use2();
            out.rs3 = static_cast<uint8_t>(rd);
            reads(rd);
            out.rd = target(rs1);
            break;
        case Format::Branch: use1(); use2(); out.immediate = branch_offset(w); break;
        case Format::BranchImm:
            use1();
            out.immediate = branch_offset(w);
            out.immediate2 = static_cast<uint8_t>(sign_extend(rs2, 5));
            break;
        case Format::U: out.immediate = static_cast<int32_t>(w & 0xfffff000u); break;
        case Format::J: out.immediate = jump_offset(w); break;
        case Format::Csr: use1(); out.immediate = static_cast<int32_t>(w >> 20); break;
        case Format::CsrImm:
            out.immediate = static_cast<int32_t>(w >> 20);
            out.immediate2 = static_cast<uint8_t>(rs1);
            break;
        case Format::LoopReg: use1(); [[fallthrough]];
        case Format::LoopImm:
            out.rd = static_cast<uint8_t>(rd);
            out.immediate = static_cast<int32_t>(w >> 20);
            break;
        case Format::LoopSetupImm:
            out.rd = static_cast<uint8_t>(rd);
            out.immediate = static_cast<int32_t>(w >> 20);
            out.immediate2 = static_cast<uint8_t>(rs1);
            break;
        case Format::None: break;
    }
    out.inputs &= ~uint64_t{1};     // x0 is never late
}

void fill_timing(const Configuration& configuration, const Encoding& encoding, Instruction& out) {
    const auto late_result = [&out] { out.late = out.rd == discarded_register ? 0 : out.rd; };
    out.unit = encoding.unit == Unit::HalfDivider ? Unit::Divider : encoding.unit;
    if (encoding.unit == Unit::Fpu) {
        out.unit_interval = static_cast<uint8_t>(configuration.fpu_interval);
        out.extra_stall = static_cast<uint8_t>(configuration.fpu_latency - 1);
    } else if (encoding.unit != Unit::None) {
        // The divider is not pipelined: it is taken for as long as it computes.
        out.unit_interval = static_cast<uint8_t>(encoding.unit == Unit::HalfDivider ? configuration.half_divide_latency
                                                                                    : configuration.float_divide_latency);
        out.extra_stall = static_cast<uint8_t>(out.unit_interval - 1);
    }
    const bool multiply = std::strcmp(encoding.name, "mul") == 0;
    const bool multiply_high = std::strncmp(encoding.name, "mulh", 4) == 0;
    if (multiply || multiply_high) {
        out.extra_stall = static_cast<uint8_t>((multiply ? configuration.multiply_cycles : configuration.multiply_high_cycles) - 1);
        out.mul_like = 1;
        late_result();
    }
    if (encoding.kind == Kind::Load || encoding.kind == Kind::EventLoad) {
        late_result();
    }
}

}  // namespace

const std::vector<Encoding>& encodings() {
    static const std::vector<Encoding> table = build();
    return table;
}

bool decode(const Configuration& configuration, uint32_t word, Instruction& out) {
    out.size = 4;
    out.flags = 0;
    if ((word & 3) != 3) {
        out.size = 2;
        out.flags |= Compressed;
        word = expand_compressed(static_cast<uint16_t>(word));
        if (word == 0) {
            return false;
        }
    }
    for (const uint16_t index : buckets()[word & 127]) {
        const Encoding& encoding = encodings()[index];
        if ((word & encoding.mask) != encoding.match) {
            continue;
        }
        out.inputs = 0;
        out.immediate = 0;
        out.late = 0;
        out.rs1 = out.rs2 = out.rs3 = 0;
        out.extra_stall = 0;
        out.mul_like = 0;
        out.opcode = index;
        out.handler = encoding.handler;
        out.kind = encoding.kind;
        out.target = nullptr;
        const FloatOperands floats = configuration.merged_registers ? FloatOperands{} : encoding.floats;
        fill_operands(encoding.format, word, floats, out);
        if (configuration.nan_boxed_halves && encoding.floats.half && out.rd != discarded_register) {
            out.handler = boxed;
        }
        fill_timing(configuration, encoding, out);
        out.flags |= Decoded;
        if (encoding.shared) {
            out.flags |= Shared;
        }
        return true;
    }
    return false;
}

}  // namespace sim
