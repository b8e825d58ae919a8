// The moving parts of the DMA: queues, bursts on the outer bus, words on the ports to L1, completion.
#include <algorithm>
#include <cstring>

#include "checker.hpp"
#include "machine.hpp"
#include "mchan.hpp"
#include "tracer.hpp"

namespace sim {

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
        if (machine_.checker) {
            machine_.checker->interrupt_raised();
        }
        machine_.raise_interrupt(interrupt_dma);
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
