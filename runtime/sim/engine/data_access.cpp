// Loads and stores that are not a core's plain access to its L1: the path to an address, L2, test and
// set, bank conflicts, and the load that waits for an event.
#include <cstdio>
#include <cstring>

#include "address_map.hpp"
#include "checker.hpp"
#include "machine.hpp"

namespace sim {

std::string describe_access(const char* verb, uint32_t address, uint32_t size) {
    char text[96];
    std::snprintf(text, sizeof text, "%s of %u byte%s at 0x%08x", verb, size, size == 1 ? "" : "s", address);
    return text;
}

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
    return configuration.cluster_interconnect_latency + configuration.axi_latency + apb;
}

// Why an address outside memory cannot be accessed.
std::string Machine::explain_unmapped(const Core& core, uint32_t address) const {
    if (core.current != nullptr && core.current->rs1 == stack_pointer) {
        return " (relative to the stack pointer: a stack overflow)";
    }
    return memory.l3.contains(address, 1) ? " (L3, which only pi_ram transfers reach)" : " (nothing is mapped there)";
}

inline void Machine::check_alignment(const Core& core, const char* verb, uint32_t address, uint32_t size) const {
    if (SIM_UNLIKELY(configuration.misaligned_traps && (address & (size - 1)) != 0)) {
        fail(FaultKind::BadAccess, core, std::string("misaligned ") + verb + " of " + std::to_string(size) + " bytes at " +
                                             where(address) + ", which traps on this chip");
    }
}

uint32_t Machine::load(Core& core, uint32_t address, uint32_t size) {
    check_alignment(core, "load", address, size);
    const uint8_t* source = memory.find_on_chip(address, size);
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
    check_alignment(core, "store", address, size);
    uint8_t* target = memory.find_on_chip(address, size);
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
        core.stall += 1;        // the core waits for the first half only: the second is on its way alone
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
    core.answer_stall = 0;
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

}  // namespace sim
