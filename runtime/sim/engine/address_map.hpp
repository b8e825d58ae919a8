// Where things are, apart from the memories, whose places the configuration gives.
#pragma once

#include <cstdint>
#include <string>

namespace sim {

constexpr uint32_t test_and_set_offset = 0x100000;      // above L1
constexpr uint32_t cluster_control = 0x10200000, cluster_peripherals_end = 0x10400000;
constexpr uint32_t event_unit_bus = 0x10200800, icache_control = 0x10201400, dma_bus = 0x10201800;
constexpr uint32_t event_unit_demux = 0x10204000, dma_demux = 0x10204400;    // each core's own port
constexpr uint32_t apb_base = 0x1a100000, apb_end = 0x1a200000;
constexpr uint32_t external_memory_engine = 0x1a102000;
constexpr uint32_t soc_control = 0x1a104000, exit_register = 0x1a1040a0;
constexpr uint32_t controller_icache_control = 0x1a108800;
constexpr uint32_t interrupt_controller = 0x1a109800;
constexpr uint32_t standard_output = 0x1a10f000;

// "load of 4 bytes at 0x1c000000"
std::string describe_access(const char* verb, uint32_t address, uint32_t size);

}  // namespace sim
