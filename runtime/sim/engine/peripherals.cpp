// What lies behind addresses other than a core's own L1: L2 and its path, test-and-set, event unit,
// DMA, cluster control, instruction cache control, interrupt controller, output and exit.
#include <cstdio>
#include <cstring>

#include "checker.hpp"
#include "machine.hpp"

namespace sim {

namespace {
constexpr uint32_t test_and_set_offset = 0x100000;
constexpr uint32_t cluster_peripherals = 0x10200000, cluster_peripherals_end = 0x10400000;
constexpr uint32_t cluster_control = 0x10200000;
constexpr uint32_t event_unit_bus = 0x10200800, icache_control = 0x10201400, dma_bus = 0x10201800;
constexpr uint32_t event_unit_demux = 0x10204000, dma_demux = 0x10204400;
constexpr uint32_t apb_base = 0x1a100000, apb_end = 0x1a200000;
constexpr uint32_t soc_control = 0x1a104000, exit_register = 0x1a1040a0;
constexpr uint32_t controller_icache_control = 0x1a108800;
constexpr uint32_t interrupt_controller = 0x1a109800;
constexpr uint32_t standard_output = 0x1a10f000;
constexpr uint32_t interrupt_dma = 8;
constexpr uint32_t mstatus_interrupts = 8, mstatus_previous = 0x80;

std::string describe_access(const char* verb, uint32_t address, uint32_t size) {
    char text[96];
    std::snprintf(text, sizeof text, "%s of %u byte%s at 0x%08x", verb, size, size == 1 ? "" : "s", address);
    return text;
}
}  // namespace

// Cycles on the way to an address, beyond the one that every access takes.
uint32_t Machine::path_latency(const Core& core, uint32_t address) const {
    const bool in_l1 = address - configuration.l1_base < 2 * test_and_set_offset;
    const bool in_cluster = address >= configuration.l1_base && address < cluster_peripherals_end;
    const bool on_apb = address >= apb_base && address < apb_end;
    const uint32_t apb = on_apb ? configuration.apb_latency : 0;
    if (core.is_fabric_controller) {
        return in_cluster ? configuration.axi_latency + configuration.cluster_interconnect_latency : apb;
    }
    if (in_l1 || (address >= event_unit_demux && address < dma_demux + 0x400)) {
        return 0;
    }
    if (in_cluster) {
        return configuration.cluster_interconnect_latency;
    }
    const bool in_l3 = address - configuration.l3_base < configuration.l3_bytes;
    return configuration.cluster_interconnect_latency + configuration.axi_latency + apb +
           (in_l3 ? configuration.l3_latency : 0);
}

uint32_t Machine::load(Core& core, uint32_t address, uint32_t size) {
    const uint8_t* source = memory.find(address, size);
    const int32_t latency = static_cast<int32_t>(path_latency(core, address));
    core.path_stall = latency;
    core.conflict_stall = 0;
    if (source == nullptr) {
        const uint32_t offset = address - configuration.l1_base - test_and_set_offset;
        if (offset < configuration.l1_bytes && offset + size <= configuration.l1_bytes) {
            // Test and set: the old value is returned, all ones are left behind.
            uint8_t* word = memory.l1.bytes.data() + offset;
            uint32_t value = 0;
            std::memcpy(&value, word, size);
            std::memset(word, 0xff, size);
            core.stall += latency;
            if (checker) {
                checker->synchronising_access(core, configuration.l1_base + offset, size);
            }
            return value;
        }
        core.stall += latency;
        return peripheral_read(core, address, size);
    }
    const bool crosses = (address & 3) + size > 4;
    if (address - configuration.l1_base < configuration.l1_bytes) {
        if (configuration.l1_bank_conflicts && timing && !core.is_fabric_controller) {
            int64_t& free = l1_bank_free_[(address >> 2) % configuration.l1_banks];
            if (core.cycle < free) {
                const int32_t wait = static_cast<int32_t>(free - core.cycle);
                core.stall += wait;
                core.conflict_stall = wait;
                core.pccr[CounterL1Contention] += core.counting ? static_cast<uint32_t>(wait) : 0;
                ++free;
            } else {
                free = core.cycle + 1;
            }
        }
    }
    core.stall += latency;
    if (crosses) {
        core.path_stall += latency;
        core.stall += 1 + latency;      // the second half follows as an access of its own
        core.pccr[CounterLoad] += core.counting ? 1 : 0;
    }
    if (checker) {
        checker->load(core, address, size);
    }
    uint32_t value = 0;
    std::memcpy(&value, source, size);
    return value;
}

void Machine::store(Core& core, uint32_t address, uint32_t size, uint32_t value) {
    uint8_t* target = memory.find(address, size);
    const int32_t latency = static_cast<int32_t>(path_latency(core, address));
    core.stall += latency;
    core.path_stall = latency;
    core.conflict_stall = 0;
    if (target == nullptr) {
        const uint32_t offset = address - configuration.l1_base - test_and_set_offset;
        if (offset < configuration.l1_bytes && offset + size <= configuration.l1_bytes) {
            std::memcpy(memory.l1.bytes.data() + offset, &value, size);
            if (checker) {
                checker->synchronising_access(core, configuration.l1_base + offset, size);
            }
            return;
        }
        peripheral_write(core, address, size, value);
        return;
    }
    if ((address & 3) + size > 4) {
        core.path_stall += latency;
        core.stall += 1 + latency;
        core.pccr[CounterLoad] += core.counting ? 1 : 0;    // the chip counts the second half as a load
    }
    if (address - configuration.l1_base < configuration.l1_bytes) {
        if (configuration.l1_bank_conflicts && timing && !core.is_fabric_controller) {
            int64_t& free = l1_bank_free_[(address >> 2) % configuration.l1_banks];
            if (core.cycle < free) {
                core.conflict_stall = static_cast<int32_t>(free - core.cycle);
                core.stall += core.conflict_stall;
                ++free;
            } else {
                free = core.cycle + 1;
            }
        }
    }
    if (checker) {
        checker->store(core, address, size);
    }
    std::memcpy(target, &value, size);
    after_store(address, size);
}

// p.elw: a load that may put the core to sleep until the event unit answers.
void Machine::event_load(Core& core, uint32_t address, uint8_t rd) {
    core.stall += static_cast<int32_t>(configuration.event_load_stall);
    core.wait_register = rd;
    core.wait_is_plain_access = false;
    core.x[rd] = 0;
    core.sleep_cause = CauseEvent;
    const uint32_t offset = address - event_unit_demux;
    if (offset >= 0x400 || core.is_fabric_controller) {
        core.x[rd] = load(core, address, 4);
        return;
    }
    if (checker) {
        checker->set_actor(core.index);
    }
    uint32_t value = 0;
    const Access result = event_unit.demux_read(core, offset, value);
    if (result == Access::Invalid) {
        fail(FaultKind::BadAccess, core, describe_access("event load", address, 4));
    }
    core.x[rd] = value;
    if (result == Access::Waits) {
        sleep(core);
    }
}

uint32_t Machine::peripheral_read(Core& core, uint32_t address, uint32_t size) {
    uint32_t value = 0;
    Access result = Access::Invalid;
    core.wait_register = core.current != nullptr ? core.current->rd : discarded_register;
    if (checker) {
        checker->set_actor(core.index);
    }
    const bool own_port = !core.is_fabric_controller;
    if (address - event_unit_demux < 0x400 && own_port && size == 4) {
        result = event_unit.demux_read(core, address - event_unit_demux, value);
        if (result == Access::Waits) {
            // A plain load also pays the event unit's request latency after it is woken.
            core.stall += static_cast<int32_t>(configuration.event_request_latency);
        }
    } else if (address - dma_demux < 0x400 && own_port && size == 4) {
        result = dma.read(core, core.index, address - dma_demux, value);
        core.sleep_cause = CauseDma;
        if (checker && result == Access::Done && address == dma_demux + 4) {
            checker->dma_status_read(core, value);
        }
    } else if (address - dma_bus < 0x400 && size == 4) {
        result = dma.read(core, configuration.cluster_cores(), address - dma_bus, value);
        if (checker && result == Access::Done && address == dma_bus + 4) {
            checker->dma_status_read(core, value);
        }
    } else if (address - event_unit_bus < 0x800 && size == 4) {
        result = event_unit.bus_read(address - event_unit_bus, value);
    } else if (address - cluster_control < 0x400) {
        result = Access::Done;
        const uint32_t offset = address - cluster_control;
        if (offset == 0) {
            value = end_of_computation_;
        } else if (offset == 8) {
            value = fetch_enable_;
        } else if (offset >= 0x40 && offset < 0x40 + 4 * configuration.cluster_cores()) {
            value = cores[(offset - 0x40) / 4].boot_address;
        }
    } else if (address - interrupt_controller < 0x800 && size == 4) {
        result = Access::Done;
        switch (address - interrupt_controller) {
            case 0x00: value = interrupt_mask_; break;
            case 0x0c: value = interrupt_status_; break;
            default: break;
        }
        if (checker) {
            checker->controller_synchronises(core);
        }
    } else if (address - icache_control < 0x400 || address - soc_control < 0x1000 ||
               address - controller_icache_control < 0x800 || address - standard_output < 0x1000) {
        result = Access::Done;
    }
    if (result == Access::Invalid) {
        fail(FaultKind::BadAccess, core, describe_access("load", address, size) + " (nothing is mapped there)");
    }
    if (result == Access::Waits) {
        sleep(core);
    }
    return value;
}

void Machine::print(uint32_t stream, char character) {
    std::string& line = lines_[stream];
    line.push_back(character);
    if (character == '\n') {
        output += line;
        if (on_output) {
            on_output(line);
        }
        line.clear();
    }
}

void Machine::peripheral_write(Core& core, uint32_t address, uint32_t size, uint32_t value) {
    Access result = Access::Invalid;
    core.wait_register = discarded_register;
    if (checker) {
        checker->set_actor(core.index);
    }
    const bool own_port = !core.is_fabric_controller;
    if (address - standard_output < 0x1000) {
        print((address - standard_output) >> 3, static_cast<char>(value));
        result = Access::Done;
    } else if (address - event_unit_demux < 0x400 && own_port && size == 4) {
        result = event_unit.demux_write(core, address - event_unit_demux, value);
    } else if (address - dma_demux < 0x400 && own_port && size == 4) {
        result = dma.write(core, core.index, address - dma_demux, value);
        core.sleep_cause = CauseDma;
    } else if (address - dma_bus < 0x400 && size == 4) {
        result = dma.write(core, configuration.cluster_cores(), address - dma_bus, value);
    } else if (address - event_unit_bus < 0x800 && size == 4) {
        result = event_unit.bus_write(address - event_unit_bus, value);
    } else if (address == exit_register) {
        result = Access::Done;
        if ((value >> 31) != 0) {
            exited = true;
            exit_code = static_cast<int32_t>(value << 1) >> 1;
            core.asleep = true;     // leaves the loop of a run without timing
        }
    } else if (address - cluster_control < 0x400) {
        result = Access::Done;
        const uint32_t offset = address - cluster_control;
        if (offset == 0) {
            end_of_computation_ = value;
        } else if (offset == 8) {
            const uint32_t before = fetch_enable_;
            fetch_enable_ = value;
            if (checker) {
                checker->cores_started(core, value & ~before);
            }
            for (uint32_t i = 0; i < configuration.cluster_cores(); ++i) {
                if ((value & ~before) >> i & 1) {
                    start_core(cores[i]);
                } else if ((before & ~value) >> i & 1) {
                    cores[i].asleep = true;
                    for (Slot& slot : slots_) {
                        if (slot.core == &cores[i]) {
                            slot.ready = never;
                        }
                    }
                }
            }
        } else if (offset >= 0x40 && offset < 0x40 + 4 * configuration.cluster_cores()) {
            cores[(offset - 0x40) / 4].boot_address = value;
        }
    } else if (address - icache_control < 0x400) {
        result = Access::Done;
        if (address == icache_control) {
            icache.enable(true, (value & 0xff) != 0);
        } else if (address == icache_control + 4) {
            icache.flush();
            flush_decoded();
            for (Core& other : cores) {
                other.line_base = 1;
            }
        }
    } else if (address - controller_icache_control < 0x800) {
        result = Access::Done;
        if (address == controller_icache_control) {
            icache.enable(false, (value & 0xff) != 0);
        }
    } else if (address - interrupt_controller < 0x800 && size == 4) {
        result = Access::Done;
        if (checker) {
            checker->controller_synchronises(core);
        }
        switch (address - interrupt_controller) {
            case 0x00: interrupt_mask_ = value; break;
            case 0x04: interrupt_mask_ |= value; break;
            case 0x08: interrupt_mask_ &= ~value; break;
            case 0x0c: interrupt_status_ = value; break;
            case 0x10: interrupt_status_ |= value; break;
            case 0x14: interrupt_status_ &= ~value; break;
            default: break;
        }
        interrupt_controller_changed();
    } else if (address - soc_control < 0x1000) {
        result = Access::Done;
    }
    if (result == Access::Invalid) {
        fail(FaultKind::BadAccess, core, describe_access("store", address, size) + " (nothing is mapped there)");
    }
    if (result == Access::Waits) {
        sleep(core);
    }
}

// ---- interrupts of the fabric controller ----

void Machine::dma_interrupt() {
    interrupt_status_ |= 1u << interrupt_dma;
    interrupt_controller_changed();
}

void Machine::interrupt_controller_changed() {
    Core& controller = fabric_controller();
    if (controller.wfi && (interrupt_status_ & interrupt_mask_) != 0) {
        controller.wfi = false;
        controller.stall = 0;
        if ((controller.mstatus & mstatus_interrupts) != 0) {
            const uint32_t line = 31 - static_cast<uint32_t>(__builtin_clz(interrupt_status_ & interrupt_mask_));
            interrupt_status_ &= ~(1u << line);
            controller.mepc = controller.next->address;
            controller.mcause = 0x80000000u | line;
            controller.mstatus = (controller.mstatus & ~mstatus_interrupts) | mstatus_previous;
            controller.next = lookup(controller, (controller.mtvec & ~0xffu) + 4 * line);
        }
        wake(controller);
    }
}

void Machine::wait_for_interrupt(Core& core) {
    if (!core.is_fabric_controller) {
        return;     // cluster cores wait with p.elw; their wfi is a no-operation
    }
    if ((interrupt_status_ & interrupt_mask_) != 0) {
        return;
    }
    core.wfi = true;
    core.sleep_cause = CauseSleep;
    sleep(core);
}

void Machine::return_from_interrupt(Core& core) {
    if ((core.mstatus & mstatus_previous) != 0) {
        core.mstatus |= mstatus_interrupts;
    }
    core.next = lookup(core, core.mepc);
}

}  // namespace sim
