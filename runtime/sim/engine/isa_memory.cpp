// Loads and stores: RV32I, and Xpulp with register offsets and post-increment.
#include <iterator>

#include "access.hpp"
#include "instruction.hpp"

namespace sim {

namespace {

template <typename T>
void load_offset(Core& core, const Instruction& i) {
    core.x[i.rd] = load_value<T>(core, core.x[i.rs1] + static_cast<uint32_t>(i.immediate));
}
template <typename T>
void load_register(Core& core, const Instruction& i) {
    core.x[i.rd] = load_value<T>(core, core.x[i.rs1] + core.x[i.rs2]);
}
// With the same register as target and address the incremented address wins.
template <typename T>
void load_post_immediate(Core& core, const Instruction& i) {
    const uint32_t address = core.x[i.rs1];
    core.x[i.rd] = load_value<T>(core, address);
    core.x[i.rs3] = address + static_cast<uint32_t>(i.immediate);
}
template <typename T>
void load_post_register(Core& core, const Instruction& i) {
    const uint32_t address = core.x[i.rs1];
    const uint32_t after = address + core.x[i.rs2];
    core.x[i.rd] = load_value<T>(core, address);
    core.x[i.rs3] = after;
}
template <typename T>
void store_offset(Core& core, const Instruction& i) {
    store_value<T>(core, core.x[i.rs1] + static_cast<uint32_t>(i.immediate), core.x[i.rs2]);
}
template <typename T>
void store_register(Core& core, const Instruction& i) {
    store_value<T>(core, core.x[i.rs1] + core.x[i.rs3], core.x[i.rs2]);
}
template <typename T>
void store_post_immediate(Core& core, const Instruction& i) {
    const uint32_t address = core.x[i.rs1];
    store_value<T>(core, address, core.x[i.rs2]);
    core.x[i.rd] = address + static_cast<uint32_t>(i.immediate);
}
template <typename T>
void store_post_register(Core& core, const Instruction& i) {
    const uint32_t address = core.x[i.rs1];
    const uint32_t after = address + core.x[i.rs3];
    store_value<T>(core, address, core.x[i.rs2]);
    core.x[i.rd] = after;
}
void load_float_half(Core& core, const Instruction& i) {     // ones above it
    core.x[i.rd] = 0xffff0000u | load_value<uint16_t>(core, core.x[i.rs1] + static_cast<uint32_t>(i.immediate));
}
void event_load(Core& core, const Instruction& i) {
    core.machine->event_load(core, core.x[i.rs1] + static_cast<uint32_t>(i.immediate), i.rd);
}

}  // namespace

void add_memory_encodings(std::vector<Encoding>& table) {
    const Kind L = Kind::Load, S = Kind::Store;
    const Unit N = Unit::None;
    const Encoding rows[] = {
        {"lb", "------- ----- ----- 000 ----- 0000011", Format::Load, load_offset<int8_t>, N, true, L},
        {"lh", "------- ----- ----- 001 ----- 0000011", Format::Load, load_offset<int16_t>, N, true, L},
        {"lw", "------- ----- ----- 010 ----- 0000011", Format::Load, load_offset<uint32_t>, N, true, L},
        {"lbu", "------- ----- ----- 100 ----- 0000011", Format::Load, load_offset<uint8_t>, N, true, L},
        {"lhu", "------- ----- ----- 101 ----- 0000011", Format::Load, load_offset<uint16_t>, N, true, L},
        {"p.elw", "------- ----- ----- 110 ----- 0000011", Format::Load, event_load, N, true, Kind::EventLoad},
        {"sb", "------- ----- ----- 000 ----- 0100011", Format::Store, store_offset<uint8_t>, N, true, S},
        {"sh", "------- ----- ----- 001 ----- 0100011", Format::Store, store_offset<uint16_t>, N, true, S},
        {"sw", "------- ----- ----- 010 ----- 0100011", Format::Store, store_offset<uint32_t>, N, true, S},
        // On a merged register file these are plain loads and stores.
        {"flw", "------- ----- ----- 010 ----- 0000111", Format::Load, load_offset<uint32_t>, N, true, L},
        {"fsw", "------- ----- ----- 010 ----- 0100111", Format::Store, store_offset<uint32_t>, N, true, S},
        {"flh", "------- ----- ----- 001 ----- 0000111", Format::Load, load_float_half, N, true, L},
        {"fsh", "------- ----- ----- 001 ----- 0100111", Format::Store, store_offset<uint16_t>, N, true, S},

        {"p.lb (reg)", "0000000 ----- ----- 111 ----- 0000011", Format::LoadReg, load_register<int8_t>, N, true, L},
        {"p.lh (reg)", "0001000 ----- ----- 111 ----- 0000011", Format::LoadReg, load_register<int16_t>, N, true, L},
        {"p.lw (reg)", "0010000 ----- ----- 111 ----- 0000011", Format::LoadReg, load_register<uint32_t>, N, true, L},
        {"p.lbu (reg)", "0100000 ----- ----- 111 ----- 0000011", Format::LoadReg, load_register<uint8_t>, N, true, L},
        {"p.lhu (reg)", "0101000 ----- ----- 111 ----- 0000011", Format::LoadReg, load_register<uint16_t>, N, true, L},

        {"p.lb (post)", "------- ----- ----- 000 ----- 0001011", Format::Load, load_post_immediate<int8_t>, N, true, L},
        {"p.lh (post)", "------- ----- ----- 001 ----- 0001011", Format::Load, load_post_immediate<int16_t>, N, true, L},
        {"p.lw (post)", "------- ----- ----- 010 ----- 0001011", Format::Load, load_post_immediate<uint32_t>, N, true, L},
        {"p.lbu (post)", "------- ----- ----- 100 ----- 0001011", Format::Load, load_post_immediate<uint8_t>, N, true, L},
        {"p.lhu (post)", "------- ----- ----- 101 ----- 0001011", Format::Load, load_post_immediate<uint16_t>, N, true, L},

        {"p.lb (post reg)", "0000000 ----- ----- 111 ----- 0001011", Format::LoadReg, load_post_register<int8_t>, N, true, L},
        {"p.lh (post reg)", "0001000 ----- ----- 111 ----- 0001011", Format::LoadReg, load_post_register<int16_t>, N, true, L},
        {"p.lw (post reg)", "0010000 ----- ----- 111 ----- 0001011", Format::LoadReg, load_post_register<uint32_t>, N, true, L},
        {"p.lbu (post reg)", "0100000 ----- ----- 111 ----- 0001011", Format::LoadReg, load_post_register<uint8_t>, N, true, L},
        {"p.lhu (post reg)", "0101000 ----- ----- 111 ----- 0001011", Format::LoadReg, load_post_register<uint16_t>, N, true, L},

        {"p.sb (post)", "------- ----- ----- 000 ----- 0101011", Format::Store, store_post_immediate<uint8_t>, N, true, S},
        {"p.sh (post)", "------- ----- ----- 001 ----- 0101011", Format::Store, store_post_immediate<uint16_t>, N, true, S},
        {"p.sw (post)", "------- ----- ----- 010 ----- 0101011", Format::Store, store_post_immediate<uint32_t>, N, true, S},
        {"p.sb (post reg)", "0000000 ----- ----- 100 ----- 0101011", Format::StoreReg, store_post_register<uint8_t>, N, true, S},
        {"p.sh (post reg)", "0000000 ----- ----- 101 ----- 0101011", Format::StoreReg, store_post_register<uint16_t>, N, true, S},
        {"p.sw (post reg)", "0000000 ----- ----- 110 ----- 0101011", Format::StoreReg, store_post_register<uint32_t>, N, true, S},
        {"p.sb (reg)", "0000000 ----- ----- 100 ----- 0100011", Format::StoreReg, store_register<uint8_t>, N, true, S},
        {"p.sh (reg)", "0000000 ----- ----- 101 ----- 0100011", Format::StoreReg, store_register<uint16_t>, N, true, S},
        {"p.sw (reg)", "0000000 ----- ----- 110 ----- 0100011", Format::StoreReg, store_register<uint32_t>, N, true, S},
    };
    table.insert(table.end(), std::begin(rows), std::end(rows));
}

}  // namespace sim
