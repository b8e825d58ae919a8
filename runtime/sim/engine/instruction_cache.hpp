// The instruction side: a 16-byte fetch buffer and a small cache in each core, a shared cache behind
// them, memory behind that. Only addresses and times are kept; the bytes come from memory.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "configuration.hpp"
#include "core.hpp"

namespace sim {


constexpr uint32_t fetch_line_bytes = 16;
// A 32-bit fetch fits the line when it starts at most here.
constexpr uint32_t recent_lines = 64;
constexpr uint32_t last_fetch_offset = fetch_line_bytes - 4;

class InstructionCache {
public:
    explicit InstructionCache(const Configuration& configuration);
    void reset();
    void flush();
    void enable(bool cluster, bool on) { (cluster ? enabled_ : controller_enabled_) = on; }

    // Fetches the instruction at `address` in `cycle`; returns the cycles that it takes beyond a hit
    // in the fetch buffer.
    int32_t fetch(Core& core, uint32_t address, int64_t cycle) {
        const uint32_t line = address / fetch_line_bytes;
        Cache& own = private_[core.index];
        const uint32_t slot = own.recent[line % recent_lines];
        if (__builtin_expect(own.tags[slot] == line && own.ready[slot] <= cycle &&
                             (address & (fetch_line_bytes - 1)) <= last_fetch_offset &&
                             address - core.line_base >= fetch_line_bytes, 1)) {
            core.line_base = line * fetch_line_bytes;
            return 0;
        }
        return fetch_slowly(core, address, cycle);
    }
    // True when fetching needs nothing that other cores share.
    bool is_private_hit(const Core& core, uint32_t address) const;

private:
    struct Cache {
        Cache(const CacheGeometry& geometry);
        uint32_t sets, ways;
        int64_t refill_latency;
        std::vector<uint32_t> tags;
        std::vector<int64_t> ready;     // when the line's refill ends
        int64_t refill_ready = -1;      // one refill at a time
        uint8_t lfsr = 0;
        std::array<uint16_t, recent_lines> recent{};    // where lines were found last: only a shortcut

        int find(uint32_t line) const;
        uint32_t victim();
        void flush();
    };

    int32_t fetch_slowly(Core& core, uint32_t address, int64_t cycle);
    int32_t fetch_line(Core& core, uint32_t line_address, int64_t cycle);
    int64_t refill(Cache& cache, uint32_t line, int64_t cycle, int64_t source_latency);
    int64_t memory_latency(const Core& core, uint32_t address) const;

    const Configuration& configuration_;
    std::vector<Cache> private_;
    std::vector<Cache> shared_;
    bool enabled_ = false;
    bool controller_enabled_ = false;
};

}  // namespace sim
