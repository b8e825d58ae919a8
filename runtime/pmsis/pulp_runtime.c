/* The parts of pulp_runtime.h that are rare or long: ids of transfers, and transfers in pieces. */
#include "pulp_runtime.h"

PI_CL_L1 struct pulp_dma pulp_dma;
PI_CL_L1 uint32_t pulp_dma_ids[PULP_DMA_SLOTS];

#ifndef PULP_BARE_METAL

pi_cl_dma_cmd_t *pulp_dma_allocate(struct pulp_dma_of dma, int slot) {
  if (dma.state->allocated == (1u << PULP_DMA_IDS) - 1)
    for (int other = 0; other < PULP_DMA_SLOTS; other++) pulp_dma_wait(dma, other);
  const int id = __builtin_ctz(~dma.state->allocated);
  dma.state->allocated |= 1u << id;
  dma.ids[slot] |= 1u << id;
  return &dma.state->commands[id];
}

void pulp_dma_wait(struct pulp_dma_of dma, int slot) {
  for (int id = 0; id < PULP_DMA_IDS; id++)
    if (dma.ids[slot] >> id & 1) pi_cl_dma_cmd_wait(&dma.state->commands[id]);
  dma.state->allocated &= ~dma.ids[slot];
  dma.ids[slot] = 0;
}

#endif

void pulp_dma_split_1d(struct pulp_dma_of dma, int slot, uint32_t l1, uint32_t l2, uint32_t bytes, int direction) {
  for (; bytes > PULP_DMA_LIMIT; bytes -= PULP_DMA_LIMIT, l1 += PULP_DMA_LIMIT, l2 += PULP_DMA_LIMIT)
    pulp_dma_command(dma, slot, l1, l2, PULP_DMA_LIMIT, direction);
  pulp_dma_command(dma, slot, l1, l2, bytes, direction);
}

void pulp_dma_split_2d(struct pulp_dma_of dma, int slot, uint32_t l1, uint32_t l2, uint32_t bytes, uint32_t stride,
                       uint32_t line, int direction) {
  if (line > PULP_DMA_LIMIT) { /* a command a piece of a line */
    for (; bytes; bytes -= line, l1 += line, l2 += stride) pulp_dma_split_1d(dma, slot, l1, l2, line, direction);
    return;
  }
  const uint32_t lines = PULP_DMA_LIMIT / line, piece = lines * line;
  for (; bytes > piece; bytes -= piece, l1 += piece, l2 += lines * stride)
    pulp_dma_command_2d(dma, slot, l1, l2, piece, stride, line, direction);
  pulp_dma_command_2d(dma, slot, l1, l2, bytes, stride, line, direction);
}
