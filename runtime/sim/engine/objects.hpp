// What owns which bytes: the program's variables, blocks of its heaps, and buffers that the host tells of,
// those of a kernel's scratch and arguments while a core runs the kernel. The checks ask it whether an
// access has left the object that it began in, and reports for names.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "elf.hpp"
#include "vector_clock.hpp"

namespace sim {

// What is around a byte.
struct Extent {
    enum class Kind : uint8_t {
        Unknown,    // nobody told
        Object,     // the objects that hold the byte, as one range: what an access that touched it may reach
        Gap,        // nothing, and nothing may be accessed
    };
    uint32_t low = 0, high = 0;     // without the last; equal for gaps
    Kind kind = Kind::Unknown;

    bool is_object() const { return kind == Kind::Object; }
    bool is_gap() const { return kind == Kind::Gap; }
    bool holds(uint32_t address, uint32_t size) const { return address - low < high - low && size <= high - address; }
};

class Objects {
public:
    // The program's variables, and the padding between them; takes back all that was known before.
    void load(const ElfFile& elf);
    // The program starts again: its heaps are empty and no core runs a kernel.
    void restart();

    void name(const std::string& name, uint32_t address, uint32_t size);
    // A buffer of a kernel, `offset` from its scratch or at a fixed address.
    void name_of_kernel(uint32_t kernel, const std::string& name, bool in_scratch, uint32_t offset, uint32_t size);

    bool is_kernel(uint32_t address) const { return kernels_.count(address) != 0; }
    void enter_kernel(uint32_t core, uint32_t kernel, uint32_t scratch);

    void set_heap(uint32_t low, uint32_t high);
    void allocated(uint32_t address, uint32_t size);
    void freed(uint32_t address);

    Extent around(uint32_t core, uint32_t address);
    // "buffer+0x12", empty where none is; `core` may be none of the cores.
    std::string describe(uint32_t core, uint32_t address) const;
    // Changes whenever extents may.
    uint32_t generation() const { return generation_; }

private:
    struct Object { uint32_t low, high; std::string name; };
    struct Range { uint32_t low, high; };
    // Ranges without overlap, each from its address to that of the next.
    class Map {
    public:
        // Objects that hold one of the `parts` are divided by them: the rest of them is a gap, as `gaps` are.
        // No range goes over an end of `limits`.
        void build(const std::vector<Object>& objects, const std::vector<Object>& parts, const std::vector<Range>& gaps,
                   const std::vector<Range>& limits);
        Extent at(uint32_t address) const;

    private:
        std::vector<uint32_t> starts_;
        std::vector<Extent> ranges_;
    };
    struct Kernel {
        std::vector<Object> scratch, fixed;     // those in the scratch relative to it
        std::vector<Object> placed;
        Map map;
        uint32_t base = 0;
        uint32_t generation = 0;
        std::vector<Extent> divided;            // the objects whose parts these buffers are
    };

    Extent global(uint32_t address);
    static const Object* find(const std::vector<Object>& objects, uint32_t address);

    std::vector<Object> variables_, buffers_;
    std::map<uint32_t, uint32_t> blocks_;       // of the heaps: address and size
    std::vector<Range> padding_, heaps_;
    Map map_;
    bool changed_ = true;
    uint32_t generation_ = 1;
    std::unordered_map<uint32_t, Kernel> kernels_;
    std::array<Kernel*, max_cores> running_{};
};

}  // namespace sim
