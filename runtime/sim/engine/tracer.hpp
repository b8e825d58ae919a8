// A trace for Chrome's and Perfetto's viewers: a track per core with the functions that it runs and what
// it waits for, a track per DMA counter with the transfers. Events go to the file as they come.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "core.hpp"
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
    // Completes the file; a run that goes on appends to it.
    void finish(int64_t end);
    // Begins the file anew.
    void restart();

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
    void begin();
    void put(const std::string& text);
    [[noreturn]] void fail(const char* what) const;
    double microseconds(int64_t cycle) const;

    Machine& machine_;
    std::string path_;
    std::FILE* file_ = nullptr;
    bool first_ = true;
    bool recorded_ = false;     // something of a run is in the file
    bool finished_ = false;
    std::vector<Track> tracks_;
};

}  // namespace sim
