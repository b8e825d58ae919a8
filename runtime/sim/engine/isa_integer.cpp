// RV32I and RV32M.
#include "access.hpp"
#include "instruction.hpp"

namespace sim {

namespace {

inline int32_t as_signed(uint32_t value) { return static_cast<int32_t>(value); }

// A jump by a fixed distance; the entry that it leads to is looked up once.
inline void jump_by(Core& core, const Instruction& i) {
    if (SIM_UNLIKELY(i.target == nullptr)) {
        i.target = core.machine->lookup(core, i.address + static_cast<uint32_t>(i.immediate));
    }
    core.next = i.target;
}

template <typename Operation>
void register_register(Core& core, const Instruction& i) {
    core.x[i.rd] = Operation::apply(core.x[i.rs1], core.x[i.rs2]);
}

template <typename Operation>
void register_immediate(Core& core, const Instruction& i) {
    core.x[i.rd] = Operation::apply(core.x[i.rs1], static_cast<uint32_t>(i.immediate));
}

template <typename Condition>
void branch(Core& core, const Instruction& i) {
    if (Condition::apply(core.x[i.rs1], core.x[i.rs2])) {
        core.taken = true;
        core.stall += static_cast<int32_t>(core.configuration->branch_taken_stall);
        jump_by(core, i);
    }
}

struct Add { static uint32_t apply(uint32_t a, uint32_t b) { return a + b; } };
struct Sub { static uint32_t apply(uint32_t a, uint32_t b) { return a - b; } };
struct Xor { static uint32_t apply(uint32_t a, uint32_t b) { return a ^ b; } };
struct Or { static uint32_t apply(uint32_t a, uint32_t b) { return a | b; } };
struct And { static uint32_t apply(uint32_t a, uint32_t b) { return a & b; } };
struct Sll { static uint32_t apply(uint32_t a, uint32_t b) { return a << (b & 31); } };
struct Srl { static uint32_t apply(uint32_t a, uint32_t b) { return a >> (b & 31); } };
struct Sra { static uint32_t apply(uint32_t a, uint32_t b) { return static_cast<uint32_t>(as_signed(a) >> (b & 31)); } };
struct Slt { static uint32_t apply(uint32_t a, uint32_t b) { return as_signed(a) < as_signed(b); } };
struct Sltu { static uint32_t apply(uint32_t a, uint32_t b) { return a < b; } };
struct Mul { static uint32_t apply(uint32_t a, uint32_t b) { return a * b; } };
struct Mulh { static uint32_t apply(uint32_t a, uint32_t b) {
    return static_cast<uint32_t>((static_cast<int64_t>(as_signed(a)) * as_signed(b)) >> 32); } };
struct Mulhsu { static uint32_t apply(uint32_t a, uint32_t b) {
    return static_cast<uint32_t>((static_cast<int64_t>(as_signed(a)) * static_cast<int64_t>(b)) >> 32); } };
struct Mulhu { static uint32_t apply(uint32_t a, uint32_t b) {
    return static_cast<uint32_t>((static_cast<uint64_t>(a) * b) >> 32); } };

struct Eq { static bool apply(uint32_t a, uint32_t b) { return a == b; } };
struct Ne { static bool apply(uint32_t a, uint32_t b) { return a != b; } };
struct Lt { static bool apply(uint32_t a, uint32_t b) { return as_signed(a) < as_signed(b); } };
struct Ge { static bool apply(uint32_t a, uint32_t b) { return as_signed(a) >= as_signed(b); } };
struct Ltu { static bool apply(uint32_t a, uint32_t b) { return a < b; } };
struct Geu { static bool apply(uint32_t a, uint32_t b) { return a >= b; } };

void lui(Core& core, const Instruction& i) { core.x[i.rd] = static_cast<uint32_t>(i.immediate); }
void auipc(Core& core, const Instruction& i) { core.x[i.rd] = i.address + static_cast<uint32_t>(i.immediate); }

void jal(Core& core, const Instruction& i) {
    core.x[i.rd] = i.address + i.size;
    core.stall += static_cast<int32_t>(core.configuration->jump_stall);
    jump_by(core, i);
}

void jalr(Core& core, const Instruction& i) {
    const uint32_t target = (core.x[i.rs1] + static_cast<uint32_t>(i.immediate)) & ~1u;
    core.x[i.rd] = i.address + i.size;
    core.stall += static_cast<int32_t>(core.configuration->jump_stall);
    core.next = core.machine->lookup(core, target);
}

// The divider is serial: its time depends on the leading zeros of the divisor.
inline void signed_division_time(Core& core, uint32_t divisor) {
    if (divisor == 0) {
        return;
    }
    const int32_t base = static_cast<int32_t>(core.configuration->divide_base_cycles);
    const int32_t value = as_signed(divisor);
    const int32_t cycles = value > 0 ? __builtin_clz(divisor) + base
                                     : __builtin_clz(0u - divisor) + base - 1;
    core.stall += cycles - 1;
}

inline void unsigned_division_time(Core& core, uint32_t divisor) {
    const int32_t zeros = __builtin_clz(divisor | 1);
    core.stall += zeros + static_cast<int32_t>(core.configuration->divide_base_cycles) - 1;
}

void div(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1], b = core.x[i.rs2];
    signed_division_time(core, b);
    core.x[i.rd] = b == 0 ? ~0u : a == 0x80000000u && b == ~0u ? a : static_cast<uint32_t>(as_signed(a) / as_signed(b));
}
void divu(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1], b = core.x[i.rs2];
    unsigned_division_time(core, b);
    core.x[i.rd] = b == 0 ? ~0u : a / b;
}
void rem(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1], b = core.x[i.rs2];
    signed_division_time(core, b);
    core.x[i.rd] = b == 0 ? a : a == 0x80000000u && b == ~0u ? 0 : static_cast<uint32_t>(as_signed(a) % as_signed(b));
}
void remu(Core& core, const Instruction& i) {
    const uint32_t a = core.x[i.rs1], b = core.x[i.rs2];
    unsigned_division_time(core, b);
    core.x[i.rd] = b == 0 ? a : a % b;
}

void branch_equal_immediate(Core& core, const Instruction& i) {
    if (as_signed(core.x[i.rs1]) == static_cast<int8_t>(i.immediate2)) {
        core.taken = true;
        core.stall += static_cast<int32_t>(core.configuration->branch_taken_stall);
        jump_by(core, i);
    }
}
void branch_not_equal_immediate(Core& core, const Instruction& i) {
    if (as_signed(core.x[i.rs1]) != static_cast<int8_t>(i.immediate2)) {
        core.taken = true;
        core.stall += static_cast<int32_t>(core.configuration->branch_taken_stall);
        jump_by(core, i);
    }
}

}  // namespace

void add_integer_encodings(std::vector<Encoding>& table) {
    const Encoding rows[] = {
        {"lui", "------- ----- ----- --- ----- 0110111", Format::U, lui},
        {"auipc", "------- ----- ----- --- ----- 0010111", Format::U, auipc},
        {"jal", "------- ----- ----- --- ----- 1101111", Format::J, jal, Unit::None, false, Kind::Jump},
        {"jalr", "------- ----- ----- 000 ----- 1100111", Format::I, jalr, Unit::None, false, Kind::Jump},
        {"beq", "------- ----- ----- 000 ----- 1100011", Format::Branch, branch<Eq>, Unit::None, false, Kind::Branch},
        {"bne", "------- ----- ----- 001 ----- 1100011", Format::Branch, branch<Ne>, Unit::None, false, Kind::Branch},
        {"blt", "------- ----- ----- 100 ----- 1100011", Format::Branch, branch<Lt>, Unit::None, false, Kind::Branch},
        {"bge", "------- ----- ----- 101 ----- 1100011", Format::Branch, branch<Ge>, Unit::None, false, Kind::Branch},
        {"bltu", "------- ----- ----- 110 ----- 1100011", Format::Branch, branch<Ltu>, Unit::None, false, Kind::Branch},
        {"bgeu", "------- ----- ----- 111 ----- 1100011", Format::Branch, branch<Geu>, Unit::None, false, Kind::Branch},
        {"p.beqimm", "------- ----- ----- 010 ----- 1100011", Format::BranchImm, branch_equal_immediate, Unit::None, false, Kind::Branch},
        {"p.bneimm", "------- ----- ----- 011 ----- 1100011", Format::BranchImm, branch_not_equal_immediate, Unit::None, false, Kind::Branch},
        {"addi", "------- ----- ----- 000 ----- 0010011", Format::I, register_immediate<Add>},
        {"slti", "------- ----- ----- 010 ----- 0010011", Format::I, register_immediate<Slt>},
        {"sltiu", "------- ----- ----- 011 ----- 0010011", Format::I, register_immediate<Sltu>},
        {"xori", "------- ----- ----- 100 ----- 0010011", Format::I, register_immediate<Xor>},
        {"ori", "------- ----- ----- 110 ----- 0010011", Format::I, register_immediate<Or>},
        {"andi", "------- ----- ----- 111 ----- 0010011", Format::I, register_immediate<And>},
        {"slli", "0000000 ----- ----- 001 ----- 0010011", Format::IShift, register_immediate<Sll>},
        {"srli", "0000000 ----- ----- 101 ----- 0010011", Format::IShift, register_immediate<Srl>},
        {"srai", "0100000 ----- ----- 101 ----- 0010011", Format::IShift, register_immediate<Sra>},
        {"add", "0000000 ----- ----- 000 ----- 0110011", Format::R, register_register<Add>},
        {"sub", "0100000 ----- ----- 000 ----- 0110011", Format::R, register_register<Sub>},
        {"sll", "0000000 ----- ----- 001 ----- 0110011", Format::R, register_register<Sll>},
        {"slt", "0000000 ----- ----- 010 ----- 0110011", Format::R, register_register<Slt>},
        {"sltu", "0000000 ----- ----- 011 ----- 0110011", Format::R, register_register<Sltu>},
        {"xor", "0000000 ----- ----- 100 ----- 0110011", Format::R, register_register<Xor>},
        {"srl", "0000000 ----- ----- 101 ----- 0110011", Format::R, register_register<Srl>},
        {"sra", "0100000 ----- ----- 101 ----- 0110011", Format::R, register_register<Sra>},
        {"or", "0000000 ----- ----- 110 ----- 0110011", Format::R, register_register<Or>},
        {"and", "0000000 ----- ----- 111 ----- 0110011", Format::R, register_register<And>},
        {"mul", "0000001 ----- ----- 000 ----- 0110011", Format::R, register_register<Mul>},
        {"mulh", "0000001 ----- ----- 001 ----- 0110011", Format::R, register_register<Mulh>},
        {"mulhsu", "0000001 ----- ----- 010 ----- 0110011", Format::R, register_register<Mulhsu>},
        {"mulhu", "0000001 ----- ----- 011 ----- 0110011", Format::R, register_register<Mulhu>},
        {"div", "0000001 ----- ----- 100 ----- 0110011", Format::R, div},
        {"divu", "0000001 ----- ----- 101 ----- 0110011", Format::R, divu},
        {"rem", "0000001 ----- ----- 110 ----- 0110011", Format::R, rem},
        {"remu", "0000001 ----- ----- 111 ----- 0110011", Format::R, remu},
    };
    table.insert(table.end(), std::begin(rows), std::end(rows));
}

}  // namespace sim
