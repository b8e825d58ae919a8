// How time passes.
//
// With timing, a cycle has two halves. First every core whose turn it is executes one instruction,
// in the order of `slots_`; then the events of the cycle (wake-ups, DMA steps) happen in the order in
// which they were asked for. An instruction acts on memory and devices in the cycle in which it
// starts; its stalls delay the next one. Instructions that touch nothing shared (arithmetic, branches,
// private fetch hits) are executed at once, ahead of the common time, since nobody can tell: so
// everything that is shared still happens in exact order.
//
// Without timing, cores run one after the other for a fixed number of instructions, or until they wait.
#include <algorithm>

#include "checker.hpp"
#include "machine.hpp"
#include "profiler.hpp"
#include "tracer.hpp"

namespace sim {

namespace {
// A core that only computes may run at most this far ahead of the others.
constexpr int64_t run_ahead_cycles = 512;
constexpr uint32_t functional_quantum = 4096;
constexpr uint32_t cycles_between_polls = 1 << 18;
}  // namespace

void Machine::count_events(Core& core, const Instruction& instruction, int32_t fetch, int32_t load_use) {
    core.pccr[CounterFetchStall] += static_cast<uint32_t>(fetch);
    core.pccr[CounterLoadStall] += static_cast<uint32_t>(load_use) + (instruction.mul_like ? instruction.extra_stall : 0);
    switch (instruction.kind) {
        case Kind::Load: case Kind::EventLoad: ++core.pccr[CounterLoad]; break;
        case Kind::Store: ++core.pccr[CounterStore]; break;
        case Kind::Jump: ++core.pccr[CounterJump]; break;
        case Kind::Branch:
            ++core.pccr[CounterBranch];
            core.pccr[CounterTakenBranch] += core.taken ? 1 : 0;
            core.taken = false;
            break;
        case Kind::Other: break;
    }
    core.pccr[CounterCompressed] += (instruction.flags & Compressed) != 0 ? 1 : 0;
}

// Values that the checks doubt live in registers until they are used or overwritten.
inline void Machine::before_checked(Core& core, const Instruction& instruction) {
    core.loaded_doubtful = false;
    if (checker && (core.doubtful & instruction.inputs) != 0) {
        checker->used(core, instruction);
    }
}

inline void Machine::after_checked(Core& core, const Instruction& instruction) {
    if (instruction.rd < discarded_register) {
        core.doubtful &= ~(uint64_t{1} << instruction.rd);
        core.doubtful |= uint64_t{core.loaded_doubtful} << instruction.rd;
    }
    if (checker) {
        checker->executed(core, instruction);
    }
}

template <bool Instrumented>
__attribute__((always_inline)) inline int64_t Machine::step(Core& core, int64_t now) {
    int64_t time = now;
    Instruction* instruction = core.next;
    for (;;) {
        if (SIM_UNLIKELY((instruction->flags & Decoded) == 0)) {
            core.cycle = time;
            instruction = prepare(core, instruction);
        }
        core.cycle = time;
        int32_t stall = 0;
        if (instruction->address - core.line_base > last_fetch_offset) {
            stall = icache.fetch(core, instruction->address, time);
        }
        const int32_t fetch = stall;
        int32_t contention = 0;
        if (instruction->unit != Unit::None) {
            int64_t& free = *core.unit_free[static_cast<size_t>(instruction->unit)];
            const int64_t start = time + stall;
            if (start < free) {
                contention = static_cast<int32_t>(free - start);
                stall += contention;
                free += instruction->unit_interval;
            } else {
                free = start + instruction->unit_interval;
            }
        }
        int32_t load_use = 0;
        if ((instruction->inputs >> core.late_register & 1) != 0) {
            load_use = std::max(0, static_cast<int32_t>(configuration.load_use_stall) - stall);
            stall += load_use;
        }
        const bool counting = core.counting;
        const bool late_load = SIM_UNLIKELY(counting) && core.current != nullptr && core.current->mul_like == 0;
        core.stall = stall + instruction->extra_stall;
        core.late_register = instruction->late;
        core.next = instruction + (instruction->size >> 1);
        core.current = instruction;
        if constexpr (Instrumented) {
            before_checked(core, *instruction);
        }
        instruction->handler(core, *instruction);
        if constexpr (Instrumented) {
            after_checked(core, *instruction);
        }
        if (SIM_UNLIKELY((instruction->flags & LoopEnd) != 0)) {
            loop_end_reached(core, *instruction);
        }
        ++core.instructions;
        if (SIM_UNLIKELY(counting)) {
            count_events(core, *instruction, fetch, late_load ? load_use : 0);
        }
        // The write that switches the counters off is not counted.
        if (SIM_UNLIKELY(core.counting) && (counting || core.counts_itself)) {
            core.counts_itself = false;
            ++core.pccr[CounterInstructions];
            core.pccr[CounterCycles] += 1 + static_cast<uint32_t>(core.stall);
        }
        if constexpr (Instrumented) {
            if (profiler) {
                profiler->executed(core, *instruction, time, fetch, contention, load_use);
            }
            if (tracer) {
                tracer->executed(core, *instruction, time);
            }
        }
        if (SIM_UNLIKELY(core.asleep)) {
            return never;
        }
        time += 1 + core.stall;
        instruction = core.next;
        if ((instruction->flags & (Decoded | Shared)) != Decoded ||
            instruction->address - core.line_base > last_fetch_offset || time - now > run_ahead_cycles) {
            return time;
        }
    }
}

template <bool Instrumented>
void Machine::run_timed(int64_t limit, const std::function<bool()>& interrupted) {
    uint32_t until_poll = cycles_between_polls;
    while (!exited) {
        int64_t next = never;
        bool dropped = false;
        in_cycle_ = true;
        for (current_slot_ = 0; current_slot_ < slots_.size(); ++current_slot_) {
            Slot& slot = slots_[current_slot_];
            if (slot.ready == now_) {
                slot.ready = step<Instrumented>(*slot.core, now_);
            } else if (SIM_UNLIKELY(slot.ready == never)) {
                dropped = true;     // asleep since an earlier cycle: leaves the order now
                slot.core = nullptr;
            }
            next = std::min(next, slots_[current_slot_].ready);
        }
        in_cycle_ = false;
        if (SIM_UNLIKELY(dropped || !woken_.empty())) {
            slots_.erase(std::remove_if(slots_.begin(), slots_.end(), [](const Slot& s) { return s.core == nullptr; }),
                         slots_.end());
            for (Core* core : woken_) {
                insert_front(*core);
                next = std::min(next, slots_.front().ready);
            }
            woken_.clear();
        }
        if (!events_.empty() && events_[events_head_].cycle <= now_) {
            run_due_events();
            next = never;
            for (const Slot& slot : slots_) {
                next = std::min(next, slot.ready);
            }
        }
        if (!events_.empty()) {
            next = std::min(next, events_[events_head_].cycle);
        }
        if (SIM_UNLIKELY(next == never)) {
            if (exited) {
                break;
            }
            deadlock();
        }
        if (SIM_UNLIKELY(next > limit)) {
            end_cycle = limit;
            throw Fault(FaultKind::CycleLimit, "the program did not end within " + std::to_string(limit) + " cycles");
        }
        if (SIM_UNLIKELY(--until_poll == 0)) {
            until_poll = cycles_between_polls;
            if (interrupted()) {
                end_cycle = now_;
                throw Fault(FaultKind::Interrupted, "interrupted in cycle " + std::to_string(now_));
            }
        }
        now_ = next;
    }
}

template <bool Instrumented>
bool Machine::run_quantum(Core& core, uint32_t quantum) {
    Instruction* instruction = core.next;
    uint32_t left = quantum;
    while (left != 0 && !core.asleep) {
        if (SIM_UNLIKELY((instruction->flags & Decoded) == 0)) {
            instruction = prepare(core, instruction);
        }
        core.next = instruction + (instruction->size >> 1);
        core.current = instruction;
        if constexpr (Instrumented) {
            before_checked(core, *instruction);
        }
        instruction->handler(core, *instruction);
        if constexpr (Instrumented) {
            after_checked(core, *instruction);
        }
        if (SIM_UNLIKELY((instruction->flags & LoopEnd) != 0)) {
            loop_end_reached(core, *instruction);
        }
        --left;
        instruction = core.next;
    }
    core.instructions += quantum - left;
    core.stall = 0;
    return left != quantum;
}

void Machine::run_functional(int64_t limit, const std::function<bool()>& interrupted) {
    int64_t executed = 0;
    uint32_t rounds = 0;
    while (!exited) {
        bool any = false;
        for (Core& core : cores) {
            if (core.started && !core.asleep && !exited) {
                const uint64_t before = core.instructions;
                any = (checker ? run_quantum<true>(core, functional_quantum) : run_quantum<false>(core, functional_quantum)) || any;
                executed += static_cast<int64_t>(core.instructions - before);
            }
        }
        ++now_;
        // Latencies mean nothing here: everything that was asked for happens before the next round.
        while (!events_.empty() && !exited) {
            now_ = std::max(now_, events_[events_head_].cycle);
            any = run_due_events() || any;
        }
        if (!any && !exited) {
            deadlock();
        }
        if (executed > limit) {
            throw Fault(FaultKind::CycleLimit, "the program did not end within " + std::to_string(limit) + " instructions");
        }
        if ((++rounds & 1023) == 0 && interrupted()) {
            throw Fault(FaultKind::Interrupted, "interrupted after " + std::to_string(executed) + " instructions");
        }
    }
}

void Machine::run(int64_t max_cycles, const std::function<bool()>& interrupted) {
    if (elf.segments.empty()) {
        throw Fault(FaultKind::Elf, "no program is loaded");
    }
    if (exited) {
        throw Fault(FaultKind::Elf, "the program has ended; load or restart first");
    }
    try {
        if (!timing) {
            run_functional(max_cycles, interrupted);
        } else if (profiler || tracer || checker) {
            run_timed<true>(max_cycles, interrupted);
        } else {
            run_timed<false>(max_cycles, interrupted);
        }
    } catch (...) {
        in_cycle_ = false;
        end_cycle = now_;
        finish();
        throw;
    }
    end_cycle = now_;
    finish();
}

void Machine::finish() {
    for (auto& [stream, line] : lines_) {
        (void)stream;
        if (!line.empty()) {
            output += line;
            if (on_output) {
                on_output(line);
            }
            line.clear();
        }
    }
    if (profiler) {
        profiler->finish(end_cycle);
    }
    if (tracer) {
        tracer->finish(end_cycle);
    }
}

}  // namespace sim
