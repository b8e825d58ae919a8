#include "objects.hpp"

#include <algorithm>
#include <cstdio>

namespace sim {

namespace {
constexpr uint32_t most_padding = 64;
}

// ---- ranges ----

void Objects::Map::build(const std::vector<Object>& objects, const std::vector<Object>& parts, const std::vector<Range>& gaps,
                         const std::vector<Range>& limits) {
    std::vector<Object> whole = parts;
    std::vector<Range> empty = gaps;
    for (const Object& object : objects) {
        const auto inside = [&](const Object& part) {
            return part.low >= object.low && part.high <= object.high && part.high - part.low < object.high - object.low;
        };
        if (std::any_of(parts.begin(), parts.end(), inside)) {
            empty.push_back({object.low, object.high});
        } else {
            whole.push_back(object);
        }
    }
    std::vector<uint32_t> bounds{0};
    for (const Object& object : whole) {
        bounds.insert(bounds.end(), {object.low, object.high});
    }
    for (const std::vector<Range>* group : {static_cast<const std::vector<Range>*>(&empty), &limits}) {
        for (const Range& range : *group) {
            bounds.insert(bounds.end(), {range.low, range.high});
        }
    }
    std::sort(bounds.begin(), bounds.end());
    bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
    ranges_.clear();
    for (size_t i = 0; i < bounds.size(); ++i) {
        ranges_.push_back({bounds[i], i + 1 < bounds.size() ? bounds[i + 1] : ~0u, Extent::Kind::Unknown});
    }
    std::vector<Extent> extents = ranges_;
    const auto for_ranges = [this](uint32_t low, uint32_t high, const auto& visit) {
        auto range = std::lower_bound(ranges_.begin(), ranges_.end(), low, [](const Extent& r, uint32_t a) { return r.low < a; });
        for (; range != ranges_.end() && range->low < high; ++range) {
            visit(static_cast<size_t>(range - ranges_.begin()));
        }
    };
    for (const Object& object : whole) {
        for_ranges(object.low, object.high, [&](size_t i) {
            Extent& extent = extents[i];
            extent = extent.is_object() ? Extent{std::min(extent.low, object.low), std::max(extent.high, object.high), extent.kind}
                                        : Extent{object.low, object.high, Extent::Kind::Object};
        });
    }
    for (const Range& gap : empty) {
        for_ranges(gap.low, gap.high, [&](size_t i) {
            if (!extents[i].is_object()) {
                extents[i] = {0, 0, Extent::Kind::Gap};
            }
        });
    }
    starts_.swap(bounds);
    ranges_.swap(extents);
}

Extent Objects::Map::at(uint32_t address) const {
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), address);
    return after == starts_.begin() ? Extent{} : ranges_[static_cast<size_t>(after - starts_.begin()) - 1];
}

// ---- what there is ----

void Objects::load(const ElfFile& elf) {
    variables_.clear();
    buffers_.clear();
    padding_.clear();
    heaps_.clear();
    kernels_.clear();
    const Symbol* last = nullptr;       // the variable that reaches furthest
    for (const Symbol& symbol : elf.symbols) {
        if (last != nullptr && symbol.address >= last->address + last->size) {
            // Between two variables of a section there is nothing but what aligns the second one.
            const uint32_t end = last->address + last->size, alignment = symbol.address & (~symbol.address + 1);
            const bool aligns = symbol.address - end < std::min(alignment, most_padding);
            if (symbol.is_variable && symbol.section == last->section && elf.is_writable(symbol.section) && symbol.address != end && aligns) {
                padding_.push_back({end, symbol.address});
            }
            last = nullptr;
        }
        if (symbol.is_variable) {
            variables_.push_back({symbol.address, symbol.address + symbol.size, symbol.name});
            if (last == nullptr || symbol.address + symbol.size > last->address + last->size) {
                last = &symbol;
            }
        }
    }
    restart();
}

void Objects::restart() {
    blocks_.clear();
    running_.fill(nullptr);
    changed_ = true;
    ++generation_;
}

void Objects::name(const std::string& name, uint32_t address, uint32_t size) {
    buffers_.push_back({address, address + size, name});
    changed_ = true;
    ++generation_;
}

void Objects::name_of_kernel(uint32_t kernel, const std::string& name, bool in_scratch, uint32_t offset, uint32_t size) {
    Kernel& known = kernels_[kernel];
    (in_scratch ? known.scratch : known.fixed).push_back({offset, offset + size, name});
    known.generation = 0;
}

void Objects::set_heap(uint32_t low, uint32_t high) {
    heaps_.push_back({low, high});
    changed_ = true;
    ++generation_;
}

void Objects::allocated(uint32_t address, uint32_t size) {
    blocks_[address] = size;
    ++generation_;
}

void Objects::freed(uint32_t address) {
    blocks_.erase(address);
    ++generation_;
}

Extent Objects::global(uint32_t address) {
    if (changed_) {
        changed_ = false;
        map_.build(variables_, buffers_, padding_, heaps_);
    }
    Extent found = map_.at(address);
    if (found.kind != Extent::Kind::Unknown) {
        return found;
    }
    auto next = blocks_.upper_bound(address);
    if (next != blocks_.end()) {
        found.high = std::min(found.high, next->first);
    }
    if (next != blocks_.begin()) {
        const auto& [low, size] = *--next;
        if (address - low < size) {
            return {low, low + size, Extent::Kind::Object};
        }
        found.low = std::max(found.low, low + size);
    }
    const bool in_heap = std::any_of(heaps_.begin(), heaps_.end(), [&](const Range& heap) { return address - heap.low < heap.high - heap.low; });
    return in_heap ? Extent{0, 0, Extent::Kind::Gap} : found;
}

// Cores of one kernel share its scratch, so its buffers are placed once for all of them.
void Objects::enter_kernel(uint32_t core, uint32_t kernel, uint32_t scratch) {
    Kernel& entered = kernels_[kernel];
    running_[core] = &entered;
    if (entered.generation == generation_ && entered.base == scratch) {
        return;
    }
    entered.base = scratch;
    entered.placed = entered.fixed;
    for (const Object& buffer : entered.scratch) {
        entered.placed.push_back({buffer.low + scratch, buffer.high + scratch, buffer.name});
    }
    std::vector<Object> parents;
    entered.divided.clear();
    for (const Object& buffer : entered.placed) {
        const Extent parent = global(buffer.low);
        if (parent.is_object() && std::none_of(parents.begin(), parents.end(), [&](const Object& p) { return p.low == parent.low; })) {
            parents.push_back({parent.low, parent.high, ""});
            entered.divided.push_back(parent);
        }
    }
    entered.map.build(parents, entered.placed, {}, {});
    entered.generation = generation_;
}

Extent Objects::around(uint32_t core, uint32_t address) {
    if (core < running_.size() && running_[core] != nullptr) {
        const Kernel& kernel = *running_[core];
        for (const Extent& parent : kernel.divided) {
            if (parent.holds(address, 1)) {
                return kernel.map.at(address);
            }
        }
    }
    return global(address);
}

const Objects::Object* Objects::find(const std::vector<Object>& objects, uint32_t address) {
    for (const Object& object : objects) {
        if (address - object.low < object.high - object.low) {
            return &object;
        }
    }
    return nullptr;
}

std::string Objects::describe(uint32_t core, uint32_t address) const {
    const Object* found = nullptr;
    if (core < running_.size() && running_[core] != nullptr) {
        found = find(running_[core]->placed, address);
    }
    if (found == nullptr) {
        found = find(buffers_, address);
    }
    if (found == nullptr) {
        return "";
    }
    char offset[24];
    std::snprintf(offset, sizeof offset, "+0x%x", address - found->low);
    return address == found->low ? found->name : found->name + offset;
}

}  // namespace sim
