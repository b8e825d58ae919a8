// Checks of memory use: placeholder interface of the checks, filled in by checker.cpp.
#pragma once

#include <cstdint>

namespace sim {

class Machine;
struct Core;

class Checker {
public:
    explicit Checker(Machine& machine) : machine_(machine) {}
    void reset() {}
    void host_wrote(uint32_t, uint32_t) {}
    void load(Core&, uint32_t, uint32_t) {}
    void store(Core&, uint32_t, uint32_t) {}
    void synchronising_access(Core&, uint32_t, uint32_t) {}
    void event_unit_access(Core&, uint32_t, bool) {}
    void event_unit_release(Core&, uint32_t) {}
    void dma_status_read(Core&, uint32_t) {}
    void controller_synchronises(Core&) {}
    void cores_started(Core&, uint32_t) {}

private:
    [[maybe_unused]] Machine& machine_;
};

}  // namespace sim
