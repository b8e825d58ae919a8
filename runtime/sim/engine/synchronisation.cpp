// The checker's view of synchronisation: who learns of whose accesses, and when.
#include "checker.hpp"
#include "machine.hpp"

namespace sim {

// What a thread did so far is known to whoever acquires `into`; what it does next is not.
void Checker::release(uint32_t thread, VectorClock& into) {
    into.join(clocks_[thread]);
    tick(thread);
}

void Checker::declare_flag(uint32_t address, uint32_t size) {
    for_words(address, size, [this](uint32_t word, uint8_t) {
        cell(word).flag = true;
        flag_clocks_[word];
    });
}

// Test and set: the word becomes a flag for good; taking it learns from who let it go.
void Checker::synchronising_access(Core& core, uint32_t address, uint32_t size) {
    declare_flag(address, size);
    cell(address & ~3u).written = 15;
    VectorClock& clock = flag_clocks_[address & ~3u];
    acquire(core.index, clock);
    release(core.index, clock);
}

void Checker::barrier_arrive(uint32_t barrier) { release(actor_, barrier_clocks_[barrier]); }

void Checker::barrier_complete(uint32_t barrier, uint32_t target_mask) {
    for (uint32_t core = 0; core < machine_.configuration.cluster_cores(); ++core) {
        if (target_mask == 0 || (target_mask >> core & 1) != 0) {
            event_clocks_[core].join(barrier_clocks_[barrier]);
        }
    }
    barrier_clocks_[barrier] = VectorClock{};
}

void Checker::event_raised(uint32_t core) { release(actor_, event_clocks_[core]); }
void Checker::core_woken(uint32_t core) { acquire(core, event_clocks_[core]); }
void Checker::mutex_locked(uint32_t mutex) { acquire(actor_, mutex_clocks_[mutex]); }
void Checker::mutex_unlocked(uint32_t mutex) { release(actor_, mutex_clocks_[mutex]); }
void Checker::dispatch_pushed(uint32_t entry) { release(actor_, dispatch_clocks_[entry]); }
void Checker::dispatch_popped(uint32_t entry) { acquire(actor_, dispatch_clocks_[entry]); }

void Checker::controller_synchronises(Core& core) {
    acquire(core.index, controller_clock_);
    release(core.index, controller_clock_);
}

void Checker::cores_started(Core& core, uint32_t mask) {
    for (uint32_t i = 0; i < machine_.configuration.cluster_cores(); ++i) {
        if ((mask >> i & 1) != 0) {
            acquire(i, clocks_[core.index]);
        }
    }
    tick(core.index);
}

// A transfer is a thread of its own from its command to the wait for it: it may touch its bytes at any
// time in between.
void Checker::dma_started(Core& core, Mchan::Command& command) {
    const uint32_t thread = max_cores + next_dma_thread_;
    next_dma_thread_ = (next_dma_thread_ + 1) % dma_threads;
    command.thread = thread;
    const uint32_t clock = clocks_[thread].at[thread];
    acquire(thread, clocks_[core.index]);
    clocks_[thread].at[thread] = clock + 1;
    tick(core.index);
    const uint32_t local = machine_.configuration.l1_base + command.local;
    const uint32_t pc = command.issue_address;
    // Bytes that nobody wrote stay so at the other end.
    std::vector<bool> written;
    written.reserve(command.size);
    const auto read = [&](uint32_t address, uint32_t size) {
        for_words(address, size, [&](uint32_t word, uint8_t bytes) {
            read_word(thread, pc, word, bytes, nullptr);
            for (uint32_t byte = 0; byte < 4; ++byte) {
                if ((bytes >> byte & 1) != 0) {
                    written.push_back((cell(word).written >> byte & 1) != 0);
                }
            }
        });
    };
    size_t position = 0;
    const auto write = [&](uint32_t address, uint32_t size) {
        for_words(address, size, [&](uint32_t word, uint8_t bytes) {
            write_word(thread, pc, word, bytes);
            for (uint32_t byte = 0; byte < 4; ++byte) {
                if ((bytes >> byte & 1) != 0 && !written[position++]) {
                    cell(word).written &= static_cast<uint8_t>(~(1u << byte));
                }
            }
        });
    };
    const auto for_lines = [&](const auto& visit) {
        uint32_t left = command.size, external = command.external;
        while (left != 0) {
            const uint32_t line = command.is_2d ? std::min(left, command.length) : left;
            visit(external, line);
            left -= line;
            external += command.stride;
        }
    };
    if (command.to_l1) {
        for_lines(read);
        write(local, command.size);
    } else {
        read(local, command.size);
        for_lines(write);
    }
}

void Checker::dma_finished(const Mchan::Command& command) {
    counter_clocks_[command.counter].join(clocks_[command.thread]);
    actor_ = command.thread;
}

void Checker::dma_status_read(Core& core, uint32_t status) {
    for (uint32_t counter = 0; counter < dma_counters; ++counter) {
        if ((status >> counter & 1) == 0) {
            acquire(core.index, counter_clocks_[counter]);
        }
    }
}

}  // namespace sim
