/* External memory (L3), for bare metal on the simulator's L3 engine (docs/simulator.md of tvm_pulp).
 *
 * Names, signatures and meaning are those of the PULP SDK's bsp/ram.h. Addresses in L3 count from 0; on the chip,
 * data may be in L1 or L2. A transfer outside L3 or of 0 bytes ends the simulation with a message. In 2D transfers
 * the L3 side is in lines of length bytes, stride bytes from start to start; each line is a transfer by itself.
 * Transfers run one after the other, in the order in which they were asked for, whoever asked. */
#ifndef BSP_RAM_H
#define BSP_RAM_H

#include "pmsis.h"

typedef struct __pi_ram_api_t pi_ram_api_t;

struct pi_ram_conf {
  pi_ram_api_t *api; /* not used: there is one kind of RAM */
};

/* Returns 0, or -1 where the chip has no L3, less than ram_size of it, or no room in L2 for the allocator. */
int32_t pi_ram_open(struct pi_device *device);
void pi_ram_close(struct pi_device *device);

/* Allocate size bytes, aligned to 4. Returns 0, or -1 where there is no room. */
int pi_ram_alloc(struct pi_device *device, uint32_t *addr, uint32_t size);
/* Returns 0, or -1 where L2 has no room to note the free memory. */
int pi_ram_free(struct pi_device *device, uint32_t addr, uint32_t size);

/* ---- transfers, called by the fabric controller; ext2loc: 1 = from L3 to the chip ---- */

void pi_ram_copy_2d_async(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size, uint32_t stride,
                          uint32_t length, int ext2loc, pi_task_t *task);

static inline void pi_ram_copy_async(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size,
                                     int ext2loc, pi_task_t *task) {
  pi_ram_copy_2d_async(device, pi_ram_addr, data, size, size, size, ext2loc, task);
}
static inline void pi_ram_read_async(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size,
                                     pi_task_t *task) {
  pi_ram_copy_async(device, pi_ram_addr, data, size, 1, task);
}
static inline void pi_ram_write_async(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size,
                                      pi_task_t *task) {
  pi_ram_copy_async(device, pi_ram_addr, data, size, 0, task);
}
static inline void pi_ram_read_2d_async(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size,
                                        uint32_t stride, uint32_t length, pi_task_t *task) {
  pi_ram_copy_2d_async(device, pi_ram_addr, data, size, stride, length, 1, task);
}
static inline void pi_ram_write_2d_async(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size,
                                         uint32_t stride, uint32_t length, pi_task_t *task) {
  pi_ram_copy_2d_async(device, pi_ram_addr, data, size, stride, length, 0, task);
}

/* The same, waiting for the end. */
static inline void pi_ram_copy_2d(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size,
                                  uint32_t stride, uint32_t length, int ext2loc) {
  pi_task_t task;
  pi_ram_copy_2d_async(device, pi_ram_addr, data, size, stride, length, ext2loc, pi_task_block(&task));
  pi_task_wait_on(&task);
}
static inline void pi_ram_copy(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size,
                               int ext2loc) {
  pi_ram_copy_2d(device, pi_ram_addr, data, size, size, size, ext2loc);
}
static inline void pi_ram_read(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size) {
  pi_ram_copy(device, pi_ram_addr, data, size, 1);
}
static inline void pi_ram_write(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size) {
  pi_ram_copy(device, pi_ram_addr, data, size, 0);
}
static inline void pi_ram_read_2d(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size,
                                  uint32_t stride, uint32_t length) {
  pi_ram_copy_2d(device, pi_ram_addr, data, size, stride, length, 1);
}
static inline void pi_ram_write_2d(struct pi_device *device, uint32_t pi_ram_addr, void *data, uint32_t size,
                                   uint32_t stride, uint32_t length) {
  pi_ram_copy_2d(device, pi_ram_addr, data, size, stride, length, 0);
}

/* ---- the same from the cluster, by any core; a request lives until it was waited for ---- */

typedef struct pi_cl_ram_req_s {
  uint32_t transfer; /* number of its last transfer */
} pi_cl_ram_req_t;

typedef struct pi_cl_ram_alloc_req_s {
  uint32_t result;
  int error;
} pi_cl_ram_alloc_req_t;

typedef struct pi_cl_ram_free_req_s {
  int error;
} pi_cl_ram_free_req_t;

void pi_cl_ram_copy_2d(struct pi_device *device, uint32_t pi_ram_addr, void *addr, uint32_t size, uint32_t stride,
                       uint32_t length, int ext2loc, pi_cl_ram_req_t *req);
void pi_cl_ram_copy_wait(pi_cl_ram_req_t *req);

static inline void pi_cl_ram_copy(struct pi_device *device, uint32_t pi_ram_addr, void *addr, uint32_t size,
                                  int ext2loc, pi_cl_ram_req_t *req) {
  pi_cl_ram_copy_2d(device, pi_ram_addr, addr, size, size, size, ext2loc, req);
}
static inline void pi_cl_ram_read(struct pi_device *device, uint32_t pi_ram_addr, void *addr, uint32_t size,
                                  pi_cl_ram_req_t *req) {
  pi_cl_ram_copy(device, pi_ram_addr, addr, size, 1, req);
}
static inline void pi_cl_ram_write(struct pi_device *device, uint32_t pi_ram_addr, void *addr, uint32_t size,
                                   pi_cl_ram_req_t *req) {
  pi_cl_ram_copy(device, pi_ram_addr, addr, size, 0, req);
}
static inline void pi_cl_ram_read_2d(struct pi_device *device, uint32_t pi_ram_addr, void *addr, uint32_t size,
                                     uint32_t stride, uint32_t length, pi_cl_ram_req_t *req) {
  pi_cl_ram_copy_2d(device, pi_ram_addr, addr, size, stride, length, 1, req);
}
static inline void pi_cl_ram_write_2d(struct pi_device *device, uint32_t pi_ram_addr, void *addr, uint32_t size,
                                      uint32_t stride, uint32_t length, pi_cl_ram_req_t *req) {
  pi_cl_ram_copy_2d(device, pi_ram_addr, addr, size, stride, length, 0, req);
}
static inline void pi_cl_ram_read_wait(pi_cl_ram_req_t *req) { pi_cl_ram_copy_wait(req); }
static inline void pi_cl_ram_write_wait(pi_cl_ram_req_t *req) { pi_cl_ram_copy_wait(req); }

static inline void pi_cl_ram_alloc(struct pi_device *device, uint32_t size, pi_cl_ram_alloc_req_t *req) {
  req->error = pi_ram_alloc(device, &req->result, size);
}
static inline int32_t pi_cl_ram_alloc_wait(pi_cl_ram_alloc_req_t *req, uint32_t *addr) {
  *addr = req->result;
  return req->error;
}
static inline void pi_cl_ram_free(struct pi_device *device, uint32_t chunk, uint32_t size,
                                  pi_cl_ram_free_req_t *req) {
  req->error = pi_ram_free(device, chunk, size);
}
static inline int32_t pi_cl_ram_free_wait(pi_cl_ram_free_req_t *req) { return req->error; }

#endif
