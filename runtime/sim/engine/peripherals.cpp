// The registers that cores read and write: event unit, DMA, cluster control, instruction cache control,
// interrupt controller, output and exit.
#include "address_map.hpp"
#include "checker.hpp"
#include "machine.hpp"

namespace sim {

uint32_t Machine::peripheral_read(Core& core, uint32_t address, uint32_t size) {
    uint32_t value = 0;
    Access result = Access::Invalid;
    core.wait_register = core.current != nullptr ? core.current->rd : discarded_register;
    core.answer_stall = 0;
    if (checker) {
        checker->set_actor(core.index);
    }
    const bool own_port = !core.is_fabric_controller;
    if (address - event_unit_demux < 0x400 && own_port && size == 4) {
        result = event_unit.demux_read(core, address - event_unit_demux, value);
        if (result == Access::Waits) {
            // A plain load also pays the event unit's request latency after it is woken.
            core.answer_stall = static_cast<int32_t>(configuration.event_request_latency);
            core.stall += core.answer_stall;
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
    } else if (address - external_memory_engine < 0x1c && size == 4) {
        result = external_memory.read(core, address - external_memory_engine, value);
    } else if (address - icache_control < 0x400 || address - soc_control < 0x1000 ||
               address - controller_icache_control < 0x800 || address - standard_output < 0x1000) {
        result = Access::Done;
    }
    if (result == Access::Invalid) {
        fail(FaultKind::BadAccess, core, describe_access("load", address, size) + explain_unmapped(core, address));
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
    core.answer_stall = 0;
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
    } else if (address - external_memory_engine < 0x1c && size == 4) {
        result = external_memory.write(core, address - external_memory_engine, value);
    } else if (address - soc_control < 0x1000) {
        result = Access::Done;
    }
    if (result == Access::Invalid) {
        fail(FaultKind::BadAccess, core, describe_access("store", address, size) + explain_unmapped(core, address));
    }
    if (result == Access::Waits) {
        sleep(core);
    }
}

}  // namespace sim
