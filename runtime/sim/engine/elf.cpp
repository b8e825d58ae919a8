#include "elf.hpp"

#include <algorithm>
#include <cstring>

#include "fault.hpp"

namespace sim {

namespace {

constexpr uint16_t machine_riscv = 243;
constexpr uint32_t segment_load = 1;
constexpr uint32_t section_symbols = 2, section_attributes = 0x70000003;
constexpr uint16_t absolute_section = 0xfff1;

[[noreturn]] void bad(const std::string& what) { throw Fault(FaultKind::Elf, what); }

class Reader {
public:
    explicit Reader(const std::vector<uint8_t>& image) : image_(image) {}

    template <typename T>
    T at(uint64_t offset) const {
        if (offset + sizeof(T) > image_.size()) {
            bad("the ELF file is truncated");
        }
        T value;
        std::memcpy(&value, image_.data() + offset, sizeof(T));
        return value;
    }

    // A name. Anything but printable ASCII is a damaged file; a placeholder keeps messages readable.
    std::string text(uint64_t offset, uint64_t end) const {
        end = std::min<uint64_t>(end, image_.size());
        std::string result;
        for (; offset < end && image_[offset] != 0; ++offset) {
            const uint8_t byte = image_[offset];
            result.push_back(byte > 0x20 && byte < 0x7f ? static_cast<char>(byte) : '?');
        }
        return result;
    }

private:
    const std::vector<uint8_t>& image_;
};

void check_header(const Reader& reader, size_t size) {
    if (size < 4 || reader.at<uint32_t>(0) != 0x464c457f) {
        bad("not an ELF file");
    }
    if (size < 52) {
        bad("the ELF file is truncated");
    }
    if (reader.at<uint8_t>(4) != 1) {
        bad("a 64-bit ELF file; the cores are 32-bit");
    }
    if (reader.at<uint8_t>(5) != 1) {
        bad("a big-endian ELF file; the cores are little-endian");
    }
    const uint16_t machine = reader.at<uint16_t>(18);
    if (machine != machine_riscv) {
        bad("the ELF file is for machine " + std::to_string(machine) + ", not for RISC-V (243)");
    }
    if (reader.at<uint16_t>(16) != 2) {
        bad("the ELF file is not an executable (link it first)");
    }
}

void read_segments(const Reader& reader, const std::vector<uint8_t>& image, ElfFile& elf) {
    const uint32_t table = reader.at<uint32_t>(28);
    const uint16_t entry_size = reader.at<uint16_t>(42);
    const uint16_t count = reader.at<uint16_t>(44);
    if (count != 0 && entry_size < 32) {
        bad("the ELF file has a damaged program header");
    }
    for (uint32_t i = 0; i < count; ++i) {
        const uint64_t header = table + static_cast<uint64_t>(i) * entry_size;
        if (reader.at<uint32_t>(header) != segment_load) {
            continue;
        }
        const uint64_t offset = reader.at<uint32_t>(header + 4);
        const uint32_t address = reader.at<uint32_t>(header + 12);
        const uint32_t file_size = reader.at<uint32_t>(header + 16);
        const uint32_t memory_size = reader.at<uint32_t>(header + 20);
        if (memory_size == 0) {
            continue;
        }
        if (offset + file_size > image.size()) {
            bad("the ELF file is truncated: a segment ends after the file");
        }
        if (file_size > memory_size) {
            bad("the ELF file has a segment larger in the file than in memory");
        }
        const auto first = image.begin() + static_cast<std::ptrdiff_t>(offset);
        elf.segments.push_back({address, memory_size, {first, first + file_size}});
    }
    if (elf.segments.empty()) {
        bad("the ELF file has nothing to load");
    }
}

void read_sections(const Reader& reader, const std::vector<uint8_t>& image, ElfFile& elf) {
    const uint32_t table = reader.at<uint32_t>(32);
    const uint16_t entry_size = reader.at<uint16_t>(46);
    const uint16_t count = reader.at<uint16_t>(48);
    if (table == 0 || count == 0 || entry_size < 40) {
        return;     // stripped: no names, that is all
    }
    for (uint32_t i = 0; i < count; ++i) {
        const uint64_t header = table + static_cast<uint64_t>(i) * entry_size;
        if (header + 40 > image.size()) {
            bad("the ELF file is truncated in its section headers");
        }
        elf.writable.push_back((reader.at<uint32_t>(header + 8) & 1) != 0);
        const uint32_t type = reader.at<uint32_t>(header + 4);
        const uint64_t offset = reader.at<uint32_t>(header + 16);
        const uint64_t size = reader.at<uint32_t>(header + 20);
        if (type == section_attributes && offset + size <= image.size()) {
            elf.architecture = architecture_of(image.data() + offset, size);
        }
        if (type != section_symbols) {
            continue;
        }
        const uint32_t link = reader.at<uint32_t>(header + 24);
        if (link >= count || offset + size > image.size()) {
            bad("the ELF file has a damaged symbol table");
        }
        const uint64_t names = table + static_cast<uint64_t>(link) * entry_size;
        const uint64_t text = reader.at<uint32_t>(names + 16);
        const uint64_t text_end = text + reader.at<uint32_t>(names + 20);
        for (uint64_t entry = offset; entry + 16 <= offset + size; entry += 16) {
            const uint8_t type = reader.at<uint8_t>(entry + 12) & 15;
            const uint16_t section = reader.at<uint16_t>(entry + 14);
            if (section == 0 || type > 2) {
                continue;   // undefined, section or file
            }
            std::string name = reader.text(text + reader.at<uint32_t>(entry), text_end);
            if (name.empty() || name[0] == '$' || name.compare(0, 2, ".L") == 0) {
                continue;   // mapping symbols and local labels
            }
            elf.symbols.push_back({std::move(name), reader.at<uint32_t>(entry + 4),
                                   reader.at<uint32_t>(entry + 8), type == 2, section == absolute_section,
                                   type == 1 && reader.at<uint32_t>(entry + 8) != 0, section});
        }
    }
    std::stable_sort(elf.symbols.begin(), elf.symbols.end(),
                     [](const Symbol& a, const Symbol& b) { return a.address < b.address; });
}

}  // namespace

ElfFile parse_elf(const std::vector<uint8_t>& image) {
    const Reader reader(image);
    check_header(reader, image.size());
    ElfFile elf;
    elf.entry = reader.at<uint32_t>(24);
    elf.flags = reader.at<uint32_t>(36);
    read_segments(reader, image, elf);
    read_sections(reader, image, elf);
    return elf;
}

std::string ElfFile::describe(uint32_t address) const {
    auto after = std::upper_bound(symbols.begin(), symbols.end(), address,
                                  [](uint32_t a, const Symbol& s) { return a < s.address; });
    // The nearest symbol with a size that covers the address, else the nearest of all.
    const Symbol* best = nullptr;
    int looked_at = 0;
    for (auto it = after; it != symbols.begin() && looked_at < 64; ++looked_at) {
        --it;
        if (it->size != 0 && address - it->address < it->size) {
            best = &*it;
            break;
        }
        if (best == nullptr && it->size == 0 && !it->is_absolute && address - it->address < 0x10000) {
            best = &*it;
        }
    }
    if (best == nullptr) {
        return "";
    }
    char offset[24];
    std::snprintf(offset, sizeof offset, "+0x%x", address - best->address);
    return address == best->address ? best->name : best->name + offset;
}

const Symbol* ElfFile::function_at(uint32_t address) const {
    auto after = std::upper_bound(symbols.begin(), symbols.end(), address,
                                  [](uint32_t a, const Symbol& s) { return a < s.address; });
    const Symbol* fallback = nullptr;
    int looked_at = 0;
    for (auto it = after; it != symbols.begin() && looked_at < 64; ++looked_at) {
        --it;
        if (it->is_function && (it->size == 0 || address - it->address < it->size)) {
            return &*it;
        }
        if (fallback == nullptr && it->size == 0 && !it->is_absolute) {
            fallback = &*it;
        }
    }
    return fallback;
}

}  // namespace sim
