// Loads and stores as instructions use them: the L1 fast path inline, the rest in Machine.
#pragma once

#include <cstring>
#include <type_traits>

#include "core.hpp"
#include "machine.hpp"

namespace sim {

// True when an access of `size` bytes stays inside one 32-bit word.
inline bool inside_word(uint32_t address, uint32_t size) { return (address & 3) + size <= 4; }

template <typename T>
inline uint32_t load_value(Core& core, uint32_t address) {
    const uint32_t offset = address - core.l1_base;
    if (SIM_LIKELY(offset < core.l1_fast_bytes && inside_word(address, sizeof(T)))) {
        T value;
        std::memcpy(&value, core.l1 + offset, sizeof(T));
        return static_cast<uint32_t>(static_cast<std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>>(value));
    }
    const uint32_t raw = core.machine->load(core, address, sizeof(T));
    return static_cast<uint32_t>(
        static_cast<std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>>(static_cast<T>(raw)));
}

template <typename T>
inline void store_value(Core& core, uint32_t address, uint32_t value) {
    const uint32_t offset = address - core.l1_base;
    if (SIM_LIKELY(offset < core.l1_fast_bytes && inside_word(address, sizeof(T)))) {
        const T narrow = static_cast<T>(value);
        std::memcpy(core.l1 + offset, &narrow, sizeof(T));
        return;
    }
    core.machine->store(core, address, sizeof(T), value);
}

}  // namespace sim
