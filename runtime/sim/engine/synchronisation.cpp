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
uint32_t Checker::begin_transfer(uint32_t thread, const Core& core) {
    const uint32_t clock = clocks_[thread].at[thread] + 1;
    acquire(thread, clocks_[core.index]);
    clocks_[thread].at[thread] = clock;
    return clock;
}

// The accesses of a transfer. Bytes that nobody wrote stay so at the other end.
template <typename ForSource, typename ForTarget>
void Checker::move(uint32_t thread, uint32_t pc, uint32_t size, ForSource for_source, ForTarget for_target) {
    std::vector<bool> written;
    written.reserve(size);
    for_source([&](uint32_t address, uint32_t bytes_here) {
        check_run(thread, pc, address, bytes_here, false);
        for_words(address, bytes_here, [&](uint32_t word, uint8_t bytes) {
            read_word(thread, pc, word, bytes, nullptr);
            for (uint32_t byte = 0; byte < 4; ++byte) {
                if ((bytes >> byte & 1) != 0) {
                    written.push_back((cell(word).written >> byte & 1) != 0);
                }
            }
        });
    });
    size_t position = 0;
    for_target([&](uint32_t address, uint32_t bytes_here) {
        check_run(thread, pc, address, bytes_here, true);
        for_words(address, bytes_here, [&](uint32_t word, uint8_t bytes) {
            write_word(thread, pc, word, bytes);
            for (uint32_t byte = 0; byte < 4; ++byte) {
                if ((bytes >> byte & 1) != 0 && !written[position++]) {
                    cell(word).written &= static_cast<uint8_t>(~(1u << byte));
                }
            }
        });
    });
}

void Checker::dma_started(Core& core, Mchan::Command& command) {
    const uint32_t thread = max_cores + next_dma_thread_;
    const uint32_t clock = begin_transfer(thread, core);
    dma_[next_dma_thread_] = {core.index, clock};
    next_dma_thread_ = (next_dma_thread_ + 1) % dma_threads;
    command.thread = thread;
    tick(core.index);
    const auto in_l1 = [&](const auto& visit) { visit(machine_.configuration.l1_base + command.local, command.size); };
    const auto outside = [&](const auto& visit) {
        uint32_t left = command.size, external = command.external;
        while (left != 0) {
            const uint32_t line = command.is_2d ? std::min(left, command.length) : left;
            visit(external, line);
            left -= line;
            external += command.stride;
        }
    };
    if (command.to_l1) {
        move(thread, command.issue_address, command.size, outside, in_l1);
    } else {
        move(thread, command.issue_address, command.size, in_l1, outside);
    }
}

uint32_t Checker::issuer_of(const Epoch& epoch) const {
    if (epoch.thread >= first_external_thread) {
        return epoch.thread - first_external_thread;
    }
    if (epoch.thread < max_cores) {
        return no_core;
    }
    const DmaTransfer& transfer = dma_[epoch.thread - max_cores];
    return transfer.clock == epoch.clock ? transfer.issuer : no_core;   // the thread may serve another one by now
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

// L3 transfers of one core are one thread, since they are served in order. Those of different cores are in
// order where the start of one is known to happen before the start of the other.
void Checker::external_started(Core& core, const ExternalMemory::Transfer& transfer) {
    const uint32_t thread = first_external_thread + core.index;
    VectorClock& own = clocks_[thread];
    const auto follow = [&](const ExternalTransfer& earlier) {
        if (earlier.issuer != no_core && earlier.started <= clocks_[core.index].at[earlier.issuer]) {
            own.join(earlier.clock);
        }
    };
    for (const ExternalTransfer& earlier : served_) {
        follow(earlier);
    }
    for (const ExternalTransfer& earlier : external_) {
        follow(earlier);
    }
    begin_transfer(thread, core);
    external_.push_back({core.index, clocks_[core.index].at[core.index], own});
    tick(core.index);
    const auto inside = [&](const auto& visit) { visit(transfer.internal, transfer.size); };
    const auto outside = [&](const auto& visit) {
        visit(machine_.configuration.l3_base + transfer.external, transfer.size);
    };
    if (transfer.to_l3) {
        move(thread, transfer.issue_address, transfer.size, inside, outside);
    } else {
        move(thread, transfer.issue_address, transfer.size, outside, inside);
    }
}

void Checker::external_finished() {
    const ExternalTransfer& finished = external_.front();
    external_clock_.join(finished.clock);
    controller_clock_.join(finished.clock);     // its end is an interrupt
    served_[finished.issuer] = finished;
    external_.pop_front();
}

void Checker::external_status_read(Core& core) { acquire(core.index, external_clock_); }
void Checker::controller_woken(Core& core) { acquire(core.index, controller_clock_); }
void Checker::interrupt_raised() { release(actor_, controller_clock_); }

}  // namespace sim
