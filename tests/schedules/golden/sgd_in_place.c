/* sgd_in_place: sgd of layer layer
 *   parameter 64x33x3x3 float32
 *   gradient 64x33x3x3 float32
 *   learning_rate 1 float32
 *   momentum 64x33x3x3 float32
 * tile: elements 792/19008
 * L1: 25344 bytes; multiply-accumulates: 0
 */

#include "pulp_runtime.h"
#include "pulp_math.h"

#include "pulp_assembly.h"

/* What a stream walks over: pointers move on by 4 * length + skip bytes a segment, neither number is 0. */
struct stream {
  int32_t length, segments, skip;
  float *at[6];
  float scalar[6];
  float sum[2]; /* results */
};

#if PULP_ASSEMBLY

void pulp_elementwise(struct stream *);
__asm__(
    ".pushsection .text.pulp_elementwise,\"ax\",@progbits\n"
    ".option push\n"
    ".option norvc\n"
    ".balign 16\n"
    ".type pulp_elementwise, @function\n"
    "pulp_elementwise:\n"
    "addi sp, sp, -32\n"
    "sw s0, 0(sp)\n"
    "sw s1, 4(sp)\n"
    "sw s2, 8(sp)\n"
    "sw s3, 12(sp)\n"
    "sw s4, 16(sp)\n"
    "lw t0, 12(a0)\n"
    "lw t1, 16(a0)\n"
    "lw t2, 20(a0)\n"
    "lw t3, 36(a0)\n"
    "lw t4, 40(a0)\n"
    "lw t5, 44(a0)\n"
    "lw t6, 4(a0)\n"
    LP_SETUP(1, t6, 52, 6)
    "lw t6, 0(a0)\n"
    "srli t6, t6, 2\n"
    "beqz t6, 2f\n"
    LP_SETUP(0, t6, 32, 1)
    "lw a4, 12(t0)\n"
    "lw a3, 8(t0)\n"
    "lw a2, 4(t0)\n"
    "lw a1, 0(t0)\n"
    "lw s0, 12(t1)\n"
    "lw a7, 8(t1)\n"
    "lw a6, 4(t1)\n"
    "lw a5, 0(t1)\n"
    "lw s4, 12(t2)\n"
    "lw s3, 8(t2)\n"
    "fmadd.s s4, t4, s0, s4\n"
    "lw s2, 4(t2)\n"
    "fmadd.s s3, t4, a7, s3\n"
    P_LW(s1, 16, t2)
    "fmadd.s s2, t4, a6, s2\n"
    "fmadd.s s1, t4, a5, s1\n"
    "fmadd.s s4, t3, a4, s4\n"
    "sw s4, 12(t0)\n"
    "fmadd.s s3, t3, a3, s3\n"
    "sw s3, 8(t0)\n"
    "fmadd.s s2, t3, a2, s2\n"
    "sw s2, 4(t0)\n"
    "fmadd.s s1, t3, a1, s1\n"
    P_SW(s1, 16, t0)
    "fnmsub.s s0, t5, s4, s0\n"
    "sw s0, 12(t1)\n"
    "fnmsub.s a7, t5, s3, a7\n"
    "sw a7, 8(t1)\n"
    "fnmsub.s a6, t5, s2, a6\n"
    "sw a6, 4(t1)\n"
    "fnmsub.s a5, t5, s1, a5\n"
    "1:\n"
    P_SW(a5, 16, t1)
    "2:\n"
    "lw t6, 0(a0)\n"
    "andi t6, t6, 3\n"
    "beqz t6, 4f\n"
    LP_SETUP(0, t6, 8, 3)
    "lw a1, 0(t0)\n"
    "lw a5, 0(t1)\n"
    P_LW(s1, 4, t2)
    "fmadd.s s1, t4, a5, s1\n"
    "fmadd.s s1, t3, a1, s1\n"
    P_SW(s1, 4, t0)
    "fnmsub.s a5, t5, s1, a5\n"
    "3:\n"
    P_SW(a5, 4, t1)
    "4:\n"
    "lw t6, 8(a0)\n"
    "add t0, t0, t6\n"
    "add t1, t1, t6\n"
    "6:\n"
    "add t2, t2, t6\n"
    "lw s0, 0(sp)\n"
    "lw s1, 4(sp)\n"
    "lw s2, 8(sp)\n"
    "lw s3, 12(sp)\n"
    "lw s4, 16(sp)\n"
    "addi sp, sp, 32\n"
    "ret\n"
    ".size pulp_elementwise, .-pulp_elementwise\n"
    ".option pop\n"
    ".popsection\n"
);

#else

static void pulp_elementwise(struct stream *s) {
  float *p0 = s->at[0];
  float *p1 = s->at[1];
  float *p2 = s->at[2];
  const float s0 = s->scalar[0];
  const float s1 = s->scalar[1];
  const float s2 = s->scalar[2];
  for (int32_t segment = 0; segment < s->segments; ++segment) {
    for (int32_t i = 0; i < s->length; ++i) {
      float v0 = p0[i];
      float v1 = p1[i];
      float v2 = p2[i];
      float v3 = s1 * v1 + v2;
      float v4 = s0 * v0 + v3;
      float v5 = v1 - s2 * v4;
      p0[i] = v4;
      p1[i] = v5;
    }
    p0 += s->length + s->skip / 4;
    p1 += s->length + s->skip / 4;
    p2 += s->length + s->skip / 4;
  }
}

#endif

/* The share of worker `core` in a tile: a run of elements. */
static void elementwise_tile(int core, int32_t elements, float *p0, float *p1, float *p2, const float *input0) {
  const int32_t fours = (elements + 3) / 4, begin = 4 * pulp_chunk(core, PULP_CORES, fours);
  const int32_t end = pulp_min(elements, 4 * pulp_chunk(core + 1, PULP_CORES, fours));
  if (begin >= end) return;
  struct stream s; /* set field by field: an initialiser would clear all of it, by a call of memset */
  s.segments = 1, s.skip = 0;
  s.length = end - begin;
  s.at[0] = p0 + begin;
  s.at[1] = p1 + begin;
  s.at[2] = p2 + begin;
  s.scalar[0] = 0.9f;
  s.scalar[1] = 0.0005f;
  s.scalar[2] = *input0;
  pulp_elementwise(&s);
}

void sgd_in_place(int core, char *l1, float *restrict parameter, const float *restrict gradient, float *restrict learning_rate, float *restrict momentum) {
    (void)core, (void)l1;
    PULP_DMA_STATE(1);
    float *const momentum_l1 = (float *)(l1 + 0);
    float *const parameter_l1 = (float *)(l1 + 9504);
    float *const gradient_l1 = (float *)(l1 + 19008);
    if (core == 0) {
        dma_start_1d(0, momentum_l1, momentum, 3168, 1);
        dma_start_1d(0, parameter_l1, parameter, 3168, 1);
        dma_start_1d(0, gradient_l1, gradient, 3168, 1);
    }
    for (int32_t tile = 0; tile < 24; ++tile) {
        if (core == 0) {
            dma_wait(0);
        }
        cluster_barrier();
        if (core == 0) {
            if (tile < 23) {
                const int32_t following = tile + 1;
                dma_start_1d(0, momentum_l1 + following % 3 * 792, momentum + following * 792, 3168, 1);
                dma_start_1d(0, parameter_l1 + following % 3 * 792, parameter + following * 792, 3168, 1);
                dma_start_1d(0, gradient_l1 + following % 2 * 792, gradient + following * 792, 3168, 1);
            }
            if (tile > 0) {
                const int32_t previous = tile - 1;
                dma_start_1d(0, momentum_l1 + previous % 3 * 792, momentum + previous * 792, 3168, 0);
                dma_start_1d(0, parameter_l1 + previous % 3 * 792, parameter + previous * 792, 3168, 0);
            }
        }
        const int32_t momentum_l1_start = tile % 3 * 792;
        const int32_t parameter_l1_start = tile % 3 * 792;
        const int32_t gradient_l1_start = tile % 2 * 792;
        const int32_t worker_first = core, worker_end = core + 1;
        for (int32_t worker = worker_first; worker < worker_end; ++worker) {
            elementwise_tile(worker, 792, momentum_l1 + momentum_l1_start, parameter_l1 + parameter_l1_start, gradient_l1 + gradient_l1_start, learning_rate);
        }
    }
    cluster_barrier();
    if (core == 0) {
        dma_start_1d(0, momentum_l1 + 1584, momentum + 18216, 3168, 0);
        dma_start_1d(0, parameter_l1 + 1584, parameter + 18216, 3168, 0);
        dma_wait(0);
    }
}
