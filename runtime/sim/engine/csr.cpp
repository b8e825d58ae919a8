// Control and status registers.
#include "machine.hpp"

namespace sim {

namespace {
// Interrupt enable, the one before, and the privilege before.
constexpr uint32_t mstatus_writable = 0x1888;
}  // namespace

uint32_t Machine::read_csr(Core& core, uint32_t number) {
    if (number >= 0x780 && number < 0x780 + counter_count - 1) {
        return core.pccr[number - 0x780];
    }
    switch (number) {
        case 0x001: return core.fcsr & 31;
        case 0x002: return core.fcsr >> 5 & 7;
        case 0x003: return core.fcsr;
        case 0x300: return core.mstatus;
        case 0x301: return 0x40000000;
        case 0x304: return core.mie;
        case 0x305: return core.mtvec;
        case 0x340: return core.mscratch;
        case 0x341: return core.mepc;
        case 0x342: return core.mcause;
        case 0xb00: case 0xc00: return static_cast<uint32_t>(timing ? core.cycle : now_);
        case 0xb80: case 0xc80: return static_cast<uint32_t>((timing ? core.cycle : now_) >> 32);
        case 0xb02: case 0xc02: return static_cast<uint32_t>(core.instructions);
        case 0xb82: case 0xc82: return static_cast<uint32_t>(core.instructions >> 32);
        case 0xf14: case 0x014: return core.hart;
        case 0xf11: case 0xf12: case 0xf13: return 0;
        case 0xcc0: case 0xcc1: return 0;   // what the counters count can only be written
        case 0x79f: return 0;       // writes all event counters
        // hardware loops
        case 0x7b0: case 0x7b4: return core.loops[(number - 0x7b0) / 4].start;
        case 0x7b1: case 0x7b5: return core.loops[(number - 0x7b0) / 4].end;
        case 0x7b2: case 0x7b6: return core.loops[(number - 0x7b0) / 4].count;
        case 0xc10: return 3;      // privilege level: machine
        default: break;
    }
    char text[48];
    std::snprintf(text, sizeof text, "unknown CSR 0x%03x", number);
    fail(FaultKind::Instruction, core, text);
}

void Machine::write_csr(Core& core, uint32_t number, uint32_t value) {
    const uint64_t write_before = core.last_csr_write;
    core.last_csr_write = core.instructions;
    if (number >= 0x780 && number < 0x780 + counter_count - 1) {
        core.pccr[number - 0x780] = value;
        return;
    }
    switch (number) {
        case 0x001: core.fcsr = (core.fcsr & ~31u) | (value & 31); return;
        case 0x002: core.fcsr = (core.fcsr & 31) | (value & 7) << 5; return;
        case 0x003: core.fcsr = value & 0xff; return;
        case 0x300: core.mstatus = value & mstatus_writable; return;
        case 0x304: core.mie = value; return;
        case 0x305: core.mtvec = value; return;
        case 0x340: core.mscratch = value; return;
        case 0x341: core.mepc = value & ~1u; return;
        case 0x342: core.mcause = value; return;
        case 0x79f: core.pccr.fill(value); return;
        case 0xcc0: core.pcer = value & 0x7fffffff; return;
        case 0xcc1:
            core.pcmr = value;
            // The model executes the instruction after a CSR write with counting already possible, so
            // the write that switches the counters on counts itself if another came right before it.
            core.counts_itself = !core.counting && write_before + 1 == core.instructions;
            core.counting = (value & 1) != 0;
            core.taken = false;
            return;
        case 0x7b0: case 0x7b4:
            core.loops[(number - 0x7b0) / 4].start = value;
            core.loops[(number - 0x7b0) / 4].first = nullptr;
            return;
        case 0x7b1: case 0x7b5:
            core.loops[(number - 0x7b0) / 4].end = value;
            set_loop_end(value);
            return;
        case 0x7b2: case 0x7b6: core.loops[(number - 0x7b0) / 4].count = value; return;
        case 0xb00: case 0xb80: case 0xc10: case 0x7c0: return;     // read-only here
        default: break;
    }
    char text[48];
    std::snprintf(text, sizeof text, "unknown CSR 0x%03x", number);
    fail(FaultKind::Instruction, core, text);
}

}  // namespace sim
