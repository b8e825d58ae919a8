/* The cluster as a device of the fabric controller: start it, send it tasks, fork teams on it. */
#include "pmsis.h"

extern char _start[], _l1_start[], _l1_data_end[];

#define MASK(cores) ((1u << (cores)) - 1)

/* The task that core 0 of the cluster is to run; the fabric controller sets it, core 0 clears it when done. */
static struct pi_cluster_task *volatile pending_task;
static int started;

/* A pause that costs few instructions, so that waiting neither loads the bus nor slows a simulator. */
static inline void pause(void) {
  uint32_t value = 1;
  __asm__ volatile("divu %0, %0, %0\n\tdivu %0, %0, %0\n\tdivu %0, %0, %0\n\tdivu %0, %0, %0" : "+r"(value));
}

void pi_cluster_conf_init(struct pi_cluster_conf *conf) {
  conf->device_type = PI_DEVICE_CLUSTER_TYPE;
  conf->id = 0;
  conf->flags = PI_CLUSTER_FLAGS_FORK_BASED;
}

void pi_open_from_conf(struct pi_device *device, void *conf) {
  device->api = NULL;
  device->config = conf;
  device->data = NULL;
}

int pi_cluster_open(struct pi_device *device) {
  if (((struct pi_cluster_conf *)device->config)->id != 0) return -1;
  if (started) return 0;
  started = 1;
  for (char *byte = _l1_start; byte < _l1_data_end; byte += 4) *(volatile uint32_t *)byte = 0;
  for (int core = 0; core < CLUSTER_CONTROL_CORES; core++)
    REGISTER(CLUSTER_CONTROL + BOOT_ADDRESSES + 4 * core) = (uintptr_t)_start;
  REGISTER(INSTRUCTION_CACHE) = ~0u;
  REGISTER(CLUSTER_CONTROL + FETCH_ENABLE) = MASK(PULP_CORES);
  return 0;
}

int pi_cluster_close(struct pi_device *device) {
  (void)device; /* the cores stay asleep in the dispatcher, ready to be opened again */
  return 0;
}

int pi_cluster_send_task_to_cl(struct pi_device *device, struct pi_cluster_task *task) {
  (void)device;
  __asm__ volatile("" ::: "memory");
  pending_task = task;
  while (pending_task) pause();
  __asm__ volatile("" ::: "memory");
  return 0;
}

static void set_team(uint32_t cores) {
  REGISTER(EVENT_UNIT + BARRIER_TRIGGER_MASK) = MASK(cores);
  REGISTER(EVENT_UNIT + BARRIER_TARGET_MASK) = MASK(cores);
  REGISTER(EVENT_UNIT + DISPATCH_TEAM) = MASK(cores) & ~1u;
}

void pi_cl_team_fork(int nb_cores, void (*entry)(void *), void *arg) {
  if (nb_cores) set_team((uint32_t)nb_cores);
  __asm__ volatile("" ::: "memory");
  if (pi_cl_team_nb_cores() > 1) {
    REGISTER(EVENT_UNIT + DISPATCH_FIFO) = (uintptr_t)entry;
    REGISTER(EVENT_UNIT + DISPATCH_FIFO) = (uintptr_t)arg;
  }
  entry(arg);
  pi_cl_team_barrier();
}

/* Where every core of the cluster comes to from crt0.S, and stays. */
void cluster_core_main(uint32_t core) {
  REGISTER(EVENT_UNIT + EVENT_MASK) = 1u << BARRIER_EVENT | 1u << MUTEX_EVENT | 1u << DISPATCH_EVENT;
  if (core == 0) {
    for (;;) {
      struct pi_cluster_task *task;
      while (!(task = pending_task)) pause();
      set_team(task->nb_cores ? (uint32_t)task->nb_cores : PULP_CORES);
      task->entry(task->arg);
      __asm__ volatile("" ::: "memory");
      pending_task = NULL;
    }
  }
  for (;;) {
    void (*entry)(void *) = (void (*)(void *))(uintptr_t)EVENT_LOAD(DISPATCH_FIFO);
    void *arg = (void *)(uintptr_t)EVENT_LOAD(DISPATCH_FIFO);
    entry(arg);
    pi_cl_team_barrier();
  }
}
