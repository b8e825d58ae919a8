/* What generated kernels call: barrier, DMA by slots, cycle counter.
 *
 * The same calls work on bare metal (bare_metal/pmsis.h, straight to the DMA's registers) and with the PULP
 * SDK (its pmsis.h, by pi_cl_dma_cmd).
 *
 * DMA: only core 0 starts and waits. A slot (0 … PULP_DMA_SLOTS - 1) carries any number of transfers, and
 * dma_wait(slot) waits for all of them; transfers of different slots run in any order. */
#ifndef PULP_RUNTIME_H
#define PULP_RUNTIME_H

#include "pmsis.h"

#include "pulp_config.h"

#define PULP_DMA_SLOTS 16
#define PULP_DMA_IDS 16 /* transfers that the hardware tells apart */

#define DMA_L1_TO_L2 0
#define DMA_L2_TO_L1 1

#ifdef PULP_BARE_METAL
/* Memory that the start-up code leaves alone, so that it lives on when the program is started again. */
#define PULP_PERSISTENT __attribute__((section(".bss.persistent-memory"), aligned(16)))
#define PULP_DMA_LIMIT DMA_COMMAND_LIMIT
#else
#define PULP_PERSISTENT PI_L2 __attribute__((aligned(16)))
#define PULP_DMA_LIMIT 0xFFF0 /* the SDK passes the size as an unsigned short */
#endif

/* No transfer is longer than L1, so that most targets never need to split one. */
#define PULP_DMA_SPLITS (PULP_L1_BYTES > PULP_DMA_LIMIT + 16)

/* All workers wait until all have come. */
static inline void cluster_barrier(void) { pi_cl_team_barrier(); }

#ifdef PULP_BARE_METAL

static inline uint32_t pulp_cycles(void) { return cycle_counter(); }
static inline void pulp_cycles_start(void) {}

/* The transfers in flight. Consecutive transfers of one slot share an id: the hardware counts their bytes
 * together, so that a run of them needs one id only. All zero = nothing in flight. */
struct pulp_dma {
  int open_slot;                /* slot + 1 to which the last allocated id belongs, 0 = none */
  uint32_t allocated;           /* ids, a bit each */
  uint32_t ids[PULP_DMA_SLOTS]; /* of the transfers of a slot, a bit each */
};
extern struct pulp_dma pulp_dma;

/* Wait for everything in flight. */
void pulp_dma_wait_for_all(void);

/* Have the next command counted for the slot: allocate an id unless the last one is the slot's. Returns the id
 * as a bit, 0 if none was needed, for pulp_dma_note, which can wait until the transfer runs. */
static inline uint32_t pulp_dma_open(int slot) {
  if (pulp_dma.open_slot == slot + 1) return 0;
  if (__builtin_expect(pulp_dma.allocated == (1u << PULP_DMA_IDS) - 1, 0)) pulp_dma_wait_for_all();
  return 1u << REGISTER(DMA_QUEUE);
}

static inline void pulp_dma_note(int slot, uint32_t bit) {
  if (!bit) return;
  pulp_dma.open_slot = slot + 1;
  pulp_dma.allocated |= bit;
  pulp_dma.ids[slot] |= bit;
}

static inline void pulp_dma_command(int slot, uint32_t l1, uint32_t l2, uint32_t bytes, int direction) {
  const uint32_t bit = pulp_dma_open(slot);
  REGISTER(DMA_QUEUE) = DMA_COMMAND(bytes, direction, 0);
  REGISTER(DMA_QUEUE) = l1;
  REGISTER(DMA_QUEUE) = l2;
  pulp_dma_note(slot, bit);
}

static inline void pulp_dma_command_2d(int slot, uint32_t l1, uint32_t l2, uint32_t bytes, uint32_t stride,
                                       uint32_t line, int direction) {
  const uint32_t bit = pulp_dma_open(slot);
  REGISTER(DMA_QUEUE) = DMA_COMMAND(bytes, direction, 1);
  REGISTER(DMA_QUEUE) = l1;
  REGISTER(DMA_QUEUE) = l2;
  REGISTER(DMA_QUEUE) = line;
  REGISTER(DMA_QUEUE) = stride;
  pulp_dma_note(slot, bit);
}

/* Wait for all transfers of the slot; none is fine. */
static inline void dma_wait(int slot) {
  const uint32_t ids = pulp_dma.ids[slot];
  pulp_dma.ids[slot] = 0;
  pulp_dma.allocated &= ~ids;
  pulp_dma.open_slot = 0;
  dma_wait_for_ids(ids);
}

#else

static inline uint32_t pulp_cycles(void) { return pi_perf_read(PI_PERF_CYCLES); }
static inline void pulp_cycles_start(void) {
  pi_perf_conf(1u << PI_PERF_CYCLES);
  pi_perf_reset();
  pi_perf_start();
}

/* The transfers in flight: a command each, a bit each. */
struct pulp_dma {
  uint32_t allocated;
  uint32_t ids[PULP_DMA_SLOTS];
  pi_cl_dma_cmd_t commands[PULP_DMA_IDS];
};
extern struct pulp_dma pulp_dma;

/* A free command for the slot; where none is left, wait for everything in flight first. */
pi_cl_dma_cmd_t *pulp_dma_allocate(int slot);

static inline void pulp_dma_command(int slot, uint32_t l1, uint32_t l2, uint32_t bytes, int direction) {
  pi_cl_dma_cmd(l2, l1, bytes, direction ? PI_CL_DMA_DIR_EXT2LOC : PI_CL_DMA_DIR_LOC2EXT, pulp_dma_allocate(slot));
}

static inline void pulp_dma_command_2d(int slot, uint32_t l1, uint32_t l2, uint32_t bytes, uint32_t stride,
                                       uint32_t line, int direction) {
  pi_cl_dma_cmd_2d(l2, l1, bytes, stride, line, direction ? PI_CL_DMA_DIR_EXT2LOC : PI_CL_DMA_DIR_LOC2EXT,
                   pulp_dma_allocate(slot));
}

/* Wait for all transfers of the slot; none is fine. */
void dma_wait(int slot);

#endif

/* Transfers that are longer than one command can be, in pieces. */
void pulp_dma_split_1d(int slot, uint32_t l1, uint32_t l2, uint32_t bytes, int direction);
void pulp_dma_split_2d(int slot, uint32_t l1, uint32_t l2, uint32_t bytes, uint32_t stride, uint32_t line,
                       int direction);

/* Start a transfer of bytes bytes between L1 and L2 (direction 1 = L2 to L1). Any alignment, any size, also 0. */
static inline void dma_start_1d(int slot, const volatile void *l1, const volatile void *l2, uint32_t bytes,
                                int direction) {
  __asm__ volatile("" ::: "memory");
  if (PULP_DMA_SPLITS && bytes > PULP_DMA_LIMIT)
    pulp_dma_split_1d(slot, (uintptr_t)l1, (uintptr_t)l2, bytes, direction);
  else if (bytes)
    pulp_dma_command(slot, (uintptr_t)l1, (uintptr_t)l2, bytes, direction);
}

/* The same where the L2 side is in lines of line_bytes, stride_bytes from start to start; L1 is contiguous.
 * bytes, the size of all lines together, is a multiple of line_bytes. */
static inline void dma_start_2d(int slot, const volatile void *l1, const volatile void *l2, uint32_t bytes,
                                uint32_t stride_bytes, uint32_t line_bytes, int direction) {
  __asm__ volatile("" ::: "memory");
  if (PULP_DMA_SPLITS && bytes > PULP_DMA_LIMIT)
    pulp_dma_split_2d(slot, (uintptr_t)l1, (uintptr_t)l2, bytes, stride_bytes, line_bytes, direction);
  else if (bytes)
    pulp_dma_command_2d(slot, (uintptr_t)l1, (uintptr_t)l2, bytes, stride_bytes, line_bytes, direction);
}

#endif
