#include "mchan.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "checker.hpp"
#include "machine.hpp"
#include "tracer.hpp"

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
        if (machine_.memory.find(address, line) == nullptr) {
            std::snprintf(text, sizeof text, "DMA transfer of %u bytes outside memory: external address 0x%08x, %u bytes",
                          command.size, address, line);
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

// ---- the engine ----

// Asks for the steps that have something to do, each at most once per cycle.
void Mchan::schedule() {
    const int64_t now = machine_.now();
    const uint32_t depth = configuration_.dma_global_queue_depth;
    if (!queue_scheduled_ && ((queued_reads_ != 0 && reads_.size() < depth) || (queued_writes_ != 0 && writes_.size() < depth))) {
        queue_scheduled_ = true;
        machine_.enqueue(Action::DmaQueue, 0, now + 1);
    }
    if (!read_scheduled_ && ((!reads_.empty() && reading_ == nullptr) ||
                             (reading_ != nullptr && reads_in_flight_ < configuration_.dma_outstanding_reads))) {
        read_scheduled_ = true;
        machine_.enqueue(Action::DmaRead, 0, now + 1);
    }
    if (!write_scheduled_ && ((!writes_.empty() && writing_ == nullptr) ||
                              (writing_ != nullptr && writes_in_flight_ < configuration_.dma_outstanding_writes &&
                               from_local_ == nullptr))) {
        write_scheduled_ = true;
        machine_.enqueue(Action::DmaWrite, 0, now + 1);
    }
    if (!local_scheduled_ && (!to_local_.empty() || from_local_ != nullptr)) {
        local_scheduled_ = true;
        const int64_t first = *std::min_element(port_free_.begin(), port_free_.end());
        machine_.enqueue(Action::DmaLocal, 0, first <= now ? now + 1 : first);
    }
}

void Mchan::move_from(bool to_l1) {
    for (uint32_t i = 0; i < channels_.size(); ++i) {
        Channel& port = channels_[(next_channel_ + i) % channels_.size()];
        const auto found = std::find_if(port.commands.begin(), port.commands.end(),
                                        [to_l1](const Command* command) { return command->to_l1 == to_l1; });
        if (found == port.commands.end()) {
            continue;
        }
        (to_l1 ? reads_ : writes_).push_back(*found);
        port.commands.erase(found);
        --(to_l1 ? queued_reads_ : queued_writes_);
        if (port.blocked != nullptr) {
            Core* core = port.blocked;
            port.blocked = nullptr;
            push_word(*core, static_cast<uint32_t>(&port - channels_.data()), port.blocked_value);
            machine_.wake(*core);
        }
        next_channel_ = (next_channel_ + 1) % static_cast<uint32_t>(channels_.size());
        return;
    }
}

void Mchan::move_commands() {
    queue_scheduled_ = false;
    const uint32_t depth = configuration_.dma_global_queue_depth;
    if (queued_reads_ != 0 && reads_.size() < depth) {
        move_from(true);
    } else if (queued_writes_ != 0 && writes_.size() < depth) {
        move_from(false);
    }
    schedule();
}

// Cuts the next burst off a command: at most a line of a 2D transfer.
uint32_t Mchan::next_burst(Command& command, uint32_t& external, uint32_t& local) {
    const uint32_t size = std::min({command.is_2d ? command.left_in_line : command.left_to_read, command.left_to_read,
                                    configuration_.dma_burst_bytes});
    external = command.external;
    local = command.local;
    command.external += size;
    command.local += size;
    command.left_to_read -= size;
    if (command.is_2d) {
        command.left_in_line -= size;
        if (command.left_in_line == 0) {
            command.left_in_line = command.length;
            command.line_start += command.stride;
            command.external = command.line_start;
        }
    }
    return size;
}

void Mchan::read_outside() {
    read_scheduled_ = false;
    if (reading_ == nullptr && !reads_.empty()) {
        reading_ = reads_.front();
        reads_.pop_front();
    }
    if (reading_ != nullptr && reads_in_flight_ < configuration_.dma_outstanding_reads) {
        ++reads_in_flight_;
        Burst* burst = new_burst();
        burst->command = reading_;
        burst->size = next_burst(*reading_, burst->external, burst->local);
        burst->done = 0;
        std::memcpy(burst->data.data(), machine_.memory.find(burst->external, burst->size), burst->size);
        if (reading_->left_to_read == 0) {
            reading_ = nullptr;
        }
        to_local_.push_back(burst);
    }
    schedule();
}

void Mchan::write_outside() {
    write_scheduled_ = false;
    if (writing_ == nullptr && !writes_.empty()) {
        writing_ = writes_.front();
        writes_.pop_front();
    }
    if (writing_ != nullptr && writes_in_flight_ < configuration_.dma_outstanding_writes && from_local_ == nullptr) {
        ++writes_in_flight_;
        Burst* burst = new_burst();
        burst->command = writing_;
        burst->size = next_burst(*writing_, burst->external, burst->local);
        burst->done = 0;
        from_local_ = burst;
        if (writing_->left_to_read == 0) {
            writing_ = nullptr;
        }
    }
    schedule();
}

// Each port moves at most a word per cycle; the first half of the ports writes L1, the second reads.
void Mchan::transfer_local() {
    local_scheduled_ = false;
    const int64_t now = machine_.now();
    uint8_t* l1 = machine_.memory.l1.bytes.data();
    for (size_t port = 0; port < port_free_.size(); ++port) {
        if (port_free_[port] > now) {
            continue;
        }
        const bool into_l1 = port < port_free_.size() / 2;
        Burst* burst = into_l1 ? (to_local_.empty() ? nullptr : to_local_.front()) : from_local_;
        if (burst == nullptr) {
            continue;
        }
        const uint32_t address = burst->local + burst->done;
        const uint32_t size = std::min(4 - (address & 3), burst->size - burst->done);
        port_free_[port] = now + 1;
        uint8_t* buffer = burst->data.data() + burst->done;
        if (into_l1) {
            std::memcpy(l1 + address, buffer, size);
        } else {
            std::memcpy(buffer, l1 + address, size);
        }
        burst->done += size;
        const bool finished = burst->done == burst->size;
        Command& command = *burst->command;
        if (into_l1) {
            command.left_to_write -= size;
            if (finished) {
                to_local_.pop_front();
                free_bursts_.push_back(burst);
                --reads_in_flight_;
            }
            account(command, size);
        } else if (finished) {
            from_local_ = nullptr;
            std::memcpy(machine_.memory.find(burst->external, burst->size), burst->data.data(), burst->size);
            free_bursts_.push_back(burst);
            --writes_in_flight_;
            command.left_to_write -= burst->size;
            account(command, burst->size);
        }
        if (finished && command.left_to_write == 0) {
            if (machine_.tracer) {
                machine_.tracer->transferred(command, now);
            }
            free_command(&command);
        }
    }
    schedule();
}

void Mchan::account(Command& command, uint32_t bytes) {
    pending_[command.counter] -= bytes;
    if (machine_.checker && (command.left_to_write == 0 || !machine_.timing)) {
        machine_.checker->dma_finished(command);
    }
    if (pending_[command.counter] != 0) {
        return;
    }
    if (command.broadcast) {
        for (uint32_t channel = 0; channel < channels_.size(); ++channel) {
            signal(command, channel);
        }
    } else {
        signal(command, command.channel);
    }
}

void Mchan::signal(const Command& command, uint32_t channel) {
    if (channel + 1 == channels_.size()) {
        machine_.dma_interrupt();
        return;
    }
    if (command.interrupt) {
        machine_.event_unit.raise(channel, event_dma_interrupt);
    }
    if (command.event) {
        machine_.event_unit.raise(channel, event_dma);
    }
}

}  // namespace sim
