// Checks of memory use while a program runs: reads of memory that nobody wrote, stack overflows, accesses
// that leave the object they began in (bounds.cpp), and races, that is two accesses to the same bytes, one of them a write, by two cores or by a core and a
// DMA transfer, with no barrier, event, lock or wait that orders them.
//
// Races are found with vector clocks: an access is ordered after an earlier one when its thread knows
// the clock that the other thread had then. Knowledge is passed on by what the chip offers for it:
// barriers, the dispatch fifo, mutexes, software events, waiting for a DMA or L3 transfer, starting the cores,
// the interrupt controller, the test-and-set alias, and words that are declared to be flags.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "core.hpp"
#include "external_memory.hpp"
#include "instruction.hpp"
#include "mchan.hpp"
#include "objects.hpp"
#include "vector_clock.hpp"

namespace sim {

class Machine;

constexpr uint32_t no_core = ~0u;

enum class ReportKind : uint8_t { Unwritten, StackOverflow, Race, OutOfBounds };

// One access, as reports show it.
struct AccessRecord {
    uint32_t thread = 0;        // core index, or from max_cores on: a transfer
    uint32_t pc = 0;            // of a transfer: the instruction that completed its command
    int64_t cycle = 0;
    bool write = false;
    uint32_t issuer = no_core;  // of a transfer: the core that started it, where it is still known
};

struct Report {
    Report(ReportKind kind, uint32_t address, uint32_t size, const AccessRecord& access, const AccessRecord& other = {},
           uint32_t beyond = 0)
        : kind(kind), address(address), size(size), access(access), other(other), beyond(beyond) {}

    ReportKind kind;
    uint32_t address;
    uint32_t size;
    AccessRecord access;
    AccessRecord other;         // races only
    uint64_t count = 1;
    uint32_t beyond;            // out of bounds: a byte of the object that the access left, 0 where there is none
    std::string name, beyond_name;  // filled in when it is reported
};

class Checker {
public:
    explicit Checker(Machine& machine);
    void reset();

    // Memory
    void host_wrote(uint32_t address, uint32_t size);
    void load(Core& core, uint32_t address, uint32_t size);
    void store(Core& core, uint32_t address, uint32_t size);
    void synchronising_access(Core& core, uint32_t address, uint32_t size);
    void declare_flag(uint32_t address, uint32_t size);
    // A doubtful value is reported when it is used, not when it is loaded: kernels load ahead of their
    // data and drop what they do not need.
    void used(Core& core, const Instruction& instruction);
    // After each instruction.
    void executed(Core& core, const Instruction& instruction) {
        if (instruction.rd < 32) {
            derive(core.index, instruction);
        }
        if (instruction.kind == Kind::Jump) {
            jumped(core);
        }
    }
    void set_stack(uint32_t core, uint32_t low, uint32_t high);

    // Synchronisation; the actor is the thread whose access is being executed.
    void set_actor(uint32_t thread) { actor_ = thread; }
    void barrier_arrive(uint32_t barrier);
    void barrier_complete(uint32_t barrier, uint32_t target_mask);
    void event_raised(uint32_t core);
    void core_woken(uint32_t core);
    void mutex_locked(uint32_t mutex);
    void mutex_unlocked(uint32_t mutex);
    void dispatch_pushed(uint32_t entry);
    void dispatch_popped(uint32_t entry);
    void dma_started(Core& core, Mchan::Command& command);
    void dma_finished(const Mchan::Command& command);
    void dma_status_read(Core& core, uint32_t status);
    void external_started(Core& core, const ExternalMemory::Transfer& transfer);
    void external_finished();
    void external_status_read(Core& core);
    void controller_synchronises(Core& core);
    void controller_woken(Core& core);
    void interrupt_raised();
    void cores_started(Core& core, uint32_t mask);

    const std::vector<Report>& reports() const { return reports_; }

private:
    // The last access of a kind to a word: which bytes, by whom, when.
    struct Epoch {
        uint32_t clock = 0;
        uint32_t pc = 0;
        uint32_t cycle = 0;
        uint8_t thread = 0;
        uint8_t bytes = 0;
    };
    struct Cell {
        Epoch write, read;
        uint32_t readers = 0;       // 1 + index of more concurrent readers
        uint8_t written = 0;        // bytes that someone wrote
        bool flag = false;          // a synchronisation variable
    };
    struct Page { std::vector<Cell> cells; };

    Cell& cell(uint32_t word_address);
    void read_word(uint32_t thread, uint32_t pc, uint32_t word, uint8_t bytes, std::vector<Report>* deferred);
    void write_word(uint32_t thread, uint32_t pc, uint32_t word, uint8_t bytes);
    // Calls visit(word address, mask of its bytes) for each word that a range touches.
    template <typename Visit>
    static void for_words(uint32_t address, uint32_t size, Visit visit) {
        while (size != 0) {
            const uint32_t offset = address & 3;
            const uint32_t part = std::min(4 - offset, size);
            visit(address - offset, static_cast<uint8_t>(((1u << part) - 1) << offset));
            address += part;
            size -= part;
        }
    }
    bool ordered(const Epoch& epoch, uint32_t thread) const {
        return epoch.clock <= clocks_[thread].at[epoch.thread];
    }
    void acquire(uint32_t thread, const VectorClock& from) { clocks_[thread].join(from); }
    void release(uint32_t thread, VectorClock& into);
    template <typename ForSource, typename ForTarget>
    void move(uint32_t thread, uint32_t pc, uint32_t size, ForSource for_source, ForTarget for_target);
    uint32_t begin_transfer(uint32_t thread, const Core& core);
    uint32_t issuer_of(const Epoch& epoch) const;
    void tick(uint32_t thread) { ++clocks_[thread].at[thread]; }
    void report(const Report& report);
    Report race(uint32_t word, uint8_t bytes, uint32_t thread, uint32_t pc, bool write, const Epoch& other, bool other_write);
    void check_stack(Core& core, uint32_t address, uint32_t size, bool write);
    void find_stacks();

    // Bounds. An instruction that goes through an object by a pointer of one origin must stay in it.
    struct Walk {
        uint32_t pc = 1;            // no instruction's
        uint32_t origin = 0;        // of its base register
        uint64_t generation = 0;
        Extent extent;
    };
    // Where a register's value comes from, as a number: the same for values that the same instructions made of
    // the same origins. Stepping on by a constant keeps it, whatever else than an address computation renews it.
    enum class Origin : uint8_t { New, Kept, Constant, Step, Shift, Sum };
    void derive(uint32_t core, const Instruction& instruction) {
        auto& origins = origins_[core];
        uint32_t& origin = origins[instruction.rd];
        const auto mix = [&](uint32_t first, uint32_t second) {
            return (instruction.address * 0x9e3779b1u ^ first) * 0x85ebca77u ^ (second * 0xc2b2ae3du + (first >> 15));
        };
        switch (origin_[instruction.opcode]) {
            case Origin::New: origin = ++newest_origin_; break;
            case Origin::Kept: break;
            case Origin::Constant: origin = mix(0, 0); break;
            case Origin::Step: origin = instruction.rd == instruction.rs1 ? origin : mix(origins[instruction.rs1 & 31], 0); break;
            case Origin::Shift: origin = mix(origins[instruction.rs1 & 31], 0); break;
            case Origin::Sum: origin = mix(origins[instruction.rs1 & 31], origins[instruction.rs2 & 31]); break;
        }
    }
    void find_allocators();
    void jumped(Core& core);
    void check_bounds(Core& core, uint32_t address, uint32_t size, std::vector<Report>* deferred);
    void leave_object(Core& core, uint32_t address, uint32_t size, std::vector<Report>* deferred, Walk& walk);
    void check_run(uint32_t thread, uint32_t pc, uint32_t address, uint32_t size, bool write);
    uint64_t generation(uint32_t core) const;

    Machine& machine_;
    std::unordered_map<uint32_t, std::unique_ptr<Page>> pages_;
    uint32_t last_page_number_ = ~0u;
    Page* last_page_ = nullptr;
    std::vector<std::vector<Epoch>> readers_;
    std::vector<uint32_t> free_readers_;

    std::vector<VectorClock> clocks_;
    std::vector<VectorClock> event_clocks_, barrier_clocks_, mutex_clocks_, dispatch_clocks_, counter_clocks_;
    VectorClock controller_clock_;

    // L3 transfers: the engine serves them in the order in which they were started.
    struct ExternalTransfer {
        uint32_t issuer = no_core;
        uint32_t started = 0;       // the issuer's clock
        VectorClock clock;          // what the transfer knows, and its own place
    };
    std::deque<ExternalTransfer> external_;             // in flight
    std::array<ExternalTransfer, max_cores> served_;    // the last one of each core that is finished
    VectorClock external_clock_;                        // of all that are finished

    struct DmaTransfer { uint32_t issuer = no_core, clock = 0; };
    std::array<DmaTransfer, dma_threads> dma_;          // the last one on each thread
    std::unordered_map<uint32_t, VectorClock> flag_clocks_;
    uint32_t actor_ = 0;
    uint32_t next_dma_thread_ = 0;

    struct Stack { uint32_t low = 0, high = 0; };
    std::vector<Stack> stacks_;
    std::vector<uint32_t> first_stack_pointer_;

    std::vector<Origin> origin_;                                    // by opcode
    std::array<std::array<uint32_t, discarded_register + 1>, max_cores> origins_{};     // of each register's value
    uint32_t newest_origin_ = 0;
    std::vector<std::array<Walk, 256>> walks_;
    std::array<uint32_t, max_cores> kernels_entered_{};
    enum class Allocator : uint8_t { TakesFirst, TakesSecond, GivesFirst, GivesSecond };
    struct Call { Allocator what; uint32_t return_address, size; };
    std::unordered_map<uint32_t, Allocator> allocators_;
    std::array<std::vector<Call>, max_cores> calls_;                // of allocators that have not returned

    std::vector<std::array<std::vector<Report>, discarded_register + 1>> deferred_;     // by core and register
    std::vector<Report> reports_;
    std::map<std::tuple<ReportKind, uint32_t, uint32_t, uint32_t>, size_t> seen_;
};

}  // namespace sim
