// The memories of the chip as flat arrays, found by address.
#pragma once

#include <cstdint>
#include <vector>

#include "configuration.hpp"

namespace sim {

class Memory {
public:
    explicit Memory(const Configuration& configuration);

    // Pointer to `size` bytes at a global address, nullptr when they are not all in one memory.
    uint8_t* find(uint32_t address, size_t size);
    // The same for cores and the DMA: L3 has an engine of its own and no place in their address space.
    uint8_t* find_on_chip(uint32_t address, size_t size);
    const uint8_t* find(uint32_t address, size_t size) const;

    struct Region {
        const char* name;
        uint32_t base;
        std::vector<uint8_t> bytes;
        bool contains(uint32_t address, size_t size) const {
            const uint64_t offset = static_cast<uint32_t>(address - base);
            return offset < bytes.size() && offset + size <= bytes.size();
        }
    };

    Region l1, l2, l2_private, l3;
    const Region* regions[4];
    bool alias_at_zero;
};

}  // namespace sim
