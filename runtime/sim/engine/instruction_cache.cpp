#include "instruction_cache.hpp"

#include <algorithm>

namespace sim {

namespace {
constexpr uint32_t no_line = ~0u;
}

InstructionCache::Cache::Cache(const CacheGeometry& geometry)
    : sets(geometry.sets), ways(geometry.ways), refill_latency(geometry.refill_latency),
      tags(static_cast<size_t>(sets) * ways, no_line), ready(static_cast<size_t>(sets) * ways, -1) {}

int InstructionCache::Cache::find(uint32_t line) const {
    const uint32_t first = (line & (sets - 1)) * ways;
    for (uint32_t way = 0; way < ways; ++way) {
        if (tags[first + way] == line) {
            return static_cast<int>(first + way);
        }
    }
    return -1;
}

// An 8-bit linear feedback shift register picks the way, as the hardware does.
uint32_t InstructionCache::Cache::victim() {
    const uint32_t feedback = !((lfsr >> 7 & 1) ^ (lfsr >> 3 & 1) ^ (lfsr >> 2 & 1) ^ (lfsr >> 1 & 1));
    lfsr = static_cast<uint8_t>(lfsr << 1 | feedback);
    return lfsr >> 1 & (ways - 1);
}

void InstructionCache::Cache::flush() { std::fill(tags.begin(), tags.end(), no_line); }

InstructionCache::InstructionCache(const Configuration& configuration) : configuration_(configuration) { reset(); }

void InstructionCache::reset() {
    private_.clear();
    for (uint32_t i = 0; i < configuration_.worker_cores; ++i) {
        private_.emplace_back(configuration_.l0);
    }
    if (configuration_.has_cluster_controller) {
        private_.emplace_back(configuration_.l0_controller);
    }
    private_.emplace_back(configuration_.l1_icache);    // the fabric controller's own
    private_.back().refill_latency = 0;
    shared_.assign(configuration_.l1_icache_banks, Cache(configuration_.l1_icache));
    enabled_ = controller_enabled_ = false;
}

void InstructionCache::flush() {
    for (Cache& cache : private_) {
        cache.flush();
    }
    for (Cache& cache : shared_) {
        cache.flush();
    }
}

int64_t InstructionCache::memory_latency(const Core& core, uint32_t address) const {
    if (core.is_fabric_controller) {
        return configuration_.controller_fetch_latency;
    }
    const bool in_l1 = address - configuration_.l1_base < configuration_.l1_bytes;
    return configuration_.cluster_interconnect_latency + (in_l1 ? 0 : configuration_.axi_latency);
}

int64_t InstructionCache::refill(Cache& cache, uint32_t line, int64_t cycle, int64_t source_latency) {
    const uint32_t slot = (line & (cache.sets - 1)) * cache.ways + cache.victim();
    cache.tags[slot] = line;
    int64_t latency = source_latency + cache.refill_latency;
    if (cycle < cache.refill_ready) {
        latency += cache.refill_ready - cycle;
    }
    cache.refill_ready = cycle + latency;
    cache.ready[slot] = cycle + latency;
    return latency;
}

int32_t InstructionCache::fetch_line(Core& core, uint32_t address, int64_t cycle) {
    core.line_base = address;
    const int64_t from_memory = memory_latency(core, address);
    if (!(core.is_fabric_controller ? controller_enabled_ : enabled_)) {
        return static_cast<int32_t>(from_memory);
    }
    const uint32_t line = address / fetch_line_bytes;
    Cache& own = private_[core.index];
    const int hit = own.find(line);
    if (hit >= 0) {
        own.recent[line % recent_lines] = static_cast<uint16_t>(hit);
        return static_cast<int32_t>(std::max<int64_t>(0, own.ready[static_cast<size_t>(hit)] - cycle));
    }
    int64_t source = from_memory;
    if (!core.is_fabric_controller) {
        const uint32_t banks = static_cast<uint32_t>(shared_.size());
        Cache& bank = shared_[line % banks];
        const uint32_t bank_line = line / banks;
        const int shared_hit = bank.find(bank_line);
        source = shared_hit >= 0 ? std::max<int64_t>(0, bank.ready[static_cast<size_t>(shared_hit)] - cycle)
                                 : refill(bank, bank_line, cycle, from_memory);
    }
    return static_cast<int32_t>(refill(own, line, cycle, source));
}

int32_t InstructionCache::fetch_slowly(Core& core, uint32_t address, int64_t cycle) {
    uint32_t offset = address - core.line_base;
    int32_t stall = 0;
    if (offset >= fetch_line_bytes) {
        stall = fetch_line(core, address & ~(fetch_line_bytes - 1), cycle);
        offset = address - core.line_base;
    }
    if (offset > last_fetch_offset) {
        // The 32 bits that are always fetched reach into the next line.
        stall += fetch_line(core, core.line_base + fetch_line_bytes, cycle);
    }
    return stall;
}

bool InstructionCache::is_private_hit(const Core& core, uint32_t address) const {
    const uint32_t offset = address - core.line_base;
    if (offset <= last_fetch_offset) {
        return true;
    }
    if (!enabled_) {
        return false;
    }
    const Cache& own = private_[core.index];
    const uint32_t line = address / fetch_line_bytes;
    if (offset >= fetch_line_bytes && own.find(line) < 0) {
        return false;
    }
    return (address & (fetch_line_bytes - 1)) <= last_fetch_offset || own.find(line + 1) >= 0;
}

}  // namespace sim
