#include "external_memory.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "checker.hpp"
#include "machine.hpp"
#include "tracer.hpp"

namespace sim {

ExternalMemory::ExternalMemory(Machine& machine, const Configuration& configuration)
    : machine_(machine), configuration_(configuration) {}

void ExternalMemory::reset() {
    external_ = internal_ = 0;
    transfers_.clear();
    started_ = finished_ = 0;
    free_ = 0;
}

Access ExternalMemory::read(Core& core, uint32_t offset, uint32_t& value) const {
    if (machine_.checker && (offset == 0xc || offset == 0x18)) {
        machine_.checker->external_status_read(core);
    }
    switch (offset) {
        case 0x0: value = external_; return Access::Done;
        case 0x4: value = internal_; return Access::Done;
        case 0xc: value = static_cast<uint32_t>(transfers_.size()); return Access::Done;
        case 0x10: value = configuration_.l3_bytes; return Access::Done;
        case 0x14: value = started_; return Access::Done;
        case 0x18: value = finished_; return Access::Done;
        default: return Access::Invalid;
    }
}

Access ExternalMemory::write(Core& core, uint32_t offset, uint32_t value) {
    switch (offset) {
        case 0x0: external_ = value; return Access::Done;
        case 0x4: internal_ = value; return Access::Done;
        case 0x8: start(core, value & 0x7fffffff, (value >> 31) != 0); return Access::Done;
        default: return Access::Invalid;
    }
}

void ExternalMemory::start(Core& core, uint32_t size, bool to_l3) {
    const uint64_t end = static_cast<uint64_t>(external_) + size;
    if (size == 0 || end > configuration_.l3_bytes || machine_.memory.find_on_chip(internal_, size) == nullptr) {
        char text[160];
        std::snprintf(text, sizeof text, "L3 transfer of %u bytes outside memory: L3 offset 0x%08x, address 0x%08x", size,
                      external_, internal_);
        machine_.fail(FaultKind::BadAccess, core, text);
    }
    transfers_.push_back({external_, internal_, size, to_l3, core.index, core.pc(), std::max(free_, machine_.now())});
    if (machine_.checker) {
        machine_.checker->external_started(core, transfers_.back());
    }
    ++started_;
    if (!machine_.timing) {
        finish();
        return;
    }
    const uint64_t rate = configuration_.l3_bytes_per_second;     // of a memory with a clock of its own
    const auto cycles = static_cast<int64_t>((size * configuration_.frequency_hz + rate - 1) / rate);
    free_ = std::max(free_, machine_.now()) + configuration_.l3_latency + cycles;
    machine_.enqueue(Action::ExternalMemory, 0, free_);
}

void ExternalMemory::finish() {
    const Transfer transfer = transfers_.front();
    transfers_.pop_front();
    ++finished_;
    uint8_t* inside = machine_.memory.find(transfer.internal, transfer.size);
    uint8_t* outside = machine_.memory.l3.bytes.data() + transfer.external;
    std::memmove(transfer.to_l3 ? outside : inside, transfer.to_l3 ? inside : outside, transfer.size);
    if (machine_.checker) {
        machine_.checker->external_finished();
    }
    if (machine_.tracer) {
        machine_.tracer->transferred(transfer, machine_.now());
    }
    machine_.raise_interrupt(interrupt_external_memory);
}

}  // namespace sim
