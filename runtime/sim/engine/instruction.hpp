// One pre-decoded instruction and the table of encodings it comes from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sim {

struct Core;
struct Instruction;
struct Configuration;

using Handler = void (*)(Core&, const Instruction&);

enum Flag : uint8_t {
    Decoded = 1,    // the entry is valid
    Shared = 2,     // touches something that other cores or the DMA can see: executed in global order
    LoopEnd = 4,    // last instruction of a hardware loop of some core
    Compressed = 8,
    PageEnd = 16,   // not an instruction: continues on the next page of decoded code
};

// HalfDivider is the divider with the shorter time of a 16-bit scalar; it decodes to Divider.
enum class Unit : uint8_t { None, Fpu, Divider, HalfDivider };

enum class Kind : uint8_t { Other, Load, Store, Branch, Jump, EventLoad };

struct Instruction {
    Handler handler = nullptr;
    uint64_t inputs = 0;        // registers read, one bit each
    uint32_t address = 0;
    int32_t immediate = 0;
    uint8_t rd = 0, rs1 = 0, rs2 = 0, rs3 = 0;
    uint8_t late = 0;           // register whose value comes one cycle late (loads, multiplications), 0 = none
    uint8_t flags = 0;
    uint8_t size = 4;
    Unit unit = Unit::None;
    uint8_t extra_stall = 0;    // fixed cycles after the first
    uint8_t unit_interval = 1;  // cycles until the unit takes the next operation
    uint8_t immediate2 = 0;
    uint16_t opcode = 0;        // index in the table of encodings
    Kind kind = Kind::Other;
    uint8_t mul_like = 0;       // the fixed stall counts as a load stall (as the event counters do)
    mutable Instruction* target = nullptr;  // where a branch or direct jump goes, once it has gone there
};

// How operands are found in the instruction word.
enum class Format : uint8_t {
    R,          // rd, rs1, rs2
    R1,         // rd, rs1
    RAcc,       // rd (also read), rs1, rs2
    RAcc1,      // rd (also read), rs1
    R4,         // rd, rs1, rs2, rs3
    RN,         // rd, rs1, rs2, 5-bit immediate at 25
    RNAcc,      // the same, rd also read
    RRd,        // rd (also read) , rs1, shift amount in rs2
    I,          // rd, rs1, imm12
    IShift,     // rd, rs1, 5-bit immediate at 20
    Bits,       // rd, rs1, immediate = bits 25..29, immediate2 = bits 20..24
    BitsAcc,    // the same, rd also read
    VecS,       // rd, rs1, signed 6-bit vector immediate
    VecU,       // rd, rs1, unsigned 6-bit vector immediate
    VecSAcc, VecUAcc,
    Load,       // rd, imm(rs1)
    LoadReg,    // rd, rs2(rs1)
    Store,      // rs2, imm(rs1)
    StoreReg,   // rs2, rs3(rs1), rs3 in the rd field
    Branch,     // rs1, rs2, offset
    BranchImm,  // rs1, 5-bit signed immediate, offset
    U, J,
    Csr, CsrImm,
    LoopImm,    // loop index, imm12 in immediate
    LoopReg,    // loop index, rs1, imm12
    LoopSetupImm,
    None,
};

// Which operands of an encoding are floating-point registers where the chip has them apart.
struct FloatOperands {
    bool rd = false, rs1 = false, rs2 = false, rs3 = false;
    bool half = false;      // the result is a 16-bit number that does not fill its register
};

struct Encoding {
    const char* name;
    const char* pattern;    // 32 characters of 0, 1 and '-', spaces ignored, bit 31 first
    Format format;
    Handler handler;
    Unit unit = Unit::None;
    bool shared = false;
    Kind kind = Kind::Other;
    // filled when the table is built
    uint32_t mask = 0;
    uint32_t match = 0;
    FloatOperands floats{};
};

// Each file of instructions adds its encodings.
void add_integer_encodings(std::vector<Encoding>& table);
void add_memory_encodings(std::vector<Encoding>& table);
void add_pulp_encodings(std::vector<Encoding>& table);
void add_vector_encodings(std::vector<Encoding>& table);
void add_float_encodings(std::vector<Encoding>& table);
void add_half_encodings(std::vector<Encoding>& table);
void add_system_encodings(std::vector<Encoding>& table);

const std::vector<Encoding>& encodings();

// Which operands of the encoding with these fixed bits are floating-point registers.
FloatOperands float_operands(uint32_t match);

// Decodes one word (compressed forms are expanded first). Returns false for an unknown one.
bool decode(const Configuration& configuration, uint32_t word, Instruction& instruction);

// The 32-bit form of a compressed instruction, 0 when there is none.
uint32_t expand_compressed(uint16_t word);

}  // namespace sim
