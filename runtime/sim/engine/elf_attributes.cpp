// What an ELF file says about the registers that its code keeps floats in: the ABI in the header's flags,
// and the architecture in the section .riscv.attributes (RISC-V ELF psABI, "Attributes").
#include <algorithm>
#include <set>
#include <sstream>

#include "elf.hpp"
#include "fault.hpp"

namespace sim {

namespace {

constexpr uint32_t float_abi_mask = 6, float_abi_single = 2;
constexpr uint64_t whole_file = 1, architecture_tag = 5;
constexpr size_t longest_architecture = 200;

// Reads what is there; after the end only zeros come.
class Bytes {
public:
    Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}

    bool done() const { return at_ >= size_; }
    size_t position() const { return at_; }
    void move_to(size_t position) { at_ = std::min(position, size_); }

    uint8_t byte() { return done() ? 0 : data_[at_++]; }
    uint32_t word() {
        uint32_t value = 0;
        for (uint32_t i = 0; i < 4; ++i) {
            value |= static_cast<uint32_t>(byte()) << (8 * i);
        }
        return value;
    }
    uint64_t number() {     // ULEB128
        uint64_t value = 0;
        for (uint32_t shift = 0; !done(); shift += 7) {
            const uint8_t next = byte();
            value |= shift < 64 ? static_cast<uint64_t>(next & 127) << shift : 0;
            if ((next & 128) == 0) {
                break;
            }
        }
        return value;
    }
    std::string text() {
        std::string result;
        while (const uint8_t next = byte()) {
            result.push_back(static_cast<char>(next));
        }
        return result;
    }

private:
    const uint8_t* data_;
    size_t size_;
    size_t at_ = 0;
};

// The extensions in a name such as rv32imfc_zfinx or rv32i2p1_m2p0_f2p2, without their versions.
std::set<std::string> extensions(const std::string& architecture) {
    std::set<std::string> result;
    std::istringstream parts(architecture.substr(std::min<size_t>(architecture.size(), 4)));
    bool first = true;
    for (std::string part; std::getline(parts, part, '_'); first = false) {
        const auto digit = [&part](size_t at) { return at < part.size() && part[at] >= '0' && part[at] <= '9'; };
        std::string name;
        for (size_t at = 0; at < part.size(); ++at) {
            const bool version = digit(at) || (part[at] == 'p' && at != 0 && digit(at - 1) && digit(at + 1));
            name += version ? "" : part.substr(at, 1);
        }
        // The first part begins with extensions of one letter; z, s or x begin a longer name.
        const size_t letters = first ? std::min(name.find_first_of("zsx"), name.size()) : 0;
        for (size_t at = 0; at < letters; ++at) {
            result.insert(name.substr(at, 1));
        }
        result.insert(name.substr(letters));
    }
    return result;
}

}  // namespace

std::string architecture_of(const uint8_t* attributes, size_t size) {
    Bytes bytes(attributes, size);
    if (bytes.byte() != 'A') {
        return "";
    }
    while (!bytes.done()) {
        const size_t begin = bytes.position();
        const size_t end = begin + bytes.word();
        if (end < begin + 5 || end > size) {
            return "";      // damaged: no reason to fail
        }
        if (bytes.text() != "riscv") {
            bytes.move_to(end);
            continue;
        }
        while (bytes.position() < end) {
            const size_t part = bytes.position();
            const bool for_file = bytes.number() == whole_file;
            const size_t part_end = part + bytes.word();
            while (for_file && bytes.position() < std::min(part_end, end)) {
                const uint64_t tag = bytes.number();
                const std::string text = (tag & 1) != 0 ? bytes.text() : (bytes.number(), "");
                if (tag == architecture_tag) {
                    const bool printable = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
                    return printable && text.size() <= longest_architecture ? text : "";
                }
            }
            if (part_end <= part) {
                return "";
            }
            bytes.move_to(part_end);
        }
    }
    return "";
}

void check_float_registers(const ElfFile& elf, bool merged_registers) {
    const auto refuse = [](const std::string& what) { throw Fault(FaultKind::Elf, "the ELF file " + what); };
    const uint32_t abi = elf.flags & float_abi_mask;
    const std::set<std::string> used = extensions(elf.architecture);
    const std::string named = " (" + elf.architecture + ")";
    if (abi > float_abi_single || used.count("d") != 0) {
        refuse("is for double precision in registers, which the cores do not have; compile with -march=" +
               std::string(merged_registers ? "rv32imc_zfinx -mabi=ilp32" : "rv32imfc -mabi=ilp32f"));
    }
    if (merged_registers) {
        const std::string remedy = ", but this chip keeps floats in the integer registers; compile with -march=rv32imc_zfinx -mabi=ilp32";
        if (abi != 0) {
            refuse("passes floats in floating-point registers (-mabi=ilp32f)" + remedy);
        }
        if (used.count("f") != 0) {
            refuse("uses floating-point registers" + named + remedy);
        }
    } else if (used.count("zfinx") != 0) {
        refuse("keeps floats in the integer registers" + named +
               ", but this chip has floating-point registers; compile with -march=rv32imfc -mabi=ilp32f");
    }
}

}  // namespace sim
