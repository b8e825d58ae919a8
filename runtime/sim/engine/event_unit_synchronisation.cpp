// Barriers, mutexes and the dispatch fifo of the event unit.
#include "checker.hpp"
#include "event_unit.hpp"
#include "machine.hpp"
#include "tracer.hpp"

namespace sim {

// ---- barriers ----

void EventUnit::check_barrier(Barrier& barrier) {
    if (machine_.tracer && barrier.status != 0) {
        machine_.tracer->arrived(static_cast<uint32_t>(&barrier - barriers_.data()), barrier.status == barrier.trigger_mask,
                                 machine_.now());
    }
    if (barrier.status == barrier.trigger_mask) {
        barrier.status = 0;
        if (machine_.checker) {
            machine_.checker->barrier_complete(static_cast<uint32_t>(&barrier - barriers_.data()), barrier.target_mask);
        }
        trigger(1u << event_barrier, barrier.target_mask);
    }
}

Access EventUnit::barrier_read(Core& core, uint32_t offset, uint32_t& value) {
    const uint32_t id = offset >> 5;
    if (id >= barriers_.size()) {
        return Access::Invalid;
    }
    Barrier& barrier = barriers_[id];
    PerCore& unit = cores_[core.index];
    if (machine_.checker && (offset & 31) >= 0x10) {
        machine_.checker->barrier_arrive(id);
    }
    switch (offset & 31) {
        case 0x00: value = barrier.trigger_mask; return Access::Done;
        case 0x04: value = barrier.status; return Access::Done;
        case 0x0c: value = barrier.target_mask; return Access::Done;
        case 0x08:
            value = 0;
            for (size_t i = 1; i < barriers_.size(); ++i) {
                value |= barriers_[i].status;
            }
            return Access::Done;
        case 0x14:
            barrier.status |= 1u << core.index;
            check_barrier(barrier);
            return Access::Done;
        case 0x18:
        case 0x1c:
            if (unit.state != State::WaitingBarrier) {
                barrier.status |= 1u << core.index;
            }
            if ((offset & 31) == 0x1c) {
                unit.clear_mask = unit.event_mask;
            }
            core.sleep_cause = CauseBarrier;
            check_barrier(barrier);
            return wait(core, State::WaitingBarrier);
        default: return Access::Invalid;
    }
}

Access EventUnit::barrier_write(uint32_t index, uint32_t offset, uint32_t value) {
    const uint32_t id = offset >> 5;
    if (id >= barriers_.size()) {
        return Access::Invalid;
    }
    Barrier& barrier = barriers_[id];
    if (machine_.checker && (offset & 31) >= 0x10) {
        machine_.checker->barrier_arrive(id);
    }
    switch (offset & 31) {
        case 0x00: barrier.trigger_mask = value; break;
        case 0x04: barrier.status = value; break;
        case 0x0c: barrier.target_mask = value; break;
        case 0x10: barrier.status |= value; break;
        case 0x14: barrier.status |= 1u << index; break;
        default: return Access::Invalid;
    }
    check_barrier(barrier);
    return Access::Done;
}

// ---- mutexes: the lowest waiting core is served first ----

Access EventUnit::mutex_read(Core& core, uint32_t id) {
    if (id >= mutexes_.size()) {
        return Access::Invalid;
    }
    Mutex& mutex = mutexes_[id];
    if (!mutex.locked) {
        mutex.locked = true;
        if (machine_.checker) {
            machine_.checker->mutex_locked(id);
        }
        return Access::Done;
    }
    mutex.waiting |= 1u << core.index;
    core.sleep_cause = CauseMutex;
    cores_[core.index].clear_mask = 1u << event_mutex;
    return wait(core, State::WaitingEvent);
}

Access EventUnit::mutex_write(uint32_t id, uint32_t value) {
    if (id >= mutexes_.size()) {
        return Access::Invalid;
    }
    Mutex& mutex = mutexes_[id];
    if (machine_.checker) {
        machine_.checker->mutex_unlocked(id);
    }
    if (mutex.waiting == 0) {
        mutex.locked = false;
        return Access::Done;
    }
    const uint32_t next = static_cast<uint32_t>(__builtin_ctz(mutex.waiting));
    mutex.waiting &= ~(1u << next);
    Core& waiter = machine_.cores[next];
    waiter.x[waiter.wait_register] = value;
    trigger(1u << event_mutex, 1u << next);
    return Access::Done;
}

// ---- dispatch: a value pushed by one core is popped once by each core of the team ----

Access EventUnit::dispatch_push(uint32_t value) {
    Dispatch& entry = dispatches_[dispatch_head_];
    dispatch_head_ = (dispatch_head_ + 1) % static_cast<uint32_t>(dispatches_.size());
    entry.team = dispatch_team_;
    if (machine_.checker) {
        machine_.checker->dispatch_pushed(static_cast<uint32_t>(&entry - dispatches_.data()));
    }
    entry.value = value;
    entry.status = ~0u;
    const uint32_t waiting = entry.waiting;
    for (uint32_t i = 0; i < cores_.size(); ++i) {
        if ((waiting >> i & 1) == 0) {
            continue;
        }
        entry.status &= ~(1u << i);
        entry.waiting &= ~(1u << i);
        cores_[i].dispatch_tail = (cores_[i].dispatch_tail + 1) % static_cast<uint32_t>(dispatches_.size());
        if ((entry.team >> i & 1) != 0) {
            Core& waiter = machine_.cores[i];
            waiter.x[waiter.wait_register] = value;
            trigger(1u << event_dispatch, 1u << i);
        } else {
            // Not of the team: it keeps sleeping, now for the next entry.
            dispatches_[cores_[i].dispatch_tail].waiting |= 1u << i;
            cores_[i].clear_mask = 1u << event_dispatch;
            put_to_sleep(i, State::WaitingEvent);
        }
    }
    return Access::Done;
}

Access EventUnit::dispatch_read(Core& core, uint32_t& value) {
    PerCore& unit = cores_[core.index];
    const uint32_t self = 1u << core.index;
    Dispatch* entry = &dispatches_[unit.dispatch_tail];
    while ((entry->status & self) != 0 && (entry->team & self) == 0) {
        entry->status &= ~self;
        unit.dispatch_tail = (unit.dispatch_tail + 1) % static_cast<uint32_t>(dispatches_.size());
        entry = &dispatches_[unit.dispatch_tail];
    }
    if ((entry->status & self) != 0) {
        value = entry->value;
        if (machine_.checker) {
            machine_.checker->dispatch_popped(unit.dispatch_tail);
        }
        entry->status &= ~self;
        unit.dispatch_tail = (unit.dispatch_tail + 1) % static_cast<uint32_t>(dispatches_.size());
        return Access::Done;
    }
    entry->waiting |= self;
    core.sleep_cause = CauseDispatch;
    unit.clear_mask = 1u << event_dispatch;
    return wait(core, State::WaitingEvent);
}

}  // namespace sim
