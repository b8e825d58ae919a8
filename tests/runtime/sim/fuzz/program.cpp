#include "program.hpp"

#include <cstdlib>
#include <vector>

#include "machine.hpp"

namespace {

constexpr int64_t most_cycles = 20000;

// Small memories: an input then costs what its instructions cost.
sim::Configuration chip(uint8_t options) {
    sim::Configuration result;
    result.l1_bytes = 16 * 1024;
    result.l2_private_bytes = 4 * 1024;
    result.l2_bytes = 64 * 1024;
    result.l3_bytes = (options & ExternalMemory) != 0 ? 16 * 1024 : 0;
    result.l1_bank_conflicts = (options & BankConflicts) != 0;
    result.merged_registers = (options & SeparateRegisters) == 0;
    result.l1_alias_at_zero = (options & AliasAtZero) != 0;
    result.shared_fpus = (options & OneFpu) != 0 ? 1 : 4;
    return result;
}

}  // namespace

void run_program(const uint8_t* data, size_t size) {
    const uint8_t options = size > option_byte ? data[option_byte] : 0;
    const bool timing = (options & NoTiming) == 0;
    sim::Machine machine(chip(options), timing);
    if ((options & Checks) != 0) {
        machine.enable_checks();
    }
    if ((options & Recording) != 0 && timing) {
        machine.enable_profile();
        machine.enable_trace("/dev/null");
    }
    try {
        machine.load_elf({data, data + size});
        machine.run(most_cycles, [] { return false; });
    } catch (const sim::Fault&) {
    }
    // What a run leaves can be looked at, whatever ended it.
    for (const sim::Core& core : machine.cores) {
        if (core.x[0] != 0) {
            std::abort();
        }
        machine.where(core.pc());
    }
}
