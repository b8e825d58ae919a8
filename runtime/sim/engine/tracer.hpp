// A trace of the run for Chrome or Perfetto.
#pragma once

#include <cstdint>

#include "core.hpp"

namespace sim {

class Tracer {
public:
    void executed(Core&, const Instruction&, int64_t) {}
    void woke(Core&, int64_t) {}
    void finish(int64_t) {}
};

}  // namespace sim
