#include "profiler.hpp"

#include <algorithm>

#include "machine.hpp"

namespace sim {

const std::array<const char*, cause_count> cause_names = {
    "instructions", "fpu contention", "load use", "branch", "instruction cache", "L2", "L1 conflict", "misaligned",
    "latency", "barrier", "dispatch", "mutex", "DMA wait", "event", "sleep"};

namespace {
constexpr uint32_t page_bytes = 4096;
}

Profiler::Profiler(Machine& machine) : machine_(machine) { reset(); }

void Profiler::reset() {
    entries_.assign(machine_.cores.size(), {});
    finished_ = entries_;
    running_.assign(machine_.cores.size(), Running{});
    functions_.clear();
    numbers_.clear();
    pages_.clear();
}

uint32_t Profiler::function_of(uint32_t address) {
    std::vector<uint32_t>& page = pages_[address / page_bytes];
    if (page.empty()) {
        page.resize(page_bytes / 2);
    }
    uint32_t& slot = page[address % page_bytes / 2];
    if (slot == 0) {
        const Symbol* symbol = machine_.elf.function_at(address);
        const std::string name = symbol == nullptr ? "?" : symbol->name;
        const auto [position, added] = numbers_.try_emplace(name, static_cast<uint32_t>(functions_.size()));
        if (added) {
            functions_.push_back(name);
        }
        slot = position->second + 1;
    }
    return slot - 1;
}

Profiler::Entry& Profiler::entry(uint32_t core, uint32_t function) {
    std::vector<Entry>& list = entries_[core];
    if (function >= list.size()) {
        list.resize(function + 1);
    }
    return list[function];
}

void Profiler::executed(const Core& core, const Instruction& instruction, int64_t time, int32_t fetch, int32_t contention,
                        int32_t load_use) {
    Running& running = running_[core.index];
    running.function = function_of(instruction.address);
    Entry& here = entry(core.index, running.function);
    ++here.instructions;
    int32_t rest = core.stall - fetch - contention - load_use - instruction.extra_stall;
    std::array<int64_t, cause_count>& spent = running.last;
    spent.fill(0);
    spent[CauseInstruction] = 1;
    spent[CauseFetch] = fetch;
    spent[CauseFpu] = contention;
    spent[CauseLoadUse] = load_use;
    spent[CauseLatency] = instruction.extra_stall;
    switch (instruction.kind) {
        case Kind::Branch: case Kind::Jump: spent[CauseBranch] = rest; break;
        case Kind::EventLoad: spent[core.sleep_cause] = rest; break;
        case Kind::Load: case Kind::Store:
            if (rest != 0) {
                // Only an access that left the fast path stalls; it left its parts behind.
                spent[CauseL1Conflict] = core.conflict_stall;
                spent[CauseL2] = core.path_stall;
                spent[CauseMisaligned] = rest - core.conflict_stall - core.path_stall;
            }
            break;
        case Kind::Other: spent[CauseLatency] += rest; break;
    }
    for (size_t cause = 0; cause < cause_count; ++cause) {
        here.cycles[cause] += spent[cause];
    }
    running.until = time + 1 + core.stall;
    if (core.asleep) {
        running.sleeping = true;
        running.slept_at = time;
        running.sleep_cause = core.sleep_cause;
    }
}

void Profiler::woke(const Core& core, int64_t now) {
    Running& running = running_[core.index];
    if (!running.sleeping) {
        return;     // its start
    }
    running.sleeping = false;
    entry(core.index, running.function).cycles[running.sleep_cause] += now - running.slept_at;
    running.until += now - running.slept_at;
}

// A copy is closed: the run may go on.
void Profiler::finish(int64_t end) {
    finished_ = entries_;
    for (uint32_t index = 0; index < running_.size(); ++index) {
        const Running& running = running_[index];
        if (!machine_.cores[index].started || entries_[index].empty()) {
            continue;
        }
        Entry& here = finished_[index][running.function];
        if (running.until < end) {
            here.cycles[running.sleeping ? running.sleep_cause : CauseInstruction] += end - running.until;
        }
        // What the last instruction would have taken beyond the end did not happen.
        int64_t beyond = running.until - end;
        for (size_t cause = cause_count; cause-- > 0 && beyond > 0;) {
            const int64_t taken = std::min(beyond, running.last[cause]);
            here.cycles[cause] -= taken;
            beyond -= taken;
        }
    }
}

}  // namespace sim
