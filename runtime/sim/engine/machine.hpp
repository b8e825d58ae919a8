// The machine: cores, memories, peripherals, and the order in which they act.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "configuration.hpp"
#include "core.hpp"
#include "elf.hpp"
#include "event_unit.hpp"
#include "external_memory.hpp"
#include "fault.hpp"
#include "instruction.hpp"
#include "instruction_cache.hpp"
#include "mchan.hpp"
#include "memory.hpp"
#include "objects.hpp"

namespace sim {

class Checker;
class Profiler;
class Tracer;

// Delayed actions: executed at the end of their cycle, in the order in which they were asked for.
enum class Action : uint8_t { CoreWakeup, DmaQueue, DmaRead, DmaWrite, DmaLocal, ExternalMemory };

// Interrupt lines of the fabric controller.
constexpr uint32_t interrupt_dma = 8, interrupt_external_memory = 9;

struct Event {
    int64_t cycle;
    Action action;
    uint32_t argument;
};

class Machine {
public:
    Machine(const Configuration& configuration, bool timing);
    ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    void enable_checks();
    void enable_profile();
    void enable_trace(const std::string& path);
    void load_elf(const std::vector<uint8_t>& image);
    void restart();
    void write(uint32_t address, const uint8_t* data, size_t size);
    std::vector<uint8_t> read(uint32_t address, size_t size) const;

    // Runs until the program exits. Throws Fault. `interrupted` is polled now and then.
    void run(int64_t max_cycles, const std::function<bool()>& interrupted);

    // ---- used by cores and peripherals ----
    uint32_t load(Core& core, uint32_t address, uint32_t size);
    void store(Core& core, uint32_t address, uint32_t size, uint32_t value);
    void event_load(Core& core, uint32_t address, uint8_t rd);
    uint32_t read_csr(Core& core, uint32_t number);
    void write_csr(Core& core, uint32_t number, uint32_t value);
    void wait_for_interrupt(Core& core);
    void return_from_interrupt(Core& core);
    void flush_decoded();
    void raise_interrupt(uint32_t line);
    void set_loop_end(uint32_t address);
    void loop_end_reached(Core& core, const Instruction& instruction);

    // The decoded entry at an address (decoded on demand).
    Instruction* lookup(Core& core, uint32_t address);
    Instruction* prepare(Core& core, Instruction* entry);

    void enqueue(Action action, uint32_t argument, int64_t cycle);
    void sleep(Core& core);
    void wake(Core& core);
    int64_t now() const { return now_; }

    [[noreturn]] void fail(FaultKind kind, const Core& core, const std::string& what) const;
    // "0x1c010000 (buffer or symbol)", as a core sees it.
    std::string where(uint32_t address, uint32_t core = max_cores) const;

    const Configuration configuration;
    const bool timing;
    Memory memory;
    EventUnit event_unit;
    Mchan dma;
    ExternalMemory external_memory;
    InstructionCache icache;
    std::vector<Core> cores;    // cluster cores, then the fabric controller
    ElfFile elf;
    Objects objects;

    bool exited = false;
    int32_t exit_code = 0;
    int64_t end_cycle = 0;
    std::string output;
    std::function<void(const std::string&)> on_output;

    std::unique_ptr<Checker> checker;
    std::unique_ptr<Profiler> profiler;
    std::unique_ptr<Tracer> tracer;

    Core& fabric_controller() { return cores.back(); }

private:
    struct Page {
        std::vector<Instruction> entries;
    };
    struct Slot {
        int64_t ready;
        Core* core;
    };

    void reset_cores();
    void start_core(Core& core);
    template <bool Instrumented> void run_timed(int64_t limit, const std::function<bool()>& interrupted);
    template <bool Instrumented> int64_t step(Core& core, int64_t now);
    void run_functional(int64_t limit, const std::function<bool()>& interrupted);
    template <bool Instrumented> bool run_quantum(Core& core, uint32_t quantum);
    void before_checked(Core& core, const Instruction& instruction);
    void after_checked(Core& core, const Instruction& instruction);
    bool run_due_events();
    void dispatch(const Event& event);
    void insert_front(Core& core);
    void count_events(Core& core, const Instruction& instruction, int32_t fetch, int32_t load_use);
    void after_store(uint32_t address, uint32_t size);
    uint32_t peripheral_read(Core& core, uint32_t address, uint32_t size);
    void peripheral_write(Core& core, uint32_t address, uint32_t size, uint32_t value);
    void print(uint32_t stream, char character);
    void finish();
    void interrupt_controller_changed();
    void check_alignment(const Core& core, const char* verb, uint32_t address, uint32_t size) const;
    std::string explain_unmapped(const Core& core, uint32_t address) const;
    uint32_t path_latency(const Core& core, uint32_t address) const;
    void create_page_tables();
    void forget_decoded(uint32_t address, size_t size);
    Page* page_at(uint32_t address, bool create);
    [[noreturn]] void deadlock() const;

    int64_t now_ = 0;
    std::vector<Slot> slots_;
    std::vector<Core*> woken_;      // woken while the cores of this cycle are still running
    bool in_cycle_ = false;
    size_t current_slot_ = 0;
    std::vector<Event> events_;     // sorted by cycle, first in first out inside a cycle
    size_t events_head_ = 0;

    std::vector<int64_t> fpu_free_;
    std::vector<int64_t> divider_free_;

    std::map<uint32_t, std::unique_ptr<Page>> page_store_;
    std::vector<Page*> l2_pages_, l1_pages_, l2_private_pages_;

    std::map<uint32_t, std::string> lines_;     // output of each core up to its line end
    uint32_t interrupt_mask_ = 0, interrupt_status_ = 0;
    uint32_t fetch_enable_ = 0, end_of_computation_ = 0;
    std::vector<int64_t> l1_bank_free_;
};

}  // namespace sim
