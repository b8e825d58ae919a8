/* matmul_in_tiles: matmul of layer layer
 *   a 150x90 float32
 *   b 70x90 float32
 *   c 150x70 float32
 * tile: m 32/150, n 24/70, k 90/90; register block 4x2
 * L1: 46464 bytes; multiply-accumulates: 945000
 */

#include "pulp_runtime.h"
#include "pulp_math.h"

#include "pulp_assembly.h"

/* What a panel needs to know beside its pointers; skips and distances in bytes. */
struct panel {
  int32_t blocks;                       /* register blocks side by side */
  int32_t depth, segments, groups;      /* steps of a segment of the sum, segments of a group, groups */
  int32_t a_segment, b_segment;         /* what is skipped after a segment */
  int32_t a_group, b_group;             /* and, beside that, after a group */
  int32_t c_row, accumulate;            /* distance of the results' rows; whether to add to what is there */
};

#if PULP_ASSEMBLY

void panel_4x2(const float *, const float *, float *, const struct panel *);
__asm__(
    ".pushsection .text.panel_4x2,\"ax\",@progbits\n"
    ".option push\n"
    ".option norvc\n"
    ".balign 16\n"
    ".type panel_4x2, @function\n"
    "panel_4x2:\n"
    "addi sp, sp, -96\n"
    "sw s0, 24(sp)\n"
    "sw s1, 28(sp)\n"
    "sw s2, 32(sp)\n"
    "sw s3, 36(sp)\n"
    "sw s4, 40(sp)\n"
    "sw s5, 44(sp)\n"
    "sw s6, 48(sp)\n"
    "sw s7, 52(sp)\n"
    "lw t2, 4(a3)\n"
    "lw t3, 0(a3)\n"
    "lw t4, 32(a3)\n"
    "lw t5, 36(a3)\n"
    "sw a2, 12(sp)\n"
    "sw t4, 16(sp)\n"
    "sw t5, 20(sp)\n"
    "addi t0, a0, 1080\n"
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
    "lw a0, -1080(t0)\n"
    "lw t3, -360(t1)\n"
    P_LW(t4, 4, t1)
    "lw a1, -720(t0)\n"
    "bltz t2, 8f\n"
    "fmul.s s0, a0, t3\n"
    "lw a2, -360(t0)\n"
    "fmul.s s1, a0, t4\n"
    P_LW(a3, 4, t0)
    "fmul.s s2, a1, t3\n"
    "fmul.s s4, a2, t3\n"
    "lw a0, -1080(t0)\n"
    "fmul.s s6, a3, t3\n"
    "lw t3, -360(t1)\n"
    "fmul.s s3, a1, t4\n"
    "lw a1, -720(t0)\n"
    "fmul.s s5, a2, t4\n"
    "fmul.s s7, a3, t4\n"
    P_LW(t4, 4, t1)
    "beqz t2, 4f\n"
    LP_SETUP(0, t2, 14, 5)
    "fmadd.s s0, a0, t3, s0\n"
    "lw a2, -360(t0)\n"
    "fmadd.s s1, a0, t4, s1\n"
    P_LW(a3, 4, t0)
    "fmadd.s s2, a1, t3, s2\n"
    "fmadd.s s4, a2, t3, s4\n"
    "lw a0, -1080(t0)\n"
    "fmadd.s s6, a3, t3, s6\n"
    "lw t3, -360(t1)\n"
    "fmadd.s s3, a1, t4, s3\n"
    "lw a1, -720(t0)\n"
    "fmadd.s s5, a2, t4, s5\n"
    "fmadd.s s7, a3, t4, s7\n"
    "5:\n"
    P_LW(t4, 4, t1)
    "4:\n"
    "fmadd.s s0, a0, t3, s0\n"
    "lw a2, -360(t0)\n"
    "fmadd.s s1, a0, t4, s1\n"
    P_LW(a3, 4, t0)
    "fmadd.s s2, a1, t3, s2\n"
    "fmadd.s s4, a2, t3, s4\n"
    "fmadd.s s6, a3, t3, s6\n"
    "fmadd.s s3, a1, t4, s3\n"
    "fmadd.s s5, a2, t4, s5\n"
    "fmadd.s s7, a3, t4, s7\n"
    "lw a0, 12(sp)\n"
    "lw a3, 20(sp)\n"
    "lw a1, 16(sp)\n"
    "addi a2, a0, 8\n"
    "sw a2, 12(sp)\n"
    "bnez a3, 9f\n"
    "7:\n"
    "sw s0, 0(a0)\n"
    "sw s1, 4(a0)\n"
    "add a0, a0, a1\n"
    "sw s2, 0(a0)\n"
    "sw s3, 4(a0)\n"
    "add a0, a0, a1\n"
    "sw s4, 0(a0)\n"
    "sw s5, 4(a0)\n"
    "add a0, a0, a1\n"
    "sw s6, 0(a0)\n"
    "sw s7, 4(a0)\n"
    "lw a1, 4(sp)\n"
    "lw a0, 8(sp)\n"
    "add t1, t1, a1\n"
    "lw t0, 0(sp)\n"
    "bne t1, a0, 1b\n"
    "lw s0, 24(sp)\n"
    "lw s1, 28(sp)\n"
    "lw s2, 32(sp)\n"
    "lw s3, 36(sp)\n"
    "lw s4, 40(sp)\n"
    "lw s5, 44(sp)\n"
    "lw s6, 48(sp)\n"
    "lw s7, 52(sp)\n"
    "addi sp, sp, 96\n"
    "ret\n"
    "8:\n"
    "mv s0, zero\n"
    "mv s1, zero\n"
    "mv s2, zero\n"
    "mv s3, zero\n"
    "mv s4, zero\n"
    "mv s5, zero\n"
    "mv s6, zero\n"
    "mv s7, zero\n"
    "j 4b\n"
    "9:\n"
    "mv a2, a0\n"
    "lw t3, 0(a2)\n"
    "lw t4, 4(a2)\n"
    "add a2, a2, a1\n"
    "fadd.s s0, s0, t3\n"
    "fadd.s s1, s1, t4\n"
    "lw t3, 0(a2)\n"
    "lw t4, 4(a2)\n"
    "add a2, a2, a1\n"
    "fadd.s s2, s2, t3\n"
    "fadd.s s3, s3, t4\n"
    "lw t3, 0(a2)\n"
    "lw t4, 4(a2)\n"
    "add a2, a2, a1\n"
    "fadd.s s4, s4, t3\n"
    "fadd.s s5, s5, t4\n"
    "lw t3, 0(a2)\n"
    "lw t4, 4(a2)\n"
    "add a2, a2, a1\n"
    "fadd.s s6, s6, t3\n"
    "fadd.s s7, s7, t4\n"
    "j 7b\n"
    ".size panel_4x2, .-panel_4x2\n"
    ".option pop\n"
    ".popsection\n"
);

void panel_2x2(const float *, const float *, float *, const struct panel *);
__asm__(
    ".pushsection .text.panel_2x2,\"ax\",@progbits\n"
    ".option push\n"
    ".option norvc\n"
    ".balign 16\n"
    ".type panel_2x2, @function\n"
    "panel_2x2:\n"
    "addi sp, sp, -96\n"
    "sw s0, 24(sp)\n"
    "sw s1, 28(sp)\n"
    "sw s2, 32(sp)\n"
    "sw s3, 36(sp)\n"
    "lw t2, 4(a3)\n"
    "lw t3, 0(a3)\n"
    "lw t4, 32(a3)\n"
    "lw t5, 36(a3)\n"
    "sw a2, 12(sp)\n"
    "sw t4, 16(sp)\n"
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
    "fmul.s s0, a0, t3\n"
    P_LW(a1, 4, t0)
    "fmul.s s1, a0, t4\n"
    "lw a0, -360(t0)\n"
    "fmul.s s2, a1, t3\n"
    "lw t3, -360(t1)\n"
    "fmul.s s3, a1, t4\n"
    P_LW(t4, 4, t1)
    "beqz t2, 4f\n"
    LP_SETUP(0, t2, 8, 5)
    "fmadd.s s0, a0, t3, s0\n"
    P_LW(a1, 4, t0)
    "fmadd.s s1, a0, t4, s1\n"
    "lw a0, -360(t0)\n"
    "fmadd.s s2, a1, t3, s2\n"
    "lw t3, -360(t1)\n"
    "fmadd.s s3, a1, t4, s3\n"
    "5:\n"
    P_LW(t4, 4, t1)
    "4:\n"
    "fmadd.s s0, a0, t3, s0\n"
    P_LW(a1, 4, t0)
    "fmadd.s s1, a0, t4, s1\n"
    "fmadd.s s2, a1, t3, s2\n"
    "fmadd.s s3, a1, t4, s3\n"
    "lw a0, 12(sp)\n"
    "lw a3, 20(sp)\n"
    "lw a1, 16(sp)\n"
    "addi a2, a0, 8\n"
    "sw a2, 12(sp)\n"
    "bnez a3, 9f\n"
    "7:\n"
    "sw s0, 0(a0)\n"
    "sw s1, 4(a0)\n"
    "add a0, a0, a1\n"
    "sw s2, 0(a0)\n"
    "sw s3, 4(a0)\n"
    "lw a1, 4(sp)\n"
    "lw a0, 8(sp)\n"
    "add t1, t1, a1\n"
    "lw t0, 0(sp)\n"
    "bne t1, a0, 1b\n"
    "lw s0, 24(sp)\n"
    "lw s1, 28(sp)\n"
    "lw s2, 32(sp)\n"
    "lw s3, 36(sp)\n"
    "addi sp, sp, 96\n"
    "ret\n"
    "8:\n"
    "mv s0, zero\n"
    "mv s1, zero\n"
    "mv s2, zero\n"
    "mv s3, zero\n"
    "j 4b\n"
    "9:\n"
    "mv a2, a0\n"
    "lw t3, 0(a2)\n"
    "lw t4, 4(a2)\n"
    "add a2, a2, a1\n"
    "fadd.s s0, s0, t3\n"
    "fadd.s s1, s1, t4\n"
    "lw t3, 0(a2)\n"
    "lw t4, 4(a2)\n"
    "add a2, a2, a1\n"
    "fadd.s s2, s2, t3\n"
    "fadd.s s3, s3, t4\n"
    "j 7b\n"
    ".size panel_2x2, .-panel_2x2\n"
    ".option pop\n"
    ".popsection\n"
);

#else

static void panel_4x2(const float *restrict a, const float *restrict b, float *restrict c,
                   const struct panel *p) {
  const float *const end = b + p->blocks * 180;
  for (; b < end; b += 180, c += 2) {
    float sum[4][2] = {{0}};
    const float *x = a, *y = b;
    for (int32_t group = 0; group < p->groups; ++group) {
      for (int32_t segment = 0; segment < p->segments; ++segment) {
        for (int32_t k = 0; k < p->depth; ++k, x += 1, y += 1)
          for (int32_t i = 0; i < 4; ++i)
            for (int32_t j = 0; j < 2; ++j) sum[i][j] += x[i * 90] * y[j * 90];
        x += p->a_segment / 4, y += p->b_segment / 4;
      }
      x += p->a_group / 4, y += p->b_group / 4;
    }
    for (int32_t i = 0; i < 4; ++i)
      for (int32_t j = 0; j < 2; ++j) {
        float *result = c + i * (p->c_row / 4) + j * 1;
        *result = p->accumulate ? *result + sum[i][j] : sum[i][j];
      }
  }
}

static void panel_2x2(const float *restrict a, const float *restrict b, float *restrict c,
                   const struct panel *p) {
  const float *const end = b + p->blocks * 180;
  for (; b < end; b += 180, c += 2) {
    float sum[2][2] = {{0}};
    const float *x = a, *y = b;
    for (int32_t group = 0; group < p->groups; ++group) {
      for (int32_t segment = 0; segment < p->segments; ++segment) {
        for (int32_t k = 0; k < p->depth; ++k, x += 1, y += 1)
          for (int32_t i = 0; i < 2; ++i)
            for (int32_t j = 0; j < 2; ++j) sum[i][j] += x[i * 90] * y[j * 90];
        x += p->a_segment / 4, y += p->b_segment / 4;
      }
      x += p->a_group / 4, y += p->b_group / 4;
    }
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
  const int32_t columns = (n + 1) / 2;
  const int32_t blocks = (m + 3) / 4 * columns;
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, blocks * images);
  struct panel panel = {
      .depth = k, .segments = segments, .groups = 1, .c_row = 4 * n, .accumulate = accumulate,
      .a_segment = 4 * (a_image - k * 1), .b_segment = 4 * (b_image - k * 1)};
  for (int32_t at = pulp_chunk(core, PULP_CORES, blocks * images); at < last;) {
    const int32_t image = at / blocks, i = (at - image * blocks) / columns;
    const int32_t row = i * 4;
    const float *a_block = a + image * a_image + row * 90;
    int32_t j = at - image * blocks - i * columns;
    const int32_t end = pulp_min(columns, j + last - at);
    at += end - j;
    while (j < end) {
      const int32_t column = j * 2;
      const int32_t height = pulp_min(4, m - row);
      panel.blocks = end - j;
      const float *b_block = b + image * b_image + column * 90;
      float *c_block = c + (image * m + row) * n + column;
      j += panel.blocks;
      if (height == 4) panel_4x2(a_block, b_block, c_block, &panel);
      else panel_2x2(a_block, b_block, c_block, &panel);
    }
  }
}

void matmul_in_tiles(int core, char *l1, const float *restrict a, const float *restrict b, float *restrict c) {
    (void)core, (void)l1;
    float *const a_l1 = (float *)(l1 + 0);
    float *const b_l1 = (float *)(l1 + 23040);
    float *const c_l1 = (float *)(l1 + 40320);
    if (core == 0) {
        dma_start_1d(0, a_l1, a, 11520, 1);
        dma_start_1d(0, b_l1, b, 8640, 1);
    }
    for (int32_t tile = 0; tile < 15; ++tile) {
        if (core == 0) {
            dma_wait(tile % 2);
            dma_wait(tile % 2 + 2);
        }
        cluster_barrier();
        if (core == 0) {
            if (tile < 14) {
                const int32_t following = tile + 1;
                dma_start_1d(following % 2, a_l1 + following % 2 * 2880, a + following % 5 * 2880, pulp_min(32, 150 - following % 5 * 32) * 360, 1);
                if (following % 5 == 0) {
                    dma_start_1d(following % 2, b_l1 + following % 10 / 5 * 2160, b + following / 5 * 2160, pulp_min(24, 70 - following / 5 * 24) * 360, 1);
                }
            }
            if (tile > 0) {
                const int32_t previous = tile - 1;
                for (int32_t d0 = 0; d0 < 1; ++d0) {
                    dma_start_2d(previous % 2 + 2, c_l1 + (previous % 2 * 768 + d0 * pulp_min(32, 150 - previous % 5 * 32) * pulp_min(24, 70 - previous / 5 * 24)), c + (d0 * 10500 + previous % 5 * 2240 + previous / 5 * 24), pulp_min(24, 70 - previous / 5 * 24) * pulp_min(32, 150 - previous % 5 * 32) * 4, 280, pulp_min(24, 70 - previous / 5 * 24) * 4, 0);
                }
            }
        }
        const int32_t a_start = tile % 2 * 2880;
        const int32_t b_start = tile % 10 / 5 * 2160;
        const int32_t c_start = tile % 2 * 768;
        const int32_t m_size = pulp_min(32, 150 - tile % 5 * 32);
        const int32_t n_size = pulp_min(24, 70 - tile / 5 * 24);
        const int32_t worker_first = core, worker_end = core + 1;
        for (int32_t worker = worker_first; worker < worker_end; ++worker) {
            matmul_tile(worker, a_l1 + a_start, b_l1 + b_start, c_l1 + c_start, m_size, n_size, 90, 1, 1, 0, 0, 0);
        }
    }
    cluster_barrier();
    if (core == 0) {
        for (int32_t d0_1 = 0; d0_1 < 1; ++d0_1) {
            dma_start_2d(2, c_l1 + d0_1 * 484, c + (d0_1 * 10500 + 9008), 1936, 280, 88, 0);
        }
        dma_wait(2);
        dma_wait(3);
    }
}
