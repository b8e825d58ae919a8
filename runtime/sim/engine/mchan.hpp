// The cluster DMA (mchan): commands of the cores are queued, read in bursts from outside and written
// to L1 through narrow ports, or the other way, one command after the other in each direction.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "configuration.hpp"
#include "event_unit.hpp"

namespace sim {

constexpr uint32_t dma_counters = 16;

class Mchan {
public:
    Mchan(Machine& machine, const Configuration& configuration);
    void reset();

    // Accesses of a core's port (or of the peripheral bus: the last channel).
    Access read(Core& core, uint32_t channel, uint32_t offset, uint32_t& value);
    Access write(Core& core, uint32_t channel, uint32_t offset, uint32_t value);

    // Scheduled steps.
    void move_commands();
    void read_outside();
    void write_outside();
    void transfer_local();

    bool busy() const;

    struct Command {
        bool to_l1 = false, is_2d = false, event = false, interrupt = false, broadcast = false;
        uint32_t first_local = 0;
        uint32_t local = 0, external = 0, size = 0, length = 0, stride = 0;
        uint32_t left_to_read = 0, left_to_write = 0, left_in_line = 0, line_start = 0;
        uint32_t counter = 0, channel = 0, issuer = 0;
        uint32_t issue_address = 0;     // instruction that completed the command
        int64_t issue_cycle = 0;
        uint64_t serial = 0;
        uint32_t thread = 0;            // of the race check
    };

private:
    struct Burst {
        Command* command = nullptr;
        uint32_t external = 0, local = 0, size = 0, done = 0;
        std::vector<uint8_t> data;
    };
    struct Channel {
        std::array<uint32_t, 5> words{};
        uint32_t step = 0;
        uint32_t counter = 0;
        std::deque<Command*> commands;
        Core* blocked = nullptr;        // its write waits for room in the queue
        uint32_t blocked_value = 0;
    };

    void push_word(Core& core, uint32_t channel, uint32_t value);
    void command_complete(Core& core, uint32_t channel);
    void check_bounds(Core& core, const Command& command) const;
    uint32_t allocate(uint32_t channel);
    uint32_t status() const;
    void release(uint32_t mask);
    void schedule();
    void move_from(bool to_l1);
    void account(Command& command, uint32_t bytes);
    void signal(const Command& command, uint32_t channel);
    uint32_t next_burst(Command& command, uint32_t& external, uint32_t& local);
    void copy_now(Command& command);
    Command* new_command();
    void free_command(Command* command);
    Burst* new_burst();

    Machine& machine_;
    const Configuration& configuration_;
    std::vector<Channel> channels_;
    std::array<uint32_t, dma_counters> pending_{};
    uint32_t free_counters_ = 0xffff;
    std::deque<std::pair<Core*, uint32_t>> waiting_for_counter_;

    std::deque<Command*> reads_, writes_;
    uint32_t queued_reads_ = 0, queued_writes_ = 0;     // still in the cores' queues
    uint32_t next_channel_ = 0;
    Command* reading_ = nullptr;
    Command* writing_ = nullptr;
    std::deque<Burst*> to_local_;
    Burst* from_local_ = nullptr;
    uint32_t reads_in_flight_ = 0, writes_in_flight_ = 0;
    std::vector<int64_t> port_free_;

    bool queue_scheduled_ = false, read_scheduled_ = false, write_scheduled_ = false, local_scheduled_ = false;
    std::vector<Command*> free_commands_;
    std::vector<Burst*> free_bursts_;
    std::deque<Command> command_store_;
    std::deque<Burst> burst_store_;
    uint64_t serial_ = 0;
};

}  // namespace sim
