// The checker's view of objects: does an access leave the one that it began in?
//
// A program's pointers have no bounds at run time, so a pointer's object is learnt from its use: an
// instruction that accesses memory again and again, by an address that the same instructions make of the same
// registers with nothing but counters and pointers stepping on in between, stays in the object of its first
// access. A transfer stays in the object of its first
// byte. And nothing accesses bytes that belong to no object where all objects are known: the padding
// between variables, what is left of a divided buffer, unallocated parts of a heap.
#include <cstring>

#include "checker.hpp"
#include "machine.hpp"

namespace sim {

namespace {
constexpr uint32_t return_register = 1, first_argument = 10;
constexpr size_t most_calls = 64;
}  // namespace

void Checker::find_allocators() {
    for (const Encoding& encoding : encodings()) {
        const std::string name = encoding.name;
        origin_.push_back(encoding.kind == Kind::Store         ? Origin::Kept     // their rd is the base, stepped on or not
                          : name == "addi"                     ? Origin::Step
                          : name == "add"                      ? Origin::Sum
                          : name == "slli"                     ? Origin::Shift
                          : name == "lui" || name == "auipc"   ? Origin::Constant
                                                               : Origin::New);
    }
    static const std::pair<const char*, Allocator> names[] = {
        {"pi_l2_malloc", Allocator::TakesFirst},    {"pi_l2_free", Allocator::GivesFirst},
        {"pi_l1_malloc", Allocator::TakesSecond},   {"pi_l1_free", Allocator::GivesSecond},
        {"pi_cl_l1_malloc", Allocator::TakesSecond}, {"pi_cl_l1_free", Allocator::GivesSecond},
        {"malloc", Allocator::TakesFirst},          {"free", Allocator::GivesFirst}};
    uint32_t l1[2] = {}, l2[2] = {};
    bool l1_known = false, l2_known = false;
    for (const Symbol& symbol : machine_.elf.symbols) {
        for (const auto& [name, what] : names) {
            if (symbol.is_function && symbol.name == name) {
                allocators_[symbol.address] = what;
                l1_known = l1_known || what == Allocator::TakesSecond;
                l2_known = l2_known || symbol.name == "pi_l2_malloc";
            }
        }
        for (uint32_t end = 0; end < 2; ++end) {
            l1[end] = symbol.name == (end == 0 ? "_l1_heap_start" : "_l1_heap_end") ? symbol.address : l1[end];
            l2[end] = symbol.name == (end == 0 ? "_l2_heap_start" : "_l2_heap_end") ? symbol.address : l2[end];
        }
    }
    // A heap whose allocator is not there is not a heap that we know.
    if (l1_known && l1[0] < l1[1]) {
        machine_.objects.set_heap(l1[0], l1[1]);
    }
    if (l2_known && l2[0] < l2[1]) {
        machine_.objects.set_heap(l2[0], l2[1]);
    }
}

// A call or a return: into a kernel, of an allocator, or of no interest.
void Checker::jumped(Core& core) {
    const uint32_t target = core.next->address;
    std::vector<Call>& calls = calls_[core.index];
    if (!calls.empty() && calls.back().return_address == target) {
        const Call call = calls.back();
        calls.pop_back();
        const uint32_t result = core.x[first_argument];
        if ((call.what == Allocator::TakesFirst || call.what == Allocator::TakesSecond) && result != 0 && calls.empty()) {
            machine_.objects.allocated(result, call.size);
        }
        return;
    }
    if (machine_.objects.is_kernel(target)) {
        machine_.objects.enter_kernel(core.index, target, core.x[first_argument + 1]);
        ++kernels_entered_[core.index];
        return;
    }
    const auto found = allocators_.find(target);
    if (found == allocators_.end() || calls.size() == most_calls) {
        return;
    }
    const bool second = found->second == Allocator::TakesSecond || found->second == Allocator::GivesSecond;
    const uint32_t argument = core.x[first_argument + (second ? 1 : 0)];
    if (found->second == Allocator::GivesFirst || found->second == Allocator::GivesSecond) {
        machine_.objects.freed(argument);
    }
    calls.push_back({found->second, core.x[return_register], argument});
}

// Changes whenever the objects that a core sees may.
inline uint64_t Checker::generation(uint32_t core) const {
    return static_cast<uint64_t>(machine_.objects.generation()) << 32 | kernels_entered_[core];
}

void Checker::check_bounds(Core& core, uint32_t address, uint32_t size, std::vector<Report>* deferred) {
    Walk& walk = walks_[core.index][core.pc() >> 1 & 255];
    if (walk.pc != core.pc() || !walk.extent.holds(address, size) || walk.generation != generation(core.index)) {
        leave_object(core, address, size, deferred, walk);
    } else {
        walk.origin = origins_[core.index][core.current->rs1 & 31];
    }
}

void Checker::leave_object(Core& core, uint32_t address, uint32_t size, std::vector<Report>* deferred, Walk& walk) {
    // Allocators work on memory that is nobody's, and the program's start clears all of it at once.
    const bool clears = deferred == nullptr && core.is_fabric_controller && core.x[core.current->rs2] == 0;
    if (!calls_[core.index].empty() || clears) {
        return;
    }
    const Instruction& instruction = *core.current;
    const uint32_t origin = origins_[core.index][instruction.rs1 & 31];
    const bool same = walk.pc == instruction.address && walk.origin == origin && walk.generation == generation(core.index);
    const Extent here = machine_.objects.around(core.index, address);
    uint32_t outside = address, beyond = 0;
    bool left = here.is_gap();
    if (same && walk.extent.is_object() && !walk.extent.holds(address, 1)) {
        left = true;
        beyond = address < walk.extent.low ? walk.extent.low : walk.extent.high - 1;
    } else if (here.is_object() && !here.holds(address, size)) {
        left = true;
        outside = here.high;
        beyond = address;
    }
    if (left) {
        const Report found(ReportKind::OutOfBounds, outside, size - (outside - address),
                           {core.index, instruction.address, machine_.now(), deferred == nullptr}, {}, beyond);
        if (deferred != nullptr) {
            deferred->push_back(found);
        } else {
            report(found);
        }
    }
    walk = {instruction.address, origin, generation(core.index), here};
}

void Checker::check_run(uint32_t thread, uint32_t pc, uint32_t address, uint32_t size, bool write) {
    const AccessRecord by{thread, pc, machine_.now(), write,
                          issuer_of({clocks_[thread].at[thread], pc, 0, static_cast<uint8_t>(thread), 0})};
    const Extent here = machine_.objects.around(by.issuer, address);
    if (here.is_gap()) {
        report({ReportKind::OutOfBounds, address, size, by});
    } else if (here.is_object() && !here.holds(address, size)) {
        report({ReportKind::OutOfBounds, here.high, address + size - here.high, by, {}, address});
    }
}

}  // namespace sim
