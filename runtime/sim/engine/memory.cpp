#include "memory.hpp"

namespace sim {

Memory::Memory(const Configuration& configuration)
    : l1{"L1", configuration.l1_base, std::vector<uint8_t>(configuration.l1_bytes, configuration.unwritten_byte)},
      l2{"L2", configuration.l2_base, std::vector<uint8_t>(configuration.l2_bytes, configuration.unwritten_byte)},
      l2_private{"private L2", configuration.l2_private_base,
                 std::vector<uint8_t>(configuration.l2_private_bytes, configuration.unwritten_byte)},
      l3{"L3", configuration.l3_base, std::vector<uint8_t>(configuration.l3_bytes, configuration.unwritten_byte)},
      regions{&l1, &l2, &l2_private, &l3},
      alias_at_zero(configuration.l1_alias_at_zero) {}

uint8_t* Memory::find(uint32_t address, size_t size) {
    return const_cast<uint8_t*>(static_cast<const Memory*>(this)->find(address, size));
}

const uint8_t* Memory::find(uint32_t address, size_t size) const {
    for (const Region* region : regions) {
        if (region->contains(address, size)) {
            return region->bytes.data() + (address - region->base);
        }
    }
    if (alias_at_zero && address < l1.bytes.size() && address + size <= l1.bytes.size()) {
        return l1.bytes.data() + address;
    }
    return nullptr;
}

uint8_t* Memory::find_on_chip(uint32_t address, size_t size) {
    return l3.contains(address, 1) ? nullptr : find(address, size);
}

}  // namespace sim
