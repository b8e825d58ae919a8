// Decoded instructions: an entry for every halfword that may hold code, in pages made on demand. An
// entry is decoded when it is first executed and again after a store to it.
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "machine.hpp"

namespace sim {

namespace {
constexpr uint32_t page_bits = 12;
constexpr uint32_t page_bytes = 1u << page_bits;
constexpr uint32_t page_halves = page_bytes / 2;
}  // namespace

void Machine::create_page_tables() {
    l1_pages_.resize(configuration.l1_bytes / page_bytes + 1);
    l2_pages_.resize(configuration.l2_bytes / page_bytes + 1);
    l2_private_pages_.resize(configuration.l2_private_bytes / page_bytes + 1);
}

Machine::Page* Machine::page_at(uint32_t address, bool create) {
    std::vector<Page*>* table = nullptr;
    uint32_t offset = 0;
    if ((offset = address - configuration.l2_base) < configuration.l2_bytes) {
        table = &l2_pages_;
    } else if ((offset = address - configuration.l1_base) < configuration.l1_bytes) {
        table = &l1_pages_;
    } else if ((offset = address - configuration.l2_private_base) < configuration.l2_private_bytes) {
        table = &l2_private_pages_;
    } else {
        return nullptr;
    }
    Page*& slot = (*table)[offset >> page_bits];
    if (slot == nullptr && create) {
        const uint32_t base = address - (offset & (page_bytes - 1));
        auto page = std::make_unique<Page>();
        // Two more entries stand for the start of the next page, which a last instruction may reach.
        page->entries.resize(page_halves + 2);
        for (uint32_t i = 0; i < page->entries.size(); ++i) {
            page->entries[i].address = base + 2 * i;
            page->entries[i].flags = i >= page_halves ? PageEnd : 0;
        }
        slot = page.get();
        page_store_[base] = std::move(page);
    }
    return slot;
}

Instruction* Machine::lookup(Core& core, uint32_t address) {
    Page* page = page_at(address, true);
    if (page == nullptr || (address & 1) != 0) {
        char text[80];
        std::snprintf(text, sizeof text, "jump to 0x%08x, where no code can be", address);
        fail(FaultKind::BadAccess, core, text);
    }
    return &page->entries[(address & (page_bytes - 1)) >> 1];
}

Instruction* Machine::prepare(Core& core, Instruction* entry) {
    const uint32_t address = entry->address;
    if ((entry->flags & PageEnd) != 0) {
        entry = lookup(core, address);
        if ((entry->flags & Decoded) != 0) {
            return entry;
        }
    }
    const uint8_t* low = memory.find(address, 2);
    uint32_t word = 0;
    if (low != nullptr) {
        uint16_t half;
        std::memcpy(&half, low, 2);
        word = half;
        if ((half & 3) == 3) {
            const uint8_t* high = memory.find(address + 2, 2);
            if (high != nullptr) {
                std::memcpy(&half, high, 2);
                word |= static_cast<uint32_t>(half) << 16;
            }
        }
    }
    const uint8_t sticky = entry->flags & LoopEnd;
    if (low == nullptr || !decode(configuration, word, *entry)) {
        char text[64];
        if ((word & 3) == 3) {
            std::snprintf(text, sizeof text, "unknown instruction 0x%08x", word);
        } else {
            std::snprintf(text, sizeof text, "unknown instruction 0x%04x", word & 0xffff);
        }
        core.current = entry;
        entry->flags = sticky;
        fail(FaultKind::Instruction, core, text);
    }
    entry->flags |= sticky;
    return entry;
}

void Machine::flush_decoded() {
    for (auto& [base, page] : page_store_) {
        (void)base;
        for (Instruction& entry : page->entries) {
            entry.flags &= static_cast<uint8_t>(~Decoded);
        }
    }
}

// The host wrote: whole pages are decoded again.
void Machine::forget_decoded(uint32_t address, size_t size) {
    for (uint32_t page = address & ~(page_bytes - 1); page < address + size; page += page_bytes) {
        if (Page* decoded = page_at(page, false)) {
            for (Instruction& entry : decoded->entries) {
                entry.flags &= static_cast<uint8_t>(~Decoded);
            }
        }
    }
}

// A store over decoded code: what it touches is decoded again (an instruction may start 2 bytes before).
void Machine::after_store(uint32_t address, uint32_t size) {
    for (uint32_t half = (address - 2) & ~1u; half < address + size; half += 2) {
        if (Page* page = page_at(half, false)) {
            page->entries[(half & (page_bytes - 1)) >> 1].flags &= static_cast<uint8_t>(~Decoded);
        }
    }
}

void Machine::set_loop_end(uint32_t address) {
    if (Page* page = page_at(address, true)) {
        page->entries[(address & (page_bytes - 1)) >> 1].flags |= LoopEnd;
    }
}

void Machine::loop_end_reached(Core& core, const Instruction& instruction) {
    for (HardwareLoop& loop : core.loops) {
        if (loop.count != 0 && loop.end == instruction.address) {
            if (--loop.count != 0) {
                if (SIM_UNLIKELY(loop.first == nullptr)) {
                    loop.first = lookup(core, loop.start);
                }
                core.next = loop.first;
                return;
            }
        }
    }
}

}  // namespace sim
