/* Performance counters: the core's event counters, and the cycle counter, which also runs while it sleeps. */
#include "pmsis.h"

/* Cycle counter of a core: what was counted before the last start, and when that was. The last is the FC's. */
static struct {
  uint32_t counted, started, running;
} cycles[PULP_CORES + 1];

static uint32_t self(void) { return pi_is_fc() ? PULP_CORES : pi_core_id(); }

void pi_perf_conf(unsigned events) { __asm__ volatile("csrw 0xCC0, %0" ::"r"(events & 0x1ffff)); }

void pi_perf_reset(void) {
  uint32_t core = self();
  __asm__ volatile("csrw 0x79F, x0");
  cycles[core].counted = 0;
  cycles[core].started = cycle_counter();
}

void pi_perf_start(void) {
  uint32_t core = self();
  cycles[core].running = 1;
  cycles[core].started = cycle_counter();
  __asm__ volatile("csrw 0xCC1, %0" ::"r"(1));
}

void pi_perf_stop(void) {
  uint32_t now = cycle_counter(), core = self();
  __asm__ volatile("csrw 0xCC1, x0");
  if (cycles[core].running) cycles[core].counted += now - cycles[core].started;
  cycles[core].running = 0;
}

unsigned int pi_perf_read(int event) {
#define COUNTER(number)                                                                                      \
  case number: {                                                                                             \
    uint32_t value;                                                                                          \
    __asm__ volatile("csrr %0, 0x780 + " #number : "=r"(value));                                             \
    return value;                                                                                            \
  }
  switch (event) {
    COUNTER(0)
    COUNTER(1)
    COUNTER(2)
    COUNTER(3)
    COUNTER(4)
    COUNTER(5)
    COUNTER(6)
    COUNTER(7)
    COUNTER(8)
    COUNTER(9)
    COUNTER(10)
    COUNTER(12)
    COUNTER(13)
    COUNTER(14)
    COUNTER(15)
    COUNTER(16)
    case PI_PERF_CYCLES: {
      uint32_t now = cycle_counter(), core = self();
      return cycles[core].counted + (cycles[core].running ? now - cycles[core].started : 0);
    }
    default: return 0;
  }
}
