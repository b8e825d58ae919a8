/* Addresses and wait instruction of the PULP cluster (pulp-open's memory map), bare metal. */
#ifndef HARDWARE_H
#define HARDWARE_H

#define CLUSTER_CONTROL 0x10200000 /* + 0x08 fetch enable mask, + 0x40 + 4 * core boot address */
#define INSTRUCTION_CACHE 0x10201400
#define EVENT_UNIT 0x10204000 /* this core's own window */
#define DMA_QUEUE 0x10204400  /* this core's own window; read = allocate an id, write = the words of a command */
#define DMA_STATUS 0x10204404 /* read = ids in flight, write = ids to free */
#define STDOUT_PORT 0x1A10F000 /* + 8 * core */
#define EXIT_PORT 0x1A1040A0
#define L3_ENGINE 0x1A102000 /* of the simulator, see bsp/ram.h */
#define CONTROLLER_INTERRUPTS 0x1A109800
#define L1_TEST_AND_SET 0x100000 /* from a word of L1 to where a load leaves all ones in it */

#define FETCH_ENABLE 0x08
#define BOOT_ADDRESSES 0x40

#define EVENT_MASK 0x00 /* events that wake the core; + 4 clears bits of it, + 8 sets bits */
#define EVENT_MASK_CLEAR 0x04
#define EVENT_MASK_SET 0x08
#define EVENT_WAIT_CLEAR 0x3C
#define DISPATCH_FIFO 0x80
#define DISPATCH_TEAM 0x84
#define MUTEX 0xC0 /* p.elw locks, store unlocks */
#define BARRIER_TRIGGER_MASK 0x200
#define BARRIER_TARGET_MASK 0x20C
#define BARRIER_WAIT_CLEAR 0x21C

#define L3_OFFSET 0x00
#define L3_ADDRESS 0x04
#define L3_START 0x08 /* bytes */
#define L3_WRITE 0x80000000u
#define L3_BYTES 0x10    /* size of L3, 0 = none */
#define L3_STARTED 0x14  /* transfers so far */
#define L3_FINISHED 0x18 /* transfers so far */

#define INTERRUPT_MASK 0x00
#define INTERRUPT_MASK_SET 0x04
#define INTERRUPT_CLEAR 0x14
#define L3_INTERRUPT 9

#define DMA_EVENT 8
#define BARRIER_EVENT 16
#define MUTEX_EVENT 17
#define DISPATCH_EVENT 18

#define FABRIC_CONTROLLER_CLUSTER 31
#define CLUSTER_CONTROL_CORES 9 /* cores with a boot address: 8 workers and the cluster's controller */

#ifndef __ASSEMBLER__
#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* p.elw: load a word of the event unit; the core sleeps until the event has come. */
#ifdef PULP_MNEMONICS
#define EVENT_LOAD(offset)                                                                                   \
  ({                                                                                                         \
    uint32_t value_;                                                                                         \
    __asm__ volatile("p.elw %0, %2(%1)" : "=r"(value_) : "r"(EVENT_UNIT), "i"(offset) : "memory");           \
    value_;                                                                                                  \
  })
#else
#define EVENT_LOAD(offset)                                                                                   \
  ({                                                                                                         \
    uint32_t value_;                                                                                         \
    __asm__ volatile(".insn i 0x03, 6, %0, %2(%1)" : "=r"(value_) : "r"(EVENT_UNIT), "i"(offset) : "memory"); \
    value_;                                                                                                  \
  })
#endif

static inline uint32_t hardware_thread(void) {
  uint32_t value;
  __asm__("csrr %0, 0xF14" : "=r"(value));
  return value;
}

static inline uint32_t cycle_counter(void) {
  uint32_t value;
  __asm__ volatile("csrr %0, 0xB00" : "=r"(value)::"memory");
  return value;
}
#endif
#endif
