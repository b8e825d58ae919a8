// What the cores see of the DMA: counters, commands and their checks.
#include "mchan.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "checker.hpp"
#include "machine.hpp"

namespace sim {

Mchan::Mchan(Machine& machine, const Configuration& configuration) : machine_(machine), configuration_(configuration) {
    reset();
}

void Mchan::reset() {
    channels_.assign(configuration_.cluster_cores() + 1, Channel{});
    pending_.fill(0);
    free_counters_ = (1u << dma_counters) - 1;
    waiting_for_counter_.clear();
    reads_.clear();
    writes_.clear();
    to_local_.clear();
    from_local_ = nullptr;
    reading_ = writing_ = nullptr;
    queued_reads_ = queued_writes_ = next_channel_ = reads_in_flight_ = writes_in_flight_ = 0;
    port_free_.assign(2 * static_cast<size_t>(configuration_.dma_ports_per_direction), 0);
    queue_scheduled_ = read_scheduled_ = write_scheduled_ = local_scheduled_ = false;
    free_commands_.clear();
    free_bursts_.clear();
    command_store_.clear();
    burst_store_.clear();
}

bool Mchan::busy() const {
    return std::any_of(pending_.begin(), pending_.end(), [](uint32_t bytes) { return bytes != 0; });
}

Mchan::Command* Mchan::new_command() {
    if (free_commands_.empty()) {
        command_store_.emplace_back();
        return &command_store_.back();
    }
    Command* command = free_commands_.back();
    free_commands_.pop_back();
    *command = Command{};
    return command;
}

void Mchan::free_command(Command* command) { free_commands_.push_back(command); }

Mchan::Burst* Mchan::new_burst() {
    if (free_bursts_.empty()) {
        burst_store_.emplace_back();
        burst_store_.back().data.resize(configuration_.dma_burst_bytes);
        return &burst_store_.back();
    }
    Burst* burst = free_bursts_.back();
    free_bursts_.pop_back();
    return burst;
}

// ---- the cores' side ----

uint32_t Mchan::status() const {
    uint32_t value = 0;
    for (uint32_t i = 0; i < dma_counters; ++i) {
        value |= (pending_[i] != 0 ? 1u : 0u) << i;
    }
    return value | (~free_counters_ & 0xffff) << 16;
}

uint32_t Mchan::allocate(uint32_t channel) {
    const uint32_t counter = static_cast<uint32_t>(__builtin_ctz(free_counters_));
    free_counters_ &= ~(1u << counter);
    channels_[channel].counter = counter;
    return counter;
}

Access Mchan::read(Core& core, uint32_t channel, uint32_t offset, uint32_t& value) {
    if (offset == 4) {
        value = status();
        return Access::Done;
    }
    if (offset != 0) {
        return Access::Invalid;
    }
    if (free_counters_ == 0) {
        waiting_for_counter_.emplace_back(&core, channel);
        return Access::Waits;
    }
    value = allocate(channel);
    return Access::Done;
}

void Mchan::release(uint32_t mask) {
    free_counters_ |= mask & ((1u << dma_counters) - 1);
    if (!waiting_for_counter_.empty() && free_counters_ != 0) {
        const auto [core, channel] = waiting_for_counter_.front();
        waiting_for_counter_.pop_front();
        core->x[core->wait_register] = allocate(channel);
        machine_.wake(*core);
    }
}

Access Mchan::write(Core& core, uint32_t channel, uint32_t offset, uint32_t value) {
    if (offset == 4) {
        release(value);
        return Access::Done;
    }
    if (offset != 0) {
        return Access::Invalid;
    }
    Channel& port = channels_[channel];
    if (port.commands.size() >= configuration_.dma_core_queue_depth) {
        port.blocked = &core;
        port.blocked_value = value;
        return Access::Waits;
    }
    push_word(core, channel, value);
    return Access::Done;
}

void Mchan::push_word(Core& core, uint32_t channel, uint32_t value) {
    Channel& port = channels_[channel];
    port.words[port.step++] = value;
    const bool is_2d = (port.words[0] >> 19 & 1) != 0;
    if (port.step == (is_2d ? 5u : 3u)) {
        command_complete(core, channel);
    }
}

void Mchan::command_complete(Core& core, uint32_t channel) {
    Channel& port = channels_[channel];
    port.step = 0;
    Command* command = new_command();
    const uint32_t flags = port.words[0];
    command->size = command->left_to_read = command->left_to_write = flags & 0x1ffff;
    command->to_l1 = (flags >> 17 & 1) != 0;
    command->is_2d = (flags >> 19 & 1) != 0;
    command->event = (flags >> 20 & 1) != 0;
    command->interrupt = (flags >> 21 & 1) != 0;
    command->broadcast = (flags >> 22 & 1) != 0;
    command->local = command->first_local = port.words[1] & 0xfffff;
    command->external = command->line_start = port.words[2];
    if (command->is_2d) {
        command->length = command->left_in_line = port.words[3];
        command->stride = port.words[4];
    }
    command->counter = port.counter;
    command->channel = channel;
    command->issuer = core.index;
    command->issue_address = core.pc();
    command->issue_cycle = machine_.now();
    command->serial = ++serial_;
    check_bounds(core, *command);
    if (machine_.checker) {
        machine_.checker->dma_started(core, *command);
    }
    pending_[port.counter] += command->size;
    if (!machine_.timing) {
        copy_now(*command);
        return;
    }
    port.commands.push_back(command);
    ++(command->to_l1 ? queued_reads_ : queued_writes_);
    schedule();
}

void Mchan::check_bounds(Core& core, const Command& command) const {
    char text[160];
    if (command.size == 0) {
        machine_.fail(FaultKind::BadAccess, core, "DMA transfer of 0 bytes");
    }
    if (command.local + static_cast<uint64_t>(command.size) > configuration_.l1_bytes) {
        std::snprintf(text, sizeof text, "DMA transfer of %u bytes leaves L1: local address 0x%08x", command.size,
                      configuration_.l1_base + command.local);
        machine_.fail(FaultKind::BadAccess, core, text);
    }
    if (command.is_2d && command.length == 0) {
        machine_.fail(FaultKind::BadAccess, core, "2D DMA transfer with lines of 0 bytes");
    }
    uint32_t left = command.size, address = command.external;
    while (left != 0) {
        const uint32_t line = command.is_2d ? std::min(left, command.length) : left;
        if (machine_.memory.find_on_chip(address, line) == nullptr) {
            std::snprintf(text, sizeof text, "DMA transfer of %u bytes outside %s: external address 0x%08x, %u bytes",
                          command.size, machine_.memory.l3.contains(address, 1) ? "the chip" : "memory", address, line);
            machine_.fail(FaultKind::BadAccess, core, text);
        }
        left -= line;
        address += command.stride;
    }
}

// Without timing a transfer is done as soon as its command is complete.
void Mchan::copy_now(Command& command) {
    uint32_t left = command.size, external = command.external;
    uint8_t* local = machine_.memory.l1.bytes.data() + command.local;
    while (left != 0) {
        const uint32_t line = command.is_2d ? std::min(left, command.length) : left;
        uint8_t* outside = machine_.memory.find(external, line);
        std::memmove(command.to_l1 ? local : outside, command.to_l1 ? outside : local, line);
        local += line;
        left -= line;
        external += command.stride;
    }
    account(command, command.size);
    free_command(&command);
}

}  // namespace sim
