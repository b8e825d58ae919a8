/* matmul_in_tiles: matmul of layer layer
 *   a 150x90 float32
 *   b 70x90 float32
 *   c 150x70 float32
 * tile: m 16/150, n 70/70, k 90/90; register block 2x2
 * L1: 55920 bytes; multiply-accumulates: 945000
 */

#include "pulp_runtime.h"
#include "pulp_math.h"

#include "pulp_assembly.h"

/* What a panel needs to know beside its pointers. */
struct panel {
  int32_t blocks;      /* register blocks side by side */
  int32_t depth;       /* steps of the sum */
  int32_t c_row;       /* bytes from a row of the results to the next */
  int32_t accumulate;  /* whether to add to what is there */
};

#if PULP_ASSEMBLY

void panel_2x2(const float *, const float *, float *, const struct panel *);
__asm__(
    ".pushsection .text.panel_2x2,\"ax\",@progbits\n"
    ".option push\n"
    ".option norvc\n"
    ".balign 16\n"
    ".type panel_2x2, @function\n"
    "panel_2x2:\n"
    "addi sp, sp, -96\n"
    "lw t2, 4(a3)\n"
    "lw t3, 0(a3)\n"
    "lw t5, 12(a3)\n"
    "lw t4, 8(a3)\n"
    "sw t4, 16(sp)\n"
    "sw a2, 12(sp)\n"
    "sw t5, 20(sp)\n"
    "addi t0, a0, 360\n"
    "sw t0, 0(sp)\n"
    "addi t1, a1, 360\n"
    "li t4, 720\n"
    "li t5, 4\n"
    "mul t5, t5, t2\n"
    "mul t3, t3, t4\n"
    "sub t4, t4, t5\n"
    "add t3, t3, t1\n"
    "sw t4, 4(sp)\n"
    "sw t3, 8(sp)\n"
    "addi t2, t2, -2\n"
    "1:\n"
    "lw a0, -360(t0)\n"
    "lw t3, -360(t1)\n"
    P_LW(t4, 4, t1)
    "bltz t2, 8f\n"
    "fmul.s a4, a0, t3\n"
    P_LW(a1, 4, t0)
    "fmul.s a5, a0, t4\n"
    "lw a0, -360(t0)\n"
    "fmul.s a6, a1, t3\n"
    "lw t3, -360(t1)\n"
    "fmul.s a7, a1, t4\n"
    P_LW(t4, 4, t1)
    "beqz t2, 4f\n"
    LP_SETUP(0, t2, 8, 5)
    "fmadd.s a4, a0, t3, a4\n"
    P_LW(a1, 4, t0)
    "fmadd.s a5, a0, t4, a5\n"
    "lw a0, -360(t0)\n"
    "fmadd.s a6, a1, t3, a6\n"
    "lw t3, -360(t1)\n"
    "fmadd.s a7, a1, t4, a7\n"
    "5:\n"
    P_LW(t4, 4, t1)
    "4:\n"
    "fmadd.s a4, a0, t3, a4\n"
    P_LW(a1, 4, t0)
    "fmadd.s a5, a0, t4, a5\n"
    "fmadd.s a6, a1, t3, a6\n"
    "fmadd.s a7, a1, t4, a7\n"
    "lw a0, 12(sp)\n"
    "lw t3, 20(sp)\n"
    "lw a1, 16(sp)\n"
    "addi t4, a0, 8\n"
    "sw t4, 12(sp)\n"
    "bnez t3, 9f\n"
    "7:\n"
    "sw a4, 0(a0)\n"
    "sw a5, 4(a0)\n"
    "add a0, a0, a1\n"
    "sw a6, 0(a0)\n"
    "sw a7, 4(a0)\n"
    "lw t4, 4(sp)\n"
    "lw t3, 8(sp)\n"
    "add t1, t1, t4\n"
    "lw t0, 0(sp)\n"
    "bne t1, t3, 1b\n"
    "addi sp, sp, 96\n"
    "ret\n"
    "8:\n"
    "mv a4, zero\n"
    "mv a5, zero\n"
    "mv a6, zero\n"
    "mv a7, zero\n"
    "j 4b\n"
    "9:\n"
    "mv a2, a0\n"
    "lw t3, 0(a2)\n"
    "lw t4, 4(a2)\n"
    "add a2, a2, a1\n"
    "fadd.s a4, a4, t3\n"
    "fadd.s a5, a5, t4\n"
    "lw t3, 0(a2)\n"
    "lw t4, 4(a2)\n"
    "fadd.s a6, a6, t3\n"
    "fadd.s a7, a7, t4\n"
    "j 7b\n"
    ".size panel_2x2, .-panel_2x2\n"
    ".option pop\n"
    ".popsection\n"
);

#else

static void panel_2x2(const float *restrict a, const float *restrict b, float *restrict c,
                   const struct panel *p) {
  const float *const end = b + p->blocks * 180;
  for (; b < end; b += 180, c += 2) {
    float sum[2][2] = {{0}};
    for (int32_t k = 0; k < p->depth; ++k)
      for (int32_t i = 0; i < 2; ++i)
        for (int32_t j = 0; j < 2; ++j)
          sum[i][j] += a[i * 90 + k * 1] * b[j * 90 + k * 1];
    for (int32_t i = 0; i < 2; ++i)
      for (int32_t j = 0; j < 2; ++j) {
        float *result = c + i * (p->c_row / 4) + j * 1;
        *result = p->accumulate ? *result + sum[i][j] : sum[i][j];
      }
  }
}

#endif

/* The share of worker `core` in images x m x n results over k terms: contiguous runs of register blocks.
 * With `segments` above 1 the sum runs over that many images instead. */
static void matmul_tile(int core, const float *a, const float *b, float *c, int32_t m, int32_t n,
                        int32_t k, int32_t images, int32_t segments, int32_t a_image, int32_t b_image,
                        int32_t accumulate) {
  const int worker = core, workers = PULP_CORES;
  (void)images;
  const int32_t columns = (n + 1) / 2;
  const int32_t blocks = (m + 1) / 2 * columns;
  const int32_t last = pulp_chunk(worker + 1, workers, blocks);
  (void)segments, (void)a_image, (void)b_image;
  struct panel panel;
  panel.depth = k;
  panel.c_row = 4 * n;
  panel.accumulate = accumulate;
  for (int32_t at = pulp_chunk(worker, workers, blocks); at < last;) {
    const int32_t i = (at) / columns;
    const int32_t row = i * 2;
    const float *a_block = a + row * 90;
    int32_t j = at - i * columns;
    const int32_t end = pulp_min(columns, j + last - at);
    at += end - j;
    while (j < end) {
      const int32_t column = j * 2;
      panel.blocks = end - j;
      const float *b_block = b + column * 90;
      float *c_block = c + row * n + column;
      j += panel.blocks;
      panel_2x2(a_block, b_block, c_block, &panel);
    }
  }
}

void matmul_in_tiles(int core, char *l1, const float *restrict a, const float *restrict b, float *restrict c) {
    (void)core, (void)l1;
    PULP_DMA_STATE(2);
    float *const a_l1 = (float *)(l1 + 0);
    float *const b_l1 = (float *)(l1 + 17280);
    float *const c_l1 = (float *)(l1 + 42480);
    if (core == 0) {
        dma_start_1d(0, b_l1, b, 25200, 1);
        dma_start_1d(0, a_l1, a, 5760, 1);
        dma_start_1d(1, a_l1 + 1440, a + 1440, 5760, 1);
    }
    for (int32_t tile = 0; tile < 10; ++tile) {
        if (core == 0) {
            dma_wait(tile % 2);
        }
        cluster_barrier();
        if (core == 0) {
            if (tile < 8) {
                const int32_t following = tile + 2;
                dma_start_1d(tile % 2, a_l1 + following % 3 * 1440, a + following * 1440, pulp_min(16, 150 - following * 16) * 360, 1);
            }
            if (tile > 0) {
                const int32_t previous = tile - 1;
                dma_start_1d(tile % 2, c_l1 + previous % 3 * 1120, c + previous * 1120, 4480, 0);
            }
        }
        const int32_t a_start = tile % 3 * 1440;
        const int32_t c_start = tile % 3 * 1120;
        const int32_t m_size = pulp_min(16, 150 - tile * 16);
        const int32_t worker_first = core, worker_end = core + 1;
        for (int32_t worker = worker_first; worker < worker_end; ++worker) {
            matmul_tile(worker, a_l1 + a_start, b_l1, c_l1 + c_start, m_size, 70, 90, 1, 1, 0, 0, 0);
        }
    }
    cluster_barrier();
    if (core == 0) {
        dma_start_1d(0, c_l1, c + 10080, 1680, 0);
        dma_wait(0);
        dma_wait(1);
    }
}
