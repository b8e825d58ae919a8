// Loading, resetting, sleeping and waking, and faults.
#include "machine.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "checker.hpp"
#include "profiler.hpp"
#include "tracer.hpp"

namespace sim {

namespace {
constexpr size_t loader_chunk = 1 << 16;
}  // namespace

Machine::Machine(const Configuration& chip, bool with_timing)
    : configuration(chip), timing(with_timing), memory(configuration), event_unit(*this, configuration),
      dma(*this, configuration), external_memory(*this, configuration), icache(configuration), cores(configuration.cluster_cores() + 1) {
    create_page_tables();
    reset_cores();
}

Machine::~Machine() = default;

void Machine::reset_cores() {
    const uint32_t cluster_cores = configuration.cluster_cores();
    fpu_free_.assign(configuration.shared_fpus + 1, 0);
    divider_free_.assign(configuration.shared_dividers + 1, 0);
    l1_bank_free_.assign(configuration.l1_banks, 0);
    for (uint32_t i = 0; i < cores.size(); ++i) {
        Core& core = cores[i];
        core = Core{};
        core.machine = this;
        core.configuration = &configuration;
        core.index = i;
        core.is_fabric_controller = i == cluster_cores;
        core.hart = core.is_fabric_controller ? 31u << 5 : i;
        const bool outside = core.is_fabric_controller;     // it has units of its own
        core.unit_free[static_cast<size_t>(Unit::Fpu)] =
            &fpu_free_[outside ? configuration.shared_fpus : i % configuration.shared_fpus];
        core.unit_free[static_cast<size_t>(Unit::Divider)] =
            &divider_free_[outside ? configuration.shared_dividers : i % configuration.shared_dividers];
        core.l1 = memory.l1.bytes.data();
        core.l1_base = configuration.l1_base;
        // The fabric controller reaches L1 over the interconnect: always the slow way.
        core.l1_fast_bytes =
            core.is_fabric_controller || (configuration.l1_bank_conflicts && timing) || checker || configuration.misaligned_traps ? 0 : configuration.l1_bytes;
        core.asleep = true;
        core.slept_at = -1;
    }
    slots_.clear();
    woken_.clear();
    events_.clear();
    events_head_ = 0;
    now_ = 0;
    lines_.clear();
    interrupt_mask_ = interrupt_status_ = 0;
    fetch_enable_ = end_of_computation_ = 0;
    exited = false;
    exit_code = 0;
    end_cycle = 0;
    output.clear();
    event_unit.reset();
    dma.reset();
    external_memory.reset();
    icache.reset();
}

void Machine::enable_checks() {
    checker = std::make_unique<Checker>(*this);
    reset_cores();
}

void Machine::enable_profile() { profiler = std::make_unique<Profiler>(*this); }

void Machine::enable_trace(const std::string& path) { tracer = std::make_unique<Tracer>(*this, path); }

void Machine::load_elf(const std::vector<uint8_t>& image) {
    ElfFile file = parse_elf(image);
    check_float_registers(file, configuration.merged_registers);
    for (const Segment& segment : file.segments) {
        if (memory.find(segment.address, segment.memory_size) == nullptr) {
            char text[160];
            std::snprintf(text, sizeof text, "the ELF file has a segment outside memory: 0x%08x to 0x%08x",
                          segment.address, segment.address + segment.memory_size);
            throw Fault(FaultKind::Elf, text);
        }
    }
    if (memory.find(file.entry, 2) == nullptr) {
        throw Fault(FaultKind::Elf, "the ELF file has an entry point outside memory");
    }
    elf = std::move(file);
    objects.load(elf);
    flush_decoded();
    if (checker) {
        checker = std::make_unique<Checker>(*this);
    }
    for (const Segment& segment : elf.segments) {
        uint8_t* target = memory.find(segment.address, segment.memory_size);
        std::fill(std::copy(segment.bytes.begin(), segment.bytes.end(), target), target + segment.memory_size, uint8_t{0});
        if (checker) {
            checker->host_wrote(segment.address, segment.memory_size);
        }
    }
    restart();
}

void Machine::restart() {
    reset_cores();
    objects.restart();
    if (checker) {
        checker->reset();
    }
    if (profiler) {
        profiler->reset();
    }
    if (elf.segments.empty()) {
        return;
    }
    // The loader brings each part of a segment over the bus in chunks before it starts the controller.
    const auto chunks = [](size_t bytes) { return static_cast<int64_t>((bytes + loader_chunk - 1) / loader_chunk); };
    now_ = 1;
    for (const Segment& segment : elf.segments) {
        now_ += (1 + configuration.axi_latency) *
                (chunks(segment.bytes.size()) + chunks(segment.memory_size - segment.bytes.size()));
    }
    Core& controller = fabric_controller();
    controller.boot_address = elf.entry;
    start_core(controller);
}

void Machine::start_core(Core& core) {
    core.next = lookup(core, core.boot_address);
    core.line_base = 1;     // nothing in the fetch buffer
    core.started = true;
    core.mtvec = core.boot_address;
    core.stall = 0;
    if (core.started_at == never) {
        core.started_at = now_;
    }
    wake(core);
}

void Machine::write(uint32_t address, const uint8_t* data, size_t size) {
    uint8_t* target = memory.find(address, size);
    if (target == nullptr) {
        char text[120];
        std::snprintf(text, sizeof text, "host write of %zu bytes at 0x%08x is outside memory", size, address);
        throw Fault(FaultKind::BadAccess, text);
    }
    std::memcpy(target, data, size);
    if (checker) {
        checker->host_wrote(address, static_cast<uint32_t>(size));
    }
    forget_decoded(address, size);
}

std::vector<uint8_t> Machine::read(uint32_t address, size_t size) const {
    const uint8_t* source = memory.find(address, size);
    if (source == nullptr) {
        char text[120];
        std::snprintf(text, sizeof text, "host read of %zu bytes at 0x%08x is outside memory", size, address);
        throw Fault(FaultKind::BadAccess, text);
    }
    return {source, source + size};
}

// ---- sleeping and waking ----

void Machine::sleep(Core& core) {
    core.asleep = true;
    core.slept_at = now_;
    core.late_register = 0;
}

void Machine::insert_front(Core& core) {
    slots_.insert(slots_.begin(), Slot{now_ + 1 + core.stall, &core});
}

// Cores run in a fixed order inside a cycle: the one woken last comes first. A core that is woken
// before it has left the order keeps its place.
void Machine::wake(Core& core) {
    core.asleep = false;
    if (core.counting) {
        // The model counts the stalls of the waiting instruction when it goes to sleep and when it is woken.
        core.pccr[CounterCycles] += static_cast<uint32_t>(core.stall - core.answer_stall);
    }
    if (profiler) {
        profiler->woke(core, now_);
    }
    if (tracer) {
        tracer->woke(core, now_);
    }
    for (size_t i = 0; i < slots_.size(); ++i) {
        if (slots_[i].core != &core) {
            continue;
        }
        const bool keeps = core.slept_at == now_ || (in_cycle_ && core.slept_at == now_ - 1 && i > current_slot_);
        if (keeps) {
            slots_[i].ready = now_ + 1 + core.stall;
            return;
        }
        if (in_cycle_) {
            slots_[i].core = nullptr;       // dropped at the end of the cycle
        } else {
            slots_.erase(slots_.begin() + static_cast<std::ptrdiff_t>(i));
        }
        break;
    }
    if (in_cycle_) {
        woken_.push_back(&core);
    } else {
        insert_front(core);
    }
}

void Machine::enqueue(Action action, uint32_t argument, int64_t cycle) {
    auto position = events_.end();
    while (position != events_.begin() + static_cast<std::ptrdiff_t>(events_head_) && (position - 1)->cycle > cycle) {
        --position;
    }
    events_.insert(position, Event{cycle, action, argument});
}

void Machine::dispatch(const Event& event) {
    switch (event.action) {
        case Action::CoreWakeup: event_unit.wakeup(event.argument); break;
        case Action::DmaQueue: dma.move_commands(); break;
        case Action::DmaRead: dma.read_outside(); break;
        case Action::DmaWrite: dma.write_outside(); break;
        case Action::DmaLocal: dma.transfer_local(); break;
        case Action::ExternalMemory: external_memory.finish(); break;
    }
}

// Runs what is due in this cycle; true when something was.
bool Machine::run_due_events() {
    bool any = false;
    while (events_head_ < events_.size() && events_[events_head_].cycle <= now_) {
        const Event event = events_[events_head_++];
        if (events_head_ == events_.size()) {
            events_.clear();
            events_head_ = 0;
        } else if (events_head_ >= 64) {
            events_.erase(events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(events_head_));
            events_head_ = 0;
        }
        dispatch(event);
        any = true;
    }
    return any;
}

// ---- faults ----

std::string Machine::where(uint32_t address, uint32_t core) const {
    char text[24];
    std::snprintf(text, sizeof text, "0x%08x", address);
    const std::string buffer = objects.describe(core, address);
    const std::string symbol = buffer.empty() ? elf.describe(address) : buffer;
    return symbol.empty() ? text : std::string(text) + " (" + symbol + ")";
}

void Machine::fail(FaultKind kind, const Core& core, const std::string& what) const {
    const std::string name = core.is_fabric_controller ? "the fabric controller" : "core " + std::to_string(core.index);
    std::string message = what + ": " + name + " at pc " + where(core.pc());
    if (timing) {
        message += ", cycle " + std::to_string(core.cycle);
    }
    throw Fault(kind, message);
}

void Machine::deadlock() const {
    std::string message = "every core sleeps and nothing can wake one:";
    for (const Core& core : cores) {
        if (!core.started) {
            continue;
        }
        message += core.is_fabric_controller ? " controller" : " core " + std::to_string(core.index);
        message += " at " + where(core.pc()) + ";";
    }
    message.back() = '.';
    throw Fault(FaultKind::Deadlock, message);
}

}  // namespace sim
