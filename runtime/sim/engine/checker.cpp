#include "checker.hpp"

#include "machine.hpp"

namespace sim {

namespace {
constexpr uint32_t page_words = 1024;
constexpr size_t most_reports = 1000;
}  // namespace

Checker::Checker(Machine& machine)
    : machine_(machine), clocks_(max_threads), event_clocks_(max_cores), barrier_clocks_(16), mutex_clocks_(16),
      dispatch_clocks_(16), counter_clocks_(dma_counters), stacks_(max_cores), first_stack_pointer_(max_cores, 0),
      walks_(max_cores), deferred_(max_cores) {
    find_allocators();
    reset();
}

// Cores and devices start again; memory keeps what was written to it.
void Checker::reset() {
    for (auto& [number, page] : pages_) {
        (void)number;
        for (Cell& cell : page->cells) {
            cell.write = cell.read = Epoch{};
            cell.readers = 0;
        }
    }
    readers_.clear();
    free_readers_.clear();
    for (auto* group : {&clocks_, &event_clocks_, &barrier_clocks_, &mutex_clocks_, &dispatch_clocks_, &counter_clocks_}) {
        std::fill(group->begin(), group->end(), VectorClock{});
    }
    for (uint32_t thread = 0; thread < max_threads; ++thread) {
        clocks_[thread].at[thread] = 1;
    }
    controller_clock_ = external_clock_ = VectorClock{};
    external_.clear();
    served_.fill(ExternalTransfer{});
    dma_.fill(DmaTransfer{});
    for (auto& [word, clock] : flag_clocks_) {
        (void)word;
        clock = VectorClock{};
    }
    std::fill(first_stack_pointer_.begin(), first_stack_pointer_.end(), 0);
    for (auto& walks : walks_) {
        walks.fill(Walk{});
    }
    for (auto& calls : calls_) {
        calls.clear();
    }
    reports_.clear();
    seen_.clear();
    find_stacks();
}

Checker::Cell& Checker::cell(uint32_t word_address) {
    const uint32_t number = word_address / (4 * page_words);
    if (number != last_page_number_) {
        std::unique_ptr<Page>& page = pages_[number];
        if (!page) {
            page = std::make_unique<Page>();
            page->cells.resize(page_words);
        }
        last_page_number_ = number;
        last_page_ = page.get();
    }
    return last_page_->cells[word_address / 4 % page_words];
}

// ---- reports ----

void Checker::report(const Report& found) {
    // The same pair of instructions is one report, however often it meets.
    const uint32_t other = found.kind == ReportKind::OutOfBounds ? found.access.write : found.other.pc;
    const auto key = std::make_tuple(found.kind, found.access.pc, other,
                                     found.kind == ReportKind::Race || found.kind == ReportKind::OutOfBounds ? 0 : found.address & ~63u);
    const auto seen = seen_.find(key);
    if (seen != seen_.end()) {
        ++reports_[seen->second].count;
        return;
    }
    if (reports_.size() >= most_reports) {
        return;
    }
    seen_[key] = reports_.size();
    reports_.push_back(found);
    Report& last = reports_.back();
    const uint32_t core = found.access.thread < max_cores ? found.access.thread : found.access.issuer;
    last.name = machine_.where(found.address, core);
    if (found.beyond != 0) {
        last.beyond_name = machine_.where(found.beyond, core);
    }
}

Report Checker::race(uint32_t word, uint8_t bytes, uint32_t thread, uint32_t pc, bool write, const Epoch& other, bool other_write) {
    const uint32_t overlap = static_cast<uint32_t>(bytes & other.bytes);
    const uint32_t first = static_cast<uint32_t>(__builtin_ctz(overlap));
    return {ReportKind::Race, word + first, static_cast<uint32_t>(__builtin_popcount(overlap)),
            {thread, pc, machine_.now(), write, issuer_of({clocks_[thread].at[thread], pc, 0, static_cast<uint8_t>(thread), bytes})},
            {other.thread, other.pc, other.cycle, other_write, issuer_of(other)}};
}

void Checker::used(Core& core, const Instruction& instruction) {
    uint64_t uses = core.doubtful & instruction.inputs;
    if (instruction.kind == Kind::Store && instruction.rs1 != instruction.rs2) {
        uses &= ~(uint64_t{1} << instruction.rs2);       // the doubt goes along into memory
    }
    while (uses != 0) {
        const uint32_t reg = static_cast<uint32_t>(__builtin_ctzll(uses));
        uses &= uses - 1;
        for (const Report& found : deferred_[core.index][reg]) {
            report(found);
        }
        core.doubtful &= ~(uint64_t{1} << reg);
    }
}

// ---- one access to one word ----

void Checker::read_word(uint32_t thread, uint32_t pc, uint32_t word, uint8_t bytes, std::vector<Report>* deferred) {
    Cell& here = cell(word);
    if (here.flag && deferred != nullptr) {
        acquire(thread, flag_clocks_[word]);
        return;
    }
    const uint8_t unwritten = static_cast<uint8_t>(bytes & ~here.written);
    if (unwritten != 0 && deferred != nullptr) {
        deferred->push_back({ReportKind::Unwritten, word + static_cast<uint32_t>(__builtin_ctz(unwritten)),
                             static_cast<uint32_t>(__builtin_popcount(unwritten)),
                             {thread, pc, machine_.now(), false}});
    }
    const uint32_t clock = clocks_[thread].at[thread];
    if (here.read.clock == clock && here.read.thread == thread && (bytes & ~here.read.bytes) == 0) {
        return;     // seen in this epoch
    }
    if ((here.write.bytes & bytes) != 0 && !ordered(here.write, thread)) {
        const Report found = race(word, bytes, thread, pc, false, here.write, true);
        if (deferred != nullptr) {
            deferred->push_back(found);
        } else {
            report(found);
        }
    }
    const Epoch now{clock, pc, static_cast<uint32_t>(machine_.now()), static_cast<uint8_t>(thread), bytes};
    if (here.readers != 0) {
        for (Epoch& reader : readers_[here.readers - 1]) {
            if (reader.thread == thread) {
                const uint8_t before = reader.clock == clock ? reader.bytes : 0;
                reader = now;
                reader.bytes |= before;
                return;
            }
        }
        readers_[here.readers - 1].push_back(now);
    } else if (here.read.clock == 0 || ordered(here.read, thread)) {
        const uint8_t before = here.read.clock == clock && here.read.thread == thread ? here.read.bytes : 0;
        here.read = now;
        here.read.bytes |= before;
    } else {
        if (free_readers_.empty()) {
            readers_.emplace_back();
            free_readers_.push_back(static_cast<uint32_t>(readers_.size()));
        }
        here.readers = free_readers_.back();
        free_readers_.pop_back();
        readers_[here.readers - 1].assign(1, now);
    }
}

void Checker::write_word(uint32_t thread, uint32_t pc, uint32_t word, uint8_t bytes) {
    Cell& here = cell(word);
    here.written |= bytes;
    if (here.flag && thread < max_cores) {
        release(thread, flag_clocks_[word]);
        return;
    }
    const uint32_t clock = clocks_[thread].at[thread];
    if ((here.write.bytes & bytes) != 0 && !ordered(here.write, thread)) {
        report(race(word, bytes, thread, pc, true, here.write, true));
    }
    if ((here.read.bytes & bytes) != 0 && !ordered(here.read, thread)) {
        report(race(word, bytes, thread, pc, true, here.read, false));
    }
    if (here.readers != 0) {
        for (const Epoch& reader : readers_[here.readers - 1]) {
            if ((reader.bytes & bytes) != 0 && !ordered(reader, thread)) {
                report(race(word, bytes, thread, pc, true, reader, false));
            }
        }
        free_readers_.push_back(here.readers);
        here.readers = 0;
    }
    here.read = Epoch{};
    const uint8_t before = here.write.clock == clock && here.write.thread == thread ? here.write.bytes : 0;
    here.write = {clock, pc, static_cast<uint32_t>(machine_.now()), static_cast<uint8_t>(thread),
                  static_cast<uint8_t>(bytes | before)};
}

// ---- accesses ----

void Checker::host_wrote(uint32_t address, uint32_t size) {
    for_words(address, size, [this](uint32_t word, uint8_t bytes) {
        Cell& here = cell(word);
        here.written |= bytes;
        here.write = here.read = Epoch{};
    });
}

void Checker::load(Core& core, uint32_t address, uint32_t size) {
    set_actor(core.index);
    check_stack(core, address, size, false);
    std::vector<Report>& deferred = deferred_[core.index][core.current->rd];
    deferred.clear();
    check_bounds(core, address, size, &deferred);
    if (!deferred.empty()) {
        core.loaded_doubtful = true;
        return;     // what else may be wrong with a byte of something else is its owner's matter
    }
    for_words(address, size, [&](uint32_t word, uint8_t bytes) { read_word(core.index, core.pc(), word, bytes, &deferred); });
    core.loaded_doubtful = !deferred.empty();
}

void Checker::store(Core& core, uint32_t address, uint32_t size) {
    set_actor(core.index);
    check_stack(core, address, size, true);
    check_bounds(core, address, size, nullptr);
    const bool doubtful = (core.doubtful >> core.current->rs2 & 1) != 0;
    for_words(address, size, [&](uint32_t word, uint8_t bytes) {
        write_word(core.index, core.pc(), word, bytes);
        if (doubtful) {
            cell(word).written &= static_cast<uint8_t>(~bytes);
        }
    });
}

// ---- stacks ----

void Checker::set_stack(uint32_t core, uint32_t low, uint32_t high) { stacks_[core] = {low, high}; }

// Stacks as this project's own programs lay them out: equal parts of the top of L1, and the private L2.
void Checker::find_stacks() {
    uint32_t low = 0, high = 0, controller = 0;
    for (const Symbol& symbol : machine_.elf.symbols) {
        if (symbol.name == "_l1_heap_end") {
            low = symbol.address;
        } else if (symbol.name == "_l1_end") {
            high = symbol.address;
        } else if (symbol.name == "_fc_stack_top") {
            controller = symbol.address;
        }
    }
    const uint32_t private_base = machine_.configuration.l2_private_base;
    if (controller > private_base && controller - private_base <= machine_.configuration.l2_private_bytes) {
        stacks_[machine_.configuration.cluster_cores()] = {private_base, controller};
    }
    const uint32_t cores = machine_.configuration.worker_cores;
    if (low == 0 || high <= low || (high - low) % cores != 0) {
        return;
    }
    const uint32_t size = (high - low) / cores;
    for (uint32_t i = 0; i < cores; ++i) {
        stacks_[i] = {high - (i + 1) * size, high - i * size};
    }
}

// Accesses relative to the stack pointer stay in the core's own stack. Where nobody said what that is, they
// at least do not reach down to where another core's stack began.
void Checker::check_stack(Core& core, uint32_t address, uint32_t size, bool write) {
    if (core.current == nullptr || core.current->rs1 != stack_pointer) {
        return;
    }
    const uint32_t pointer = core.x[stack_pointer];
    if (first_stack_pointer_[core.index] == 0) {
        first_stack_pointer_[core.index] = pointer;
    }
    bool outside = false;
    const Stack& stack = stacks_[core.index];
    if (stack.high != 0) {
        outside = address < stack.low || address + size > stack.high;
    } else {
        for (uint32_t other = 0; other < max_cores; ++other) {
            const uint32_t began = first_stack_pointer_[other];
            outside = outside || (other != core.index && began < first_stack_pointer_[core.index] && address < began &&
                                  began != 0 && began - address < 0x10000);
        }
    }
    if (outside) {
        report({ReportKind::StackOverflow, address, size, {core.index, core.pc(), machine_.now(), write}});
    }
}

}  // namespace sim
