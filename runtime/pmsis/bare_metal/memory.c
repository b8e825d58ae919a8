/* Allocation in what the linked program leaves of L1 and L2: first fit, neighbours merged when freed. */
#include "pmsis.h"

#define ALIGNMENT 16u

struct chunk { /* a free piece of memory, linked by address; one piece is at least ALIGNMENT bytes */
  uint32_t bytes;
  struct chunk *next;
};
struct heap {
  char *start, *end; /* end = NULL before first use */
  struct chunk *free;
};

extern char _l1_heap_start[], _l1_heap_end[], _l2_heap_start[], _l2_heap_end[];
static struct heap l1, l2;

static uint32_t rounded(uint32_t bytes) {
  return bytes ? (bytes + ALIGNMENT - 1) & ~(ALIGNMENT - 1) : ALIGNMENT;
}

static struct heap *prepared(struct heap *heap, char *start, char *end) {
  if (!heap->end) {
    heap->start = start;
    heap->end = end;
    heap->free = NULL;
    if (end - start >= (int)ALIGNMENT) {
      heap->free = (struct chunk *)start;
      heap->free->bytes = (uint32_t)(end - start) & ~(ALIGNMENT - 1);
      heap->free->next = NULL;
    }
  }
  return heap;
}

static void *allocate(struct heap *heap, uint32_t bytes) {
  if (bytes > (uint32_t)(heap->end - heap->start)) return NULL;
  bytes = rounded(bytes);
  for (struct chunk **link = &heap->free; *link; link = &(*link)->next) {
    struct chunk *chunk = *link;
    if (chunk->bytes < bytes) continue;
    if (chunk->bytes == bytes) {
      *link = chunk->next;
    } else {
      struct chunk *rest = (struct chunk *)((char *)chunk + bytes);
      rest->bytes = chunk->bytes - bytes;
      rest->next = chunk->next;
      *link = rest;
    }
    return chunk;
  }
  return NULL;
}

static void release(struct heap *heap, void *memory, uint32_t bytes) {
  if (!memory) return;
  struct chunk *chunk = memory, *before = NULL, **link = &heap->free;
  while (*link && *link < chunk) {
    before = *link;
    link = &before->next;
  }
  chunk->bytes = rounded(bytes);
  chunk->next = *link;
  *link = chunk;
  if (chunk->next && (char *)chunk + chunk->bytes == (char *)chunk->next) {
    chunk->bytes += chunk->next->bytes;
    chunk->next = chunk->next->next;
  }
  if (before && (char *)before + before->bytes == (char *)chunk) {
    before->bytes += chunk->bytes;
    before->next = chunk->next;
  }
}

void *pi_l2_malloc(int size) {
  return size < 0 ? NULL : allocate(prepared(&l2, _l2_heap_start, _l2_heap_end), (uint32_t)size);
}

void pi_l2_free(void *chunk, int size) {
  release(prepared(&l2, _l2_heap_start, _l2_heap_end), chunk, (uint32_t)size);
}

void *pi_cl_l1_malloc(struct pi_device *device, uint32_t size) {
  (void)device;
  return allocate(prepared(&l1, _l1_heap_start, _l1_heap_end), size);
}

void pi_cl_l1_free(struct pi_device *device, void *chunk, int size) {
  (void)device;
  release(prepared(&l1, _l1_heap_start, _l1_heap_end), chunk, (uint32_t)size);
}
