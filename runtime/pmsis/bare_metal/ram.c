/* External memory (L3) on the simulator's L3 engine: allocation, and transfers by number. */
#include "bsp/ram/hyperram.h"

#define ALIGNMENT 4u

struct piece { /* free memory of L3; the list, by address, is in L2 */
  uint32_t address, bytes;
  struct piece *next;
};
struct ram {
  struct piece *free;
};

/* The engine's registers and the lists are used by one core at a time. */
static PI_CL_L1 volatile uint32_t lock;
static pi_task_t *oldest_task, *newest_task; /* of the fabric controller */

static void enter(void) {
  while (REGISTER((uintptr_t)&lock + L1_TEST_AND_SET));
  __asm__ volatile("" ::: "memory");
}

static void leave(void) {
  __asm__ volatile("" ::: "memory");
  lock = 0;
}

void pi_hyperram_conf_init(struct pi_hyperram_conf *conf) {
  memset(conf, 0, sizeof *conf);
  conf->ram_size = (int)REGISTER(L3_ENGINE + L3_BYTES);
  conf->reserve_addr_0 = 1;
}

int32_t pi_ram_open(struct pi_device *device) {
  const struct pi_hyperram_conf *conf = device->config;
  const uint32_t bytes = (uint32_t)conf->ram_size & ~(ALIGNMENT - 1);
  const uint32_t start = conf->reserve_addr_0 ? ALIGNMENT : 0;
  if (bytes <= start || bytes > REGISTER(L3_ENGINE + L3_BYTES)) return -1;
  struct ram *ram = pi_l2_malloc(sizeof *ram);
  struct piece *all = pi_l2_malloc(sizeof *all);
  if (!ram || !all) {
    pi_l2_free(ram, sizeof *ram);
    pi_l2_free(all, sizeof *all);
    return -1;
  }
  *all = (struct piece){start, bytes - start, NULL};
  ram->free = all;
  device->data = ram;
  lock = 0;
  return 0;
}

void pi_ram_close(struct pi_device *device) {
  struct ram *ram = device->data;
  for (struct piece *piece = ram->free, *next; piece; piece = next) {
    next = piece->next;
    pi_l2_free(piece, sizeof *piece);
  }
  pi_l2_free(ram, sizeof *ram);
  device->data = NULL;
}

static uint32_t rounded(uint32_t bytes) {
  return bytes ? (bytes + ALIGNMENT - 1) & ~(ALIGNMENT - 1) : ALIGNMENT;
}

static int allocate(struct ram *ram, uint32_t *address, uint32_t bytes) {
  for (struct piece **link = &ram->free; *link; link = &(*link)->next) {
    struct piece *piece = *link;
    if (piece->bytes < bytes) continue;
    *address = piece->address;
    piece->address += bytes;
    piece->bytes -= bytes;
    if (!piece->bytes) {
      *link = piece->next;
      pi_l2_free(piece, sizeof *piece);
    }
    return 0;
  }
  return -1;
}

static int release(struct ram *ram, uint32_t address, uint32_t bytes) {
  struct piece *before = NULL, *after = ram->free;
  while (after && after->address < address) {
    before = after;
    after = after->next;
  }
  const int joins_before = before && before->address + before->bytes == address;
  const int joins_after = after && address + bytes == after->address;
  if (joins_before) {
    before->bytes += bytes;
    if (joins_after) {
      before->bytes += after->bytes;
      before->next = after->next;
      pi_l2_free(after, sizeof *after);
    }
  } else if (joins_after) {
    after->address = address;
    after->bytes += bytes;
  } else {
    struct piece *piece = pi_l2_malloc(sizeof *piece);
    if (!piece) return -1;
    *piece = (struct piece){address, bytes, after};
    *(before ? &before->next : &ram->free) = piece;
  }
  return 0;
}

int pi_ram_alloc(struct pi_device *device, uint32_t *addr, uint32_t size) {
  if (size > INT32_MAX) return -1;
  enter();
  const int error = allocate(device->data, addr, rounded(size));
  leave();
  return error;
}

int pi_ram_free(struct pi_device *device, uint32_t addr, uint32_t size) {
  enter();
  const int error = release(device->data, addr, rounded(size));
  leave();
  return error;
}

/* Start the transfers of the lines; returns the number of the last. */
static uint32_t start(uint32_t external, uint32_t internal, uint32_t size, uint32_t stride, uint32_t length,
                      int ext2loc) {
  enter();
  do {
    const uint32_t bytes = size < length ? size : length;
    REGISTER(L3_ENGINE + L3_OFFSET) = external;
    REGISTER(L3_ENGINE + L3_ADDRESS) = internal;
    REGISTER(L3_ENGINE + L3_START) = bytes | (ext2loc ? 0 : L3_WRITE);
    external += stride;
    internal += bytes;
    size -= bytes;
  } while (size);
  const uint32_t number = REGISTER(L3_ENGINE + L3_STARTED);
  leave();
  return number;
}

/* Numbers start again after 2^32, so compare their distance. */
static int finished(uint32_t transfer) { return (int32_t)(REGISTER(L3_ENGINE + L3_FINISHED) - transfer) >= 0; }

void pi_ram_copy_2d_async(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size, uint32_t stride,
                          uint32_t length, int ext2loc, pi_task_t *task) {
  (void)device;
  task->transfer = start(pi_ram_addr, (uintptr_t)data, size, stride, length, ext2loc);
  task->next = NULL;
  if (oldest_task) newest_task->next = task;
  else oldest_task = task;
  newest_task = task;
}

void pi_yield(void) {
  if (!oldest_task) return;
  const uint32_t mask = REGISTER(CONTROLLER_INTERRUPTS + INTERRUPT_MASK);
  REGISTER(CONTROLLER_INTERRUPTS + INTERRUPT_MASK_SET) = 1u << L3_INTERRUPT;
  for (;;) { /* an end between the question and wfi is pending, so that wfi does not sleep */
    REGISTER(CONTROLLER_INTERRUPTS + INTERRUPT_CLEAR) = 1u << L3_INTERRUPT;
    if (finished(oldest_task->transfer)) break;
    __asm__ volatile("wfi" ::: "memory");
  }
  REGISTER(CONTROLLER_INTERRUPTS + INTERRUPT_MASK) = mask;
  while (oldest_task && finished(oldest_task->transfer)) {
    pi_task_t *task = oldest_task;
    oldest_task = task->next;
    task->done = 1;
    __asm__ volatile("" ::: "memory");
    if (task->callback) task->callback(task->arg); /* may use the task again */
  }
}

void pi_cl_ram_copy_2d(struct pi_device *device, uint32_t pi_ram_addr, void *addr, uint32_t size, uint32_t stride,
                       uint32_t length, int ext2loc, pi_cl_ram_req_t *req) {
  (void)device;
  req->transfer = start(pi_ram_addr, (uintptr_t)addr, size, stride, length, ext2loc);
}

void pi_cl_ram_copy_wait(pi_cl_ram_req_t *req) {
  while (!finished(req->transfer));
  __asm__ volatile("" ::: "memory");
}
