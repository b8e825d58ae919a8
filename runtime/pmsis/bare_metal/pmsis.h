/* The part of PMSIS that generated programs use, for bare metal on pulp-open.
 *
 * Names, signatures and meaning are those of the PULP SDK's own pmsis.h, so that a program written
 * against this header builds against the SDK unchanged. */
#ifndef PMSIS_H
#define PMSIS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hardware.h"
#include "pmsis/task.h"
#include "pulp_config.h"

#define PULP_BARE_METAL 1

/* Where a variable lives. L1 variables are zero when the cluster starts, and have no other initial value. */
#define PI_CL_L1 __attribute__((section(".bss.l1-memory")))
#define PI_L1 PI_CL_L1
#define PI_L2 __attribute__((section(".data.l2")))
#define PI_FC_L1

/* ---- devices and the cluster, called by the fabric controller ---- */

typedef enum { PI_DEVICE_UNKWN_TYPE, PI_DEVICE_CLUSTER_TYPE } pi_device_e;
typedef enum { PI_CLUSTER_FLAGS_FORK_BASED = 0, PI_CLUSTER_FLAGS_TASK_BASED = 1 } pi_cluster_flags_e;

typedef struct pi_device {
  struct pi_device_api *api; /* not used */
  void *config;
  void *data;
} pi_device_t;

struct pi_cluster_conf {
  pi_device_e device_type;
  int id;
  pi_cluster_flags_e flags;
};

struct pi_cluster_task {
  void (*entry)(void *);
  void *arg;
  void *stacks;              /* not used: the stacks are at the top of L1, see pulp_config.h */
  uint32_t stack_size;       /* not used */
  uint32_t slave_stack_size; /* not used */
  int nb_cores;
};

void pi_cluster_conf_init(struct pi_cluster_conf *conf);
void pi_open_from_conf(struct pi_device *device, void *conf);
/* Start the cluster's cores. Returns 0, or -1 where the configuration names a cluster that does not exist. */
int pi_cluster_open(struct pi_device *device);
int pi_cluster_close(struct pi_device *device);
/* Run the task on core 0 of the cluster and wait until it is done. Returns 0. */
int pi_cluster_send_task_to_cl(struct pi_device *device, struct pi_cluster_task *task);

static inline int pi_cluster_send_task(struct pi_device *device, struct pi_cluster_task *task) {
  return pi_cluster_send_task_to_cl(device, task);
}

static inline struct pi_cluster_task *pi_cluster_task(struct pi_cluster_task *task, void (*entry)(void *),
                                                      void *arg) {
  task->entry = entry;
  task->arg = arg;
  task->stacks = NULL;
  task->stack_size = 0;
  task->slave_stack_size = 0;
  task->nb_cores = PULP_CORES;
  return task;
}

static inline void pmsis_exit(int code) { exit(code); }
static inline int pmsis_kickoff(void *entry) {
  ((void (*)(void))entry)();
  return 0;
}

/* ---- who am I ---- */

static inline uint32_t pi_core_id(void) { return hardware_thread() & 0x1f; }
static inline uint32_t pi_cluster_id(void) { return hardware_thread() >> 5; }
static inline uint32_t pi_is_fc(void) { return pi_cluster_id() == FABRIC_CONTROLLER_CLUSTER; }
static inline int pi_cl_cluster_nb_cores(void) { return PULP_CORES; }
static inline int pi_cl_cluster_nb_pe_cores(void) { return PULP_CORES; }

/* ---- teams, called on the cluster ---- */

/* Run entry(arg) on the first nb_cores cores (0 = as before), this one, core 0, among them; wait for all. */
void pi_cl_team_fork(int nb_cores, void (*entry)(void *), void *arg);

static inline int pi_cl_team_nb_cores(void) {
  return __builtin_ctz(REGISTER(EVENT_UNIT + BARRIER_TRIGGER_MASK) + 1);
}
static inline void pi_cl_team_barrier(void) { (void)EVENT_LOAD(BARRIER_WAIT_CLEAR); }
static inline void pi_cl_team_critical_enter(void) { (void)EVENT_LOAD(MUTEX); }
static inline void pi_cl_team_critical_exit(void) {
  __asm__ volatile("" ::: "memory");
  REGISTER(EVENT_UNIT + MUTEX) = 0;
}

/* ---- allocation: NULL where there is no room; sizes are in bytes, results aligned to 16 ---- */

void *pi_l2_malloc(int size);
void pi_l2_free(void *chunk, int size);
void *pi_cl_l1_malloc(struct pi_device *device, uint32_t size);
void pi_cl_l1_free(struct pi_device *device, void *chunk, int size);
#define pi_l1_malloc(device, size) pi_cl_l1_malloc(device, size)
#define pi_l1_free(device, chunk, size) pi_cl_l1_free(device, chunk, size)

/* ---- DMA between L1 ("loc") and L2 ("ext"), called on the cluster ---- */

typedef enum { PI_CL_DMA_DIR_LOC2EXT = 0, PI_CL_DMA_DIR_EXT2LOC = 1 } pi_cl_dma_dir_e;
typedef struct pi_cl_dma_cmd_s {
  int id;
} pi_cl_dma_cmd_t;

#define DMA_COMMAND(size, direction, two_dimensions)                                                         \
  ((uint32_t)(size) | ((uint32_t)(direction) << 17) | (1u << 18) | ((uint32_t)(two_dimensions) << 19) | (1u << 20))
#define DMA_COMMAND_LIMIT 0x1FFF0 /* the size field has 17 bits; a multiple of the 16-byte line */

/* Start a transfer of size bytes, at most DMA_COMMAND_LIMIT; 16 can be in flight. */
static inline void pi_cl_dma_cmd(uint32_t ext, uint32_t loc, uint32_t size, pi_cl_dma_dir_e dir,
                                 pi_cl_dma_cmd_t *cmd) {
  cmd->id = (int)REGISTER(DMA_QUEUE);
  __asm__ volatile("" ::: "memory");
  REGISTER(DMA_QUEUE) = DMA_COMMAND(size, dir, 0);
  REGISTER(DMA_QUEUE) = loc;
  REGISTER(DMA_QUEUE) = ext;
}

/* The same with the L2 side in lines of length bytes, stride bytes from start to start. */
static inline void pi_cl_dma_cmd_2d(uint32_t ext, uint32_t loc, uint32_t size, uint32_t stride, uint32_t length,
                                    pi_cl_dma_dir_e dir, pi_cl_dma_cmd_t *cmd) {
  cmd->id = (int)REGISTER(DMA_QUEUE);
  __asm__ volatile("" ::: "memory");
  REGISTER(DMA_QUEUE) = DMA_COMMAND(size, dir, 1);
  REGISTER(DMA_QUEUE) = loc;
  REGISTER(DMA_QUEUE) = ext;
  REGISTER(DMA_QUEUE) = length;
  REGISTER(DMA_QUEUE) = stride;
}

/* Wait until none of these ids (a bit each) is in flight, and free them. The event of the DMA wakes the core only
 * here: left over from a transfer that was not slept for, it would end the wait of a barrier. */
static inline void dma_wait_for_ids(uint32_t ids) {
  if (REGISTER(DMA_STATUS) & ids) {
    REGISTER(EVENT_UNIT + EVENT_MASK_SET) = 1u << DMA_EVENT;
    do (void)EVENT_LOAD(EVENT_WAIT_CLEAR);
    while (REGISTER(DMA_STATUS) & ids);
    REGISTER(EVENT_UNIT + EVENT_MASK_CLEAR) = 1u << DMA_EVENT;
  }
  REGISTER(DMA_STATUS) = ids;
  __asm__ volatile("" ::: "memory");
}

static inline void pi_cl_dma_cmd_wait(pi_cl_dma_cmd_t *cmd) { dma_wait_for_ids(1u << cmd->id); }

/* ---- performance counters of this core ---- */

typedef enum {
  PI_PERF_ACTIVE_CYCLES = 0,
  PI_PERF_INSTR = 1,
  PI_PERF_LD_STALL = 2,
  PI_PERF_JR_STALL = 3,
  PI_PERF_IMISS = 4,
  PI_PERF_LD = 5,
  PI_PERF_ST = 6,
  PI_PERF_JUMP = 7,
  PI_PERF_BRANCH = 8,
  PI_PERF_BTAKEN = 9,
  PI_PERF_RVC = 10,
  PI_PERF_LD_EXT = 12,
  PI_PERF_ST_EXT = 13,
  PI_PERF_LD_EXT_CYC = 14,
  PI_PERF_ST_EXT_CYC = 15,
  PI_PERF_TCDM_CONT = 16,
  PI_PERF_CYCLES = 17 /* asleep or not */
} pi_perf_event_e;

/* Count the events of the mask (1 << event | …); reset, start and stop all of them; read one. */
void pi_perf_conf(unsigned events);
void pi_perf_reset(void);
void pi_perf_start(void);
void pi_perf_stop(void);
unsigned int pi_perf_read(int event);

#endif
