// The architectural and timing state of one core.
#pragma once

#include <array>
#include <cstdint>

#include "configuration.hpp"
#include "instruction.hpp"

#define SIM_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define SIM_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

namespace sim {

class Machine;

constexpr int64_t never = INT64_MAX;
// Registers of a core by number: x0 to x31, then f0 to f31 where the chip has them apart.
constexpr uint8_t first_float_register = 32;
constexpr uint8_t discarded_register = 64;      // writes to x0 land here

// Indices of the event counters (PCCR), as the chip numbers them.
enum Counter {
    CounterCycles, CounterInstructions, CounterLoadStall, CounterJumpStall, CounterFetchStall,
    CounterLoad, CounterStore, CounterJump, CounterBranch, CounterTakenBranch, CounterCompressed,
    CounterEventLoad, CounterExternalLoad, CounterExternalStore, CounterExternalLoadCycles,
    CounterExternalStoreCycles, CounterL1Contention, counter_count = 32
};

// Where the cycles of a core go; they sum up to the cycles between its start and the end.
enum Cause {
    CauseInstruction, CauseFpu, CauseLoadUse, CauseBranch, CauseFetch, CauseL2, CauseL1Conflict, CauseMisaligned,
    CauseLatency, CauseBarrier, CauseDispatch, CauseMutex, CauseDma, CauseEvent, CauseSleep, cause_count
};

struct HardwareLoop {
    uint32_t start = 0;
    uint32_t end = 0;
    uint32_t count = 0;
    Instruction* first = nullptr;   // the decoded entry at `start`, once it was looked up
};

constexpr uint32_t stack_pointer = 2;

struct Core {
    std::array<uint32_t, discarded_register + 1> x{};
    uint32_t l1_fast_bytes = 0;     // 0 sends every access through Machine::load and Machine::store
    uint8_t* l1 = nullptr;
    uint32_t l1_base = 0;

    int32_t stall = 0;              // stall cycles of the instruction in execution
    uint8_t late_register = 0;      // register whose value arrives one cycle late, 0 = none
    Instruction* next = nullptr;    // next instruction, set before a handler runs; jumps change it
    int64_t cycle = 0;              // cycle in which the instruction in execution started
    uint32_t line_base = 1;         // address of the 16-byte line in the fetch buffer
    bool asleep = false;
    bool counting = false;          // event counters on (PCMR)
    bool taken = false;             // a branch was taken (cleared by who counts it)
    bool counts_itself = false;     // the write that switches the counters on is counted
    uint64_t last_csr_write = 0;    // number of the instruction

    std::array<HardwareLoop, 2> loops{};
    Machine* machine = nullptr;
    const Configuration* configuration = nullptr;
    uint32_t index = 0;             // 0.. cluster cores, last the fabric controller
    std::array<int64_t*, 3> unit_free{};    // by Unit: when the unit takes its next operation
    bool is_fabric_controller = false;

    // Sleep
    int64_t slept_at = 0;
    uint8_t wait_register = discarded_register;
    int32_t answer_stall = 0;       // part of the stall that comes with the answer, after the sleep
    bool started = false;
    Cause sleep_cause = CauseEvent;
    int32_t path_stall = 0, conflict_stall = 0;     // parts of the stall of a load or store

    // CSRs
    uint32_t hart = 0;
    uint32_t mstatus = 0x6000, mtvec = 0, mepc = 0, mcause = 0, mscratch = 0, mie = 0, fcsr = 0;
    uint32_t pcer = 0, pcmr = 0;
    std::array<uint32_t, counter_count> pccr{};
    uint32_t boot_address = 0;
    bool wfi = false;

    // Registers whose value the checks doubt: loaded from bytes that nobody wrote, or in a race.
    uint64_t doubtful = 0;
    bool loaded_doubtful = false;

    // Statistics
    uint64_t instructions = 0;
    int64_t started_at = never;
    int64_t stack_low = -1, stack_high = -1;

    uint32_t pc() const { return current ? current->address : boot_address; }
    const Instruction* current = nullptr;
};

}  // namespace sim
