// The event unit's registers, events, and how a core waits for them.
#include "event_unit.hpp"

#include "checker.hpp"
#include "machine.hpp"

namespace sim {

EventUnit::EventUnit(Machine& machine, const Configuration& configuration)
    : machine_(machine), configuration_(configuration) {
    reset();
}

void EventUnit::reset() {
    cores_.assign(configuration_.cluster_cores(), PerCore{});
    barriers_.fill(Barrier{});
    mutexes_.fill(Mutex{});
    dispatches_.fill(Dispatch{});
    dispatch_head_ = dispatch_team_ = 0;
}

Access EventUnit::demux_read(Core& core, uint32_t offset, uint32_t& value) {
    if (offset < 0x40) {
        return core_read(core.index, &core, offset, value);
    }
    if (offset >= 0x80 && offset < 0xc0) {
        return offset == 0x80 ? dispatch_read(core, value) : offset == 0x84 ? (value = dispatch_team_, Access::Done)
                                                                            : Access::Invalid;
    }
    if (offset >= 0xc0 && offset < 0x100) {
        return mutex_read(core, (offset - 0xc0) >> 2);
    }
    if (offset >= 0x200 && offset < 0x400) {
        return barrier_read(core, offset - 0x200, value);
    }
    return Access::Invalid;
}

Access EventUnit::demux_write(Core& core, uint32_t offset, uint32_t value) {
    if (offset < 0x40) {
        return core_write(core.index, offset, value);
    }
    if (offset == 0x80) {
        return dispatch_push(value);
    }
    if (offset == 0x84) {
        dispatch_team_ = value;
        return Access::Done;
    }
    if (offset >= 0xc0 && offset < 0x100) {
        return mutex_write((offset - 0xc0) >> 2, value);
    }
    if (offset >= 0x100 && offset < 0x140) {
        return software_event(offset - 0x100, value);
    }
    if (offset >= 0x200 && offset < 0x400) {
        return barrier_write(core.index, offset - 0x200, value);
    }
    return Access::Invalid;
}

Access EventUnit::bus_read(uint32_t offset, uint32_t& value) {
    if (offset < 0x400 && offset / 0x40 < cores_.size()) {
        return core_read(offset / 0x40, nullptr, offset % 0x40, value);
    }
    return Access::Invalid;
}

Access EventUnit::bus_write(uint32_t offset, uint32_t value) {
    if (offset < 0x400 && offset / 0x40 < cores_.size()) {
        return core_write(offset / 0x40, offset % 0x40, value);
    }
    if (offset >= 0x600 && offset < 0x640) {
        return software_event(offset - 0x600, value);
    }
    return Access::Invalid;
}

Access EventUnit::core_read(uint32_t index, Core* waiter, uint32_t offset, uint32_t& value) {
    PerCore& unit = cores_[index];
    switch (offset) {
        case 0x00: value = unit.event_mask; return Access::Done;
        case 0x0c: value = unit.interrupt_mask; return Access::Done;
        case 0x18: value = unit.active ? 1 : 0; return Access::Done;
        case 0x1c: value = unit.status; return Access::Done;
        case 0x20: value = unit.status & unit.event_mask; return Access::Done;
        case 0x24: value = unit.status & unit.interrupt_mask; return Access::Done;
        case 0x38:
        case 0x3c: {
            if (waiter == nullptr) {
                return Access::Invalid;     // waiting is for the core's own port
            }
            if (offset == 0x3c) {
                unit.clear_mask = unit.event_mask;
            }
            waiter->sleep_cause = machine_.dma.busy() ? CauseDma : CauseEvent;
            const Access result = wait(*waiter, State::WaitingEvent);
            value = unit.event_mask & unit.status;
            return result;
        }
        default: return Access::Invalid;
    }
}

Access EventUnit::core_write(uint32_t index, uint32_t offset, uint32_t value) {
    PerCore& unit = cores_[index];
    switch (offset) {
        case 0x00: unit.event_mask = value; break;
        case 0x04: unit.event_mask &= ~value; break;
        case 0x08: unit.event_mask |= value; break;
        case 0x0c: unit.interrupt_mask = value; break;
        case 0x10: unit.interrupt_mask &= ~value; break;
        case 0x14: unit.interrupt_mask |= value; break;
        case 0x28: unit.status &= ~value; break;
        default: return Access::Invalid;
    }
    check_core(index);
    return Access::Done;
}

// ---- waiting and waking ----

Access EventUnit::wait(Core& core, State state) {
    PerCore& unit = cores_[core.index];
    if ((unit.event_mask & unit.status) != 0) {
        // The event is there already: the core still goes through a wake-up.
        clear_after_wait(unit);
        schedule_wakeup(core.index);
    } else {
        put_to_sleep(core.index, state);
    }
    return Access::Waits;
}

void EventUnit::put_to_sleep(uint32_t index, State state) {
    cores_[index].state = state;
    cores_[index].active = false;
}

void EventUnit::clear_after_wait(PerCore& unit) {
    unit.status &= ~unit.clear_mask;
    unit.clear_mask = 0;
}

void EventUnit::schedule_wakeup(uint32_t index) {
    if (!cores_[index].wakeup_pending) {
        cores_[index].wakeup_pending = true;
        machine_.enqueue(Action::CoreWakeup, index, machine_.now() + configuration_.event_wakeup_latency);
    }
}

void EventUnit::wakeup(uint32_t index) {
    cores_[index].wakeup_pending = false;
    cores_[index].active = true;
    if (machine_.checker) {
        machine_.checker->core_woken(index);
    }
    machine_.wake(machine_.cores[index]);
    check_core(index);
}

void EventUnit::check_core(uint32_t index) {
    PerCore& unit = cores_[index];
    if (!unit.active && (unit.status & unit.event_mask) != 0 && unit.state != State::None) {
        unit.state = State::None;
        clear_after_wait(unit);
        schedule_wakeup(index);
    }
}

void EventUnit::raise(uint32_t core, uint32_t event) {
    if (machine_.checker) {
        machine_.checker->event_raised(core);
    }
    cores_[core].status |= 1u << event;
    check_core(core);
}

void EventUnit::trigger(uint32_t event_mask, uint32_t core_mask) {
    for (uint32_t i = 0; i < cores_.size(); ++i) {
        if (core_mask == 0 || (core_mask >> i & 1) != 0) {
            if (machine_.checker) {
                machine_.checker->event_raised(i);
            }
            cores_[i].status |= event_mask;
            check_core(i);
        }
    }
}

Access EventUnit::software_event(uint32_t offset, uint32_t value) {
    trigger(1u << (offset >> 2), value);
    return Access::Done;
}

}  // namespace sim
