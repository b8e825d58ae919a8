/* The parts of pulp_runtime.h that are rare or long: ids of transfers, and transfers in pieces. */
#include "pulp_runtime.h"

PI_CL_L1 struct pulp_dma pulp_dma;

#ifdef PULP_BARE_METAL

void pulp_dma_wait_for_all(void) {
  dma_wait_for_ids(pulp_dma.allocated);
  pulp_dma.open_slot = 0;
  pulp_dma.allocated = 0;
  for (int slot = 0; slot < PULP_DMA_SLOTS; slot++) pulp_dma.ids[slot] = 0;
}

#else

pi_cl_dma_cmd_t *pulp_dma_allocate(int slot) {
  if (pulp_dma.allocated == (1u << PULP_DMA_IDS) - 1)
    for (int other = 0; other < PULP_DMA_SLOTS; other++) dma_wait(other);
  const int id = __builtin_ctz(~pulp_dma.allocated);
  pulp_dma.allocated |= 1u << id;
  pulp_dma.ids[slot] |= 1u << id;
  return &pulp_dma.commands[id];
}

void dma_wait(int slot) {
  for (int id = 0; id < PULP_DMA_IDS; id++)
    if (pulp_dma.ids[slot] >> id & 1) pi_cl_dma_cmd_wait(&pulp_dma.commands[id]);
  pulp_dma.allocated &= ~pulp_dma.ids[slot];
  pulp_dma.ids[slot] = 0;
}

#endif

void pulp_dma_split_1d(int slot, uint32_t l1, uint32_t l2, uint32_t bytes, int direction) {
  for (; bytes > PULP_DMA_LIMIT; bytes -= PULP_DMA_LIMIT, l1 += PULP_DMA_LIMIT, l2 += PULP_DMA_LIMIT)
    pulp_dma_command(slot, l1, l2, PULP_DMA_LIMIT, direction);
  pulp_dma_command(slot, l1, l2, bytes, direction);
}

void pulp_dma_split_2d(int slot, uint32_t l1, uint32_t l2, uint32_t bytes, uint32_t stride, uint32_t line,
                       int direction) {
  if (line > PULP_DMA_LIMIT) { /* a command a piece of a line */
    for (; bytes; bytes -= line, l1 += line, l2 += stride) pulp_dma_split_1d(slot, l1, l2, line, direction);
    return;
  }
  const uint32_t lines = PULP_DMA_LIMIT / line, piece = lines * line;
  for (; bytes > piece; bytes -= piece, l1 += piece, l2 += lines * stride)
    pulp_dma_command_2d(slot, l1, l2, piece, stride, line, direction);
  pulp_dma_command_2d(slot, l1, l2, bytes, stride, line, direction);
}
