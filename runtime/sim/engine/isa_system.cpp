// CSRs, hardware loops, waiting and returning from interrupts.
#include <iterator>

#include "access.hpp"
#include "instruction.hpp"
#include "machine.hpp"

namespace sim {

namespace {

enum CsrOperation { Write, Set, Clear };

template <CsrOperation operation, bool immediate>
void csr(Core& core, const Instruction& i) {
    const uint32_t number = static_cast<uint32_t>(i.immediate);
    const uint32_t operand = immediate ? i.immediate2 : core.x[i.rs1];
    const uint32_t before = core.machine->read_csr(core, number);
    if (operation == Write) {
        core.machine->write_csr(core, number, operand);
    } else if (immediate ? i.immediate2 != 0 : i.rs1 != 0) {
        core.machine->write_csr(core, number, operation == Set ? before | operand : before & ~operand);
    }
    core.x[i.rd] = before;
}

void nothing(Core&, const Instruction&) {}
void fence_instructions(Core& core, const Instruction&) { core.machine->flush_decoded(); }
void wait_for_interrupt(Core& core, const Instruction&) { core.machine->wait_for_interrupt(core); }
void return_from_interrupt(Core& core, const Instruction&) { core.machine->return_from_interrupt(core); }
void environment_call(Core& core, const Instruction&) {
    core.machine->fail(FaultKind::Instruction, core, "ecall: no environment answers calls");
}
void breakpoint(Core& core, const Instruction&) {
    core.machine->fail(FaultKind::Instruction, core, "ebreak: the program stopped itself");
}

// The end of a loop is the address of its last instruction, its start the one after lp.setup.
void set_end(Core& core, HardwareLoop& loop, uint32_t end) {
    loop.end = end;
    core.machine->set_loop_end(end);
}
HardwareLoop& loop_of(Core& core, const Instruction& i) { return core.loops[i.rd & 1]; }
uint32_t relative(const Instruction& i, uint32_t halves) { return i.address + 2 * halves; }

void set_start(HardwareLoop& loop, uint32_t start) {
    loop.start = start;
    loop.first = nullptr;
}
void loop_start(Core& core, const Instruction& i) { set_start(loop_of(core, i), relative(i, static_cast<uint32_t>(i.immediate))); }
void loop_end(Core& core, const Instruction& i) { set_end(core, loop_of(core, i), relative(i, static_cast<uint32_t>(i.immediate))); }
void loop_count(Core& core, const Instruction& i) { loop_of(core, i).count = core.x[i.rs1]; }
void loop_count_immediate(Core& core, const Instruction& i) { loop_of(core, i).count = static_cast<uint32_t>(i.immediate); }
void loop_setup(Core& core, const Instruction& i) {
    HardwareLoop& loop = loop_of(core, i);
    set_start(loop, i.address + i.size);
    loop.count = core.x[i.rs1];
    set_end(core, loop, relative(i, static_cast<uint32_t>(i.immediate)));
}
void loop_setup_immediate(Core& core, const Instruction& i) {
    HardwareLoop& loop = loop_of(core, i);
    set_start(loop, i.address + i.size);
    loop.count = static_cast<uint32_t>(i.immediate);
    set_end(core, loop, relative(i, i.immediate2));
}

}  // namespace

void add_system_encodings(std::vector<Encoding>& table) {
    const Unit N = Unit::None;
    const Encoding rows[] = {
        {"csrrw", "------- ----- ----- 001 ----- 1110011", Format::Csr, csr<Write, false>},
        {"csrrs", "------- ----- ----- 010 ----- 1110011", Format::Csr, csr<Set, false>},
        {"csrrc", "------- ----- ----- 011 ----- 1110011", Format::Csr, csr<Clear, false>},
        {"csrrwi", "------- ----- ----- 101 ----- 1110011", Format::CsrImm, csr<Write, true>},
        {"csrrsi", "------- ----- ----- 110 ----- 1110011", Format::CsrImm, csr<Set, true>},
        {"csrrci", "------- ----- ----- 111 ----- 1110011", Format::CsrImm, csr<Clear, true>},
        {"fence", "------- ----- ----- 000 ----- 0001111", Format::None, nothing, N, true},
        {"fence.i", "------- ----- ----- 001 ----- 0001111", Format::None, fence_instructions, N, true},
        {"ecall", "0000000 00000 00000 000 00000 1110011", Format::None, environment_call, N, true},
        {"ebreak", "0000000 00001 00000 000 00000 1110011", Format::None, breakpoint, N, true},
        {"mret", "0011000 00010 00000 000 00000 1110011", Format::None, return_from_interrupt, N, true},
        {"wfi", "0001000 00101 00000 000 00000 1110011", Format::None, wait_for_interrupt, N, true},
        {"lp.starti", "------- ----- ----- 000 0000- 1111011", Format::LoopImm, loop_start},
        {"lp.endi", "------- ----- ----- 001 0000- 1111011", Format::LoopImm, loop_end},
        {"lp.count", "------- ----- ----- 010 0000- 1111011", Format::LoopReg, loop_count},
        {"lp.counti", "------- ----- ----- 011 0000- 1111011", Format::LoopImm, loop_count_immediate},
        {"lp.setup", "------- ----- ----- 100 0000- 1111011", Format::LoopReg, loop_setup},
        {"lp.setupi", "------- ----- ----- 101 0000- 1111011", Format::LoopSetupImm, loop_setup_immediate},
    };
    table.insert(table.end(), std::begin(rows), std::end(rows));
}

}  // namespace sim
