// The cluster's event unit: event masks, barriers, mutexes, the dispatch fifo and software events.
// A core that waits sleeps; the event that ends the wait wakes it after a fixed latency.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "configuration.hpp"

namespace sim {

class Machine;
struct Core;

enum class Access { Done, Waits, Invalid };

constexpr uint32_t barrier_count = 9;
constexpr uint32_t event_dma = 8, event_dma_interrupt = 9, event_barrier = 16, event_mutex = 17,
                   event_dispatch = 18, event_soc_fifo = 27;

class EventUnit {
public:
    EventUnit(Machine& machine, const Configuration& configuration);
    void reset();

    // Through a core's own port (0x10204000).
    Access demux_read(Core& core, uint32_t offset, uint32_t& value);
    Access demux_write(Core& core, uint32_t offset, uint32_t value);
    // Through the cluster's peripheral bus (0x10200800), from any core.
    Access bus_read(uint32_t offset, uint32_t& value);
    Access bus_write(uint32_t offset, uint32_t value);

    void raise(uint32_t core, uint32_t event);
    void wakeup(uint32_t core);     // the wake-up latency of a core has passed
    bool has_waiter() const;

    uint32_t barrier_status(uint32_t barrier) const { return barriers_[barrier].status; }

private:
    enum class State { None, WaitingEvent, WaitingBarrier };
    struct PerCore {
        uint32_t status = 0, event_mask = 0, interrupt_mask = 0, clear_mask = 0;
        bool active = true;
        bool wakeup_pending = false;
        State state = State::None;
        uint32_t dispatch_tail = 0;
    };
    struct Barrier { uint32_t trigger_mask = 0, status = 0, target_mask = 0; };
    struct Mutex { bool locked = false; uint32_t waiting = 0; };
    struct Dispatch { uint32_t value = 0, status = 0, team = 0, waiting = 0; };

    Access core_read(uint32_t index, Core* waiter, uint32_t offset, uint32_t& value);
    Access core_write(uint32_t index, uint32_t offset, uint32_t value);
    Access barrier_read(Core& core, uint32_t offset, uint32_t& value);
    Access barrier_write(uint32_t index, uint32_t offset, uint32_t value);
    Access mutex_read(Core& core, uint32_t id);
    Access mutex_write(uint32_t id, uint32_t value);
    Access dispatch_read(Core& core, uint32_t& value);
    Access dispatch_push(uint32_t value);
    Access software_event(uint32_t offset, uint32_t value);
    Access wait(Core& core, State state);
    void put_to_sleep(uint32_t index, State state);
    void trigger(uint32_t event_mask, uint32_t core_mask);
    void check_core(uint32_t index);
    void check_barrier(Barrier& barrier);
    void clear_after_wait(PerCore& core);
    void schedule_wakeup(uint32_t index);

    Machine& machine_;
    const Configuration& configuration_;
    std::vector<PerCore> cores_;
    std::array<Barrier, barrier_count> barriers_;
    std::array<Mutex, 8> mutexes_;
    std::array<Dispatch, 8> dispatches_;
    uint32_t dispatch_head_ = 0, dispatch_team_ = 0;
};

}  // namespace sim
