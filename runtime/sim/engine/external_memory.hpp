// The engine between L3 (HyperRAM behind the I/O DMA of the chip) and the on-chip memories. Transfers
// are served one after the other: a latency each, then so many bytes per cycle.
#pragma once

#include <cstdint>
#include <deque>

#include "configuration.hpp"
#include "event_unit.hpp"

namespace sim {

class ExternalMemory {
public:
    ExternalMemory(Machine& machine, const Configuration& configuration);
    void reset();

    Access read(Core& core, uint32_t offset, uint32_t& value) const;
    Access write(Core& core, uint32_t offset, uint32_t value);

    // Scheduled: the oldest transfer is complete.
    void finish();

    struct Transfer {
        uint32_t external, internal, size;
        bool to_l3;
        uint32_t issuer;
        uint32_t issue_address;     // instruction that started it
        int64_t begin;              // cycle in which the engine takes it up
    };

private:

    void start(Core& core, uint32_t size, bool to_l3);

    Machine& machine_;
    const Configuration& configuration_;
    uint32_t external_ = 0, internal_ = 0;
    std::deque<Transfer> transfers_;
    uint32_t started_ = 0, finished_ = 0;  // transfers since the reset
    int64_t free_ = 0;      // cycle at which the last transfer asked for is complete
};

}  // namespace sim
