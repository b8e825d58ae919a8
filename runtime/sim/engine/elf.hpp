// Reader of 32-bit RISC-V ELF executables: segments to load and symbols.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace sim {

struct Segment {
    uint32_t address;
    uint32_t memory_size;           // bytes after the file's part are zero
    std::vector<uint8_t> bytes;
};

struct Symbol {
    std::string name;
    uint32_t address;
    uint32_t size;
    bool is_function;
    bool is_absolute;               // a number, not a place in a section
    bool is_variable;               // with a size
    uint16_t section;
};

struct ElfFile {
    uint32_t entry = 0;
    uint32_t flags = 0;
    std::string architecture;       // as the attributes name it, such as rv32i2p1_m2p0_zfinx1p0; may be empty
    std::vector<Segment> segments;
    std::vector<Symbol> symbols;    // sorted by address
    std::vector<bool> writable;     // by section

    bool is_writable(uint16_t section) const { return section < writable.size() && writable[section]; }

    // "name+0x12" of the function or object that holds an address, empty when none does.
    std::string describe(uint32_t address) const;
    // The function symbol at or before an address, nullptr when there is none.
    const Symbol* function_at(uint32_t address) const;
};

// Throws Fault(FaultKind::Elf) with one line that says what is wrong.
ElfFile parse_elf(const std::vector<uint8_t>& image);

// The architecture that the contents of a .riscv.attributes section name, empty when they do not.
std::string architecture_of(const uint8_t* attributes, size_t size);

// Refuses, with Fault(FaultKind::Elf), a program that keeps floats in registers which the chip has not.
void check_float_registers(const ElfFile& elf, bool merged_registers);

}  // namespace sim
