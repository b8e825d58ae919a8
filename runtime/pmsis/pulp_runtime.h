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

#define PULP_ALWAYS_INLINE static inline __attribute__((always_inline))

/* The transfers of a kernel, or of the runtime: those that the names mean at the place of a call. */
struct pulp_dma_of {
  struct pulp_dma *state;
  uint32_t *ids; /* of each slot's transfers */
  int slots;
};
#define PULP_DMA_HERE                                                                                        \
  ((struct pulp_dma_of){&pulp_dma, pulp_dma_ids, (int)(sizeof pulp_dma_ids / sizeof pulp_dma_ids[0])})

/* All workers wait until all have come. */
static inline void cluster_barrier(void) { pi_cl_team_barrier(); }

#ifdef PULP_BARE_METAL

static inline uint32_t pulp_cycles(void) { return cycle_counter(); }
static inline void pulp_cycles_start(void) {}

/* The transfers in flight. Consecutive transfers of one slot share an id: the hardware counts their bytes
 * together, so that a run of them needs one id only.
 *
 * A kernel has its own, see PULP_DMA_STATE: what the compiler knows of a local variable need not be stored, loaded
 * and compared. Transfers between kernels are in those of the runtime. */
struct pulp_dma {
  int open_slot; /* slot + 1 to which the last allocated id belongs, 0 = none */
  uint32_t held; /* how many ids */
};
extern struct pulp_dma pulp_dma;
extern uint32_t pulp_dma_ids[PULP_DMA_SLOTS]; /* of a slot's transfers: how many, and from bit 16 a bit each */
#define PULP_DMA_STATE(slots)                                                                                \
  uint32_t pulp_dma_ids[slots] = {0};                                                                        \
  struct pulp_dma pulp_dma = {0, 0}

/* Ids that a kernel may hold, others are for the transfers between kernels. */
#define PULP_DMA_IDS_OF_KERNEL 10

/* A kernel has run, and allocated ids. */
PULP_ALWAYS_INLINE void pulp_dma_after_kernel(void) { pulp_dma.open_slot = 0; }

/* Wait for all transfers of the slot; none is fine. */
PULP_ALWAYS_INLINE void pulp_dma_wait(struct pulp_dma_of dma, int slot) {
  const uint32_t mine = dma.ids[slot];
  dma.ids[slot] = 0;
  dma.state->held -= mine & 0xFFFF;
  dma.state->open_slot = 0;
  dma_wait_for_ids(mine >> 16);
}

/* Have the next command counted for the slot: allocate an id unless the last one is the slot's, having waited for
 * everything in flight if no more may be held. Returns the id as a bit, 0 if none was needed, for pulp_dma_note,
 * which can come when the transfer runs. */
PULP_ALWAYS_INLINE uint32_t pulp_dma_open(struct pulp_dma_of dma, int slot) {
  if (dma.state->open_slot == slot + 1) return 0;
  const int of_kernel = dma.slots < PULP_DMA_SLOTS;
  const uint32_t most = of_kernel ? PULP_DMA_IDS_OF_KERNEL : PULP_DMA_IDS - PULP_DMA_IDS_OF_KERNEL;
  if (__builtin_expect(dma.state->held == most, 0))
    for (int other = 0; other < dma.slots; other++) pulp_dma_wait(dma, other);
  return 1u << REGISTER(DMA_QUEUE);
}

PULP_ALWAYS_INLINE void pulp_dma_note(struct pulp_dma_of dma, int slot, uint32_t bit) {
  if (!bit) return;
  dma.state->open_slot = slot + 1;
  dma.state->held++;
  dma.ids[slot] += (bit << 16) + 1;
}

PULP_ALWAYS_INLINE void pulp_dma_reserve(struct pulp_dma_of dma, int slot) {
  pulp_dma_note(dma, slot, pulp_dma_open(dma, slot));
}

PULP_ALWAYS_INLINE void pulp_dma_command(struct pulp_dma_of dma, int slot, uint32_t l1, uint32_t l2,
                                         uint32_t bytes, int direction) {
  const uint32_t bit = pulp_dma_open(dma, slot);
  REGISTER(DMA_QUEUE) = DMA_COMMAND(bytes, direction, 0);
  REGISTER(DMA_QUEUE) = l1;
  REGISTER(DMA_QUEUE) = l2;
  pulp_dma_note(dma, slot, bit);
}

PULP_ALWAYS_INLINE void pulp_dma_command_2d(struct pulp_dma_of dma, int slot, uint32_t l1, uint32_t l2,
                                            uint32_t bytes, uint32_t stride, uint32_t line, int direction) {
  const uint32_t bit = pulp_dma_open(dma, slot);
  REGISTER(DMA_QUEUE) = DMA_COMMAND(bytes, direction, 1);
  REGISTER(DMA_QUEUE) = l1;
  REGISTER(DMA_QUEUE) = l2;
  REGISTER(DMA_QUEUE) = line;
  REGISTER(DMA_QUEUE) = stride;
  pulp_dma_note(dma, slot, bit);
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
  pi_cl_dma_cmd_t commands[PULP_DMA_IDS];
};
extern struct pulp_dma pulp_dma;
extern uint32_t pulp_dma_ids[PULP_DMA_SLOTS]; /* of a slot's transfers */

/* A kernel's transfers are among those of all. */
#define PULP_DMA_STATE(slots) (void)(slots)
PULP_ALWAYS_INLINE void pulp_dma_after_kernel(void) {}
PULP_ALWAYS_INLINE void pulp_dma_reserve(struct pulp_dma_of dma, int slot) { (void)dma, (void)slot; }

/* A free command for the slot; where none is left, wait for everything in flight first. */
pi_cl_dma_cmd_t *pulp_dma_allocate(struct pulp_dma_of dma, int slot);

PULP_ALWAYS_INLINE void pulp_dma_command(struct pulp_dma_of dma, int slot, uint32_t l1, uint32_t l2,
                                         uint32_t bytes, int direction) {
  pi_cl_dma_cmd(l2, l1, bytes, direction ? PI_CL_DMA_DIR_EXT2LOC : PI_CL_DMA_DIR_LOC2EXT,
                pulp_dma_allocate(dma, slot));
}

PULP_ALWAYS_INLINE void pulp_dma_command_2d(struct pulp_dma_of dma, int slot, uint32_t l1, uint32_t l2,
                                            uint32_t bytes, uint32_t stride, uint32_t line, int direction) {
  pi_cl_dma_cmd_2d(l2, l1, bytes, stride, line, direction ? PI_CL_DMA_DIR_EXT2LOC : PI_CL_DMA_DIR_LOC2EXT,
                   pulp_dma_allocate(dma, slot));
}

/* Wait for all transfers of the slot; none is fine. */
void pulp_dma_wait(struct pulp_dma_of dma, int slot);

#endif

/* Transfers that are longer than one command can be, in pieces. */
void pulp_dma_split_1d(struct pulp_dma_of dma, int slot, uint32_t l1, uint32_t l2, uint32_t bytes, int direction);
void pulp_dma_split_2d(struct pulp_dma_of dma, int slot, uint32_t l1, uint32_t l2, uint32_t bytes, uint32_t stride,
                       uint32_t line, int direction);

PULP_ALWAYS_INLINE void pulp_dma_start_1d(struct pulp_dma_of dma, int slot, const volatile void *l1,
                                          const volatile void *l2, uint32_t bytes, int direction) {
  __asm__ volatile("" ::: "memory");
  if (PULP_DMA_SPLITS && bytes > PULP_DMA_LIMIT)
    pulp_dma_split_1d(dma, slot, (uintptr_t)l1, (uintptr_t)l2, bytes, direction);
  else if (bytes)
    pulp_dma_command(dma, slot, (uintptr_t)l1, (uintptr_t)l2, bytes, direction);
}

PULP_ALWAYS_INLINE void pulp_dma_start_2d(struct pulp_dma_of dma, int slot, const volatile void *l1,
                                          const volatile void *l2, uint32_t bytes, uint32_t stride_bytes,
                                          uint32_t line_bytes, int direction) {
  __asm__ volatile("" ::: "memory");
  if (PULP_DMA_SPLITS && bytes > PULP_DMA_LIMIT)
    pulp_dma_split_2d(dma, slot, (uintptr_t)l1, (uintptr_t)l2, bytes, stride_bytes, line_bytes, direction);
  else if (bytes)
    pulp_dma_command_2d(dma, slot, (uintptr_t)l1, (uintptr_t)l2, bytes, stride_bytes, line_bytes, direction);
}

/* dma_start_1d(slot, l1, l2, bytes, direction): start a transfer of bytes bytes between L1 and L2 (direction
 * 1 = L2 to L1). Any alignment, any size, also 0. */
#define dma_start_1d(...) pulp_dma_start_1d(PULP_DMA_HERE, __VA_ARGS__)
/* dma_start_2d(slot, l1, l2, bytes, stride_bytes, line_bytes, direction): the same where the L2 side is in lines of
 * line_bytes, stride_bytes from start to start; L1 is contiguous. bytes, the size of all lines together, is a
 * multiple of line_bytes. */
#define dma_start_2d(...) pulp_dma_start_2d(PULP_DMA_HERE, __VA_ARGS__)
/* dma_open(slot): the next transfer will be one of the slot's. Said before a loop, it need not be found out in it. */
#define dma_open(slot) pulp_dma_reserve(PULP_DMA_HERE, slot)
/* dma_wait(slot): wait for all transfers of the slot; none is fine. */
#define dma_wait(slot) pulp_dma_wait(PULP_DMA_HERE, slot)

#endif
