// A trace for Chrome's and Perfetto's viewers: a track per core with the functions that it runs and what
// it waits for, a track per DMA counter with the transfers, and one each for the L3 engine and the barriers
// that are used. Events go to the file as they come.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "core.hpp"
#include "external_memory.hpp"
#include "mchan.hpp"

namespace sim {

class Machine;

class Tracer {
public:
    // Throws Fault when the file cannot be written.
    Tracer(Machine& machine, const std::string& path);
    ~Tracer();
    Tracer(const Tracer&) = delete;
    Tracer& operator=(const Tracer&) = delete;

    void executed(const Core& core, const Instruction& instruction, int64_t time);
    void woke(const Core& core, int64_t now);
    void transferred(const Mchan::Command& command, int64_t now);
    void transferred(const ExternalMemory::Transfer& transfer, int64_t now);
    // A core has arrived at a barrier; the last one completes it.
    void arrived(uint32_t barrier, bool complete, int64_t now);
    void finish(int64_t end);

private:
    struct Track {
        int64_t since = -1;
        const void* symbol = nullptr;
        std::string name;
        bool waiting = false;
    };
    void slice(uint32_t track, const std::string& name, const char* category, int64_t begin, int64_t end,
               const std::string& arguments);
    void close(uint32_t core, int64_t end);
    void put(const std::string& text);
    void name_track(uint32_t track, const std::string& text);
    double microseconds(int64_t cycle) const;

    Machine& machine_;
    std::string path_;
    std::FILE* file_ = nullptr;
    bool first_ = true;
    std::vector<Track> tracks_;
    std::array<int64_t, barrier_count> first_arrivals_;     // -1 while no core waits
    std::set<uint32_t> named_;                              // tracks that have their name
};

}  // namespace sim
