// Vector clocks: what each thread of the chip (a core, a DMA transfer in flight, or the L3 transfers that a
// core has started) knows of the others.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace sim {

constexpr uint32_t max_cores = 18;
constexpr uint32_t dma_threads = 30;
constexpr uint32_t first_external_thread = max_cores + dma_threads;
constexpr uint32_t max_threads = first_external_thread + max_cores;

struct VectorClock {
    std::array<uint32_t, max_threads> at{};

    void join(const VectorClock& other) {
        for (uint32_t i = 0; i < max_threads; ++i) {
            at[i] = std::max(at[i], other.at[i]);
        }
    }
};

}  // namespace sim
