// The description of one chip. Every number of the timing model is a field here;
// the Python side fills it from a JSON file (see docs/simulator.md for each field).
#pragma once

#include <cstdint>
#include <string>

namespace sim {

struct CacheGeometry {
    uint32_t sets = 8;
    uint32_t ways = 4;
    uint32_t refill_latency = 2;
};

struct Configuration {
    // Cores
    uint32_t worker_cores = 8;
    bool has_cluster_controller = true;

    // Floating point
    uint32_t shared_fpus = 4;
    uint32_t fpu_latency = 1;
    uint32_t fpu_interval = 1;
    uint32_t shared_dividers = 1;
    uint32_t float_divide_latency = 14;
    uint32_t half_divide_latency = 10;
    bool bf16_dot_drops_accumulator = true;
    bool merged_registers = true;       // floating-point registers are the integer ones
    bool nan_boxed_halves = false;      // 16-bit results have ones above them

    // Memories
    uint32_t l1_base = 0x10000000;
    uint32_t l1_bytes = 64 * 1024;
    uint32_t l1_banks = 16;
    bool l1_bank_conflicts = false;
    bool l1_alias_at_zero = false;
    uint32_t l2_private_base = 0x1c000000;
    uint32_t l2_private_bytes = 64 * 1024;
    uint32_t l2_base = 0x1c010000;
    uint32_t l2_bytes = 0x180000;
    uint8_t unwritten_byte = 0x57;      // what memory holds before anyone writes it
    uint32_t l3_base = 0x80000000;
    uint32_t l3_bytes = 8 << 20;
    uint32_t l3_latency = 40;
    uint64_t l3_bytes_per_second = 50000000;
    bool misaligned_traps = false;

    // Interconnect (cycles added by each stage of a path)
    uint32_t cluster_interconnect_latency = 2;
    uint32_t axi_latency = 12;
    uint32_t apb_latency = 8;
    uint32_t controller_fetch_latency = 5;

    // Pipeline
    uint32_t branch_taken_stall = 2;
    uint32_t jump_stall = 1;
    uint32_t load_use_stall = 1;
    uint32_t multiply_cycles = 2;
    uint32_t multiply_high_cycles = 5;
    uint32_t divide_base_cycles = 3;
    uint32_t event_load_stall = 2;

    // Event unit
    uint32_t event_wakeup_latency = 2;
    uint32_t event_request_latency = 6;

    // Instruction cache
    CacheGeometry l0;
    CacheGeometry l0_controller{32, 4, 2};
    CacheGeometry l1_icache{32, 4, 2};
    uint32_t l1_icache_banks = 2;

    // mchan DMA
    uint32_t dma_core_queue_depth = 2;
    uint32_t dma_global_queue_depth = 8;
    uint32_t dma_outstanding_reads = 8;
    uint32_t dma_outstanding_writes = 8;
    uint32_t dma_burst_bytes = 256;
    uint32_t dma_ports_per_direction = 2;

    uint64_t frequency_hz = 50000000;

    uint32_t cluster_cores() const { return worker_cores + (has_cluster_controller ? 1 : 0); }
};

}  // namespace sim
