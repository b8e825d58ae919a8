// Where cycles go.
#pragma once

#include <cstdint>

#include "core.hpp"

namespace sim {

class Profiler {
public:
    void executed(Core&, const Instruction&, int64_t, int32_t, int32_t, int32_t) {}
    void woke(Core&, int64_t) {}
    void finish(Machine&, int64_t) {}
};

}  // namespace sim
