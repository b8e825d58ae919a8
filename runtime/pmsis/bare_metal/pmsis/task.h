/* Tasks of the fabric controller: how it learns that an asynchronous transfer has ended. As the SDK's pmsis/task.h. */
#ifndef PMSIS_TASK_H
#define PMSIS_TASK_H

#include <stddef.h>
#include <stdint.h>

typedef void (*pi_callback_func_t)(void *arg);

typedef struct pi_task {
  struct pi_task *next;
  pi_callback_func_t callback; /* NULL = somebody waits */
  void *arg;
  uint32_t transfer; /* number of the transfer after which it is due */
  volatile int8_t done;
} pi_task_t;

/* Prepare a task for pi_task_wait_on. Returns the task. */
static inline pi_task_t *pi_task_block(pi_task_t *task) {
  task->callback = NULL;
  task->done = 0;
  return task;
}

/* Prepare a task that calls function(arg) on the fabric controller, from pi_yield or pi_task_wait_on. */
static inline pi_task_t *pi_task_callback(pi_task_t *task, pi_callback_func_t function, void *arg) {
  task->callback = function;
  task->arg = arg;
  task->done = 0;
  return task;
}

/* Sleep until the oldest task is due and run all that are due; return at once where there is none. */
void pi_yield(void);

static inline void pi_task_wait_on(pi_task_t *task) {
  while (!task->done) pi_yield();
}

#endif
