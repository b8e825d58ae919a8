// Errors that end a run. Each kind has its own Python exception and exit code.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace sim {

enum class FaultKind {
    Elf,            // not an ELF, wrong machine, segment outside memory
    BadAccess,      // unmapped address, forbidden size or alignment
    Instruction,    // unknown instruction
    CycleLimit,     // max_cycles reached
    Deadlock,       // every core sleeps and nothing is in flight
    Interrupted,    // Ctrl-C
    Trace,          // the trace cannot be written
};

class Fault : public std::runtime_error {
public:
    Fault(FaultKind kind, const std::string& message) : std::runtime_error(message), kind(kind) {}
    FaultKind kind;
};

}  // namespace sim
