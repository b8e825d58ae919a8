// Where the cycles of each core go, by function and by cause. Every cycle from a core's start to the end
// of the run is counted once.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "core.hpp"

namespace sim {

class Machine;

class Profiler {
public:
    explicit Profiler(Machine& machine);
    void reset();
    void executed(const Core& core, const Instruction& instruction, int64_t time, int32_t fetch, int32_t contention,
                  int32_t load_use);
    void woke(const Core& core, int64_t now);
    void finish(int64_t end);

    struct Entry {
        uint64_t instructions = 0;
        std::array<int64_t, cause_count> cycles{};
    };
    // By core, then by function; as of the end of the last run.
    const std::vector<std::vector<Entry>>& entries() const { return finished_; }
    const std::vector<std::string>& functions() const { return functions_; }
    uint32_t function_of(uint32_t address);

private:
    struct Running {
        int64_t until = 0;      // cycles up to here are accounted for
        uint32_t function = 0;
        std::array<int64_t, cause_count> last{};    // how the last instruction was accounted
        bool sleeping = false;
        int64_t slept_at = 0;
        Cause sleep_cause = CauseSleep;
    };
    Entry& entry(uint32_t core, uint32_t function);

    Machine& machine_;
    std::vector<std::vector<Entry>> entries_, finished_;
    std::vector<Running> running_;
    std::vector<std::string> functions_;
    std::unordered_map<uint32_t, std::vector<uint32_t>> pages_;     // function of each halfword, plus one
    std::unordered_map<std::string, uint32_t> numbers_;
};

// Names of the causes, in the order of Cause.
extern const std::array<const char*, cause_count> cause_names;

}  // namespace sim
