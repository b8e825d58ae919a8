/* conv2d_generic: conv2d of layer layer
 *   data 2x8x17x15 float32
 *   weight 12x8x3x3 float32
 *   output 2x12x9x8 float32
 * tile: output: n 2/2, o 12/12, h 9/9, w 8/8, channel 2/8, kh 3/3, kw 3/3
 * L1: 23712 bytes; multiply-accumulates: 124416
 */

#include "pulp_runtime.h"
#include "pulp_math.h"

void conv2d_generic(int core, char *l1, const float *restrict data, const float *restrict weight, float *restrict output) {
    (void)core, (void)l1;
    PULP_DMA_STATE(1);
    /* output */
    {
        float *const data_l1 = (float *)(l1 + 0);
        float *const weight_l1 = (float *)(l1 + 8160);
        float *const output_out = (float *)(l1 + 9888);
        float *const partial = (float *)(l1 + 16800);
        if (core == 0) {
            dma_start_2d(0, data_l1, data, 4080, 8160, 2040, 1);
            dma_start_2d(0, weight_l1, weight, 864, 288, 72, 1);
        }
        for (int32_t tile = 0; tile < 4; ++tile) {
            if (core == 0) {
                dma_wait(0);
            }
            cluster_barrier();
            if (core == 0) {
                if (tile < 3) {
                    const int32_t following = tile + 1;
                    dma_start_2d(0, data_l1 + following % 2 * 1020, data + following * 510, 4080, 8160, 2040, 1);
                    dma_start_2d(0, weight_l1 + following % 2 * 216, weight + following * 18, 864, 288, 72, 1);
                }
            }
            const int32_t data_turn = tile % 2 * 1020;
            const int32_t weight_turn = tile % 2 * 216;
            for (int32_t o_block = 0; o_block < 3; ++o_block) {
                for (int32_t h = 0; h < 9; ++h) {
                    const int32_t w_first = core, w_end = core + 1;
                    for (int32_t w = w_first; w < w_end; ++w) {
                        float sum[8];
                        if (tile == 0) {
                            sum[0] = 0.0f;
                            sum[1] = 0.0f;
                            sum[2] = 0.0f;
                            sum[3] = 0.0f;
                            sum[4] = 0.0f;
                            sum[5] = 0.0f;
                            sum[6] = 0.0f;
                            sum[7] = 0.0f;
                        } else {
                            sum[0] = partial[o_block * 288 + h * 8 + w];
                            sum[1] = partial[o_block * 288 + h * 8 + w + 72];
                            sum[2] = partial[o_block * 288 + h * 8 + w + 144];
                            sum[3] = partial[o_block * 288 + h * 8 + w + 216];
                            sum[4] = partial[o_block * 288 + h * 8 + w + 864];
                            sum[5] = partial[o_block * 288 + h * 8 + w + 936];
                            sum[6] = partial[o_block * 288 + h * 8 + w + 1008];
                            sum[7] = partial[o_block * 288 + h * 8 + w + 1080];
                        }
                        for (int32_t kh = 0; kh < 3; ++kh) {
                            for (int32_t kw = 0; kw < 3; ++kw) {
                                if (1 <= h * 2 + kh && h * 2 + kh < 18 && 1 <= w * 2 + kw && w * 2 + kw < 16) {
                                    const float *data_l1_at = data_l1 + (h * 30 + kh * 15 + w * 2 + data_turn + kw - 16);
                                    const float *weight_l1_at = weight_l1 + (o_block * 72 + kh * 3 + weight_turn + kw);
                                    for (int32_t channel = 0; channel < 2; ++channel, data_l1_at += 255, weight_l1_at += 9) {
                                        sum[0] = sum[0] + data_l1_at[0] * weight_l1_at[0];
                                        sum[1] = sum[1] + data_l1_at[0] * weight_l1_at[18];
                                        sum[2] = sum[2] + data_l1_at[0] * weight_l1_at[36];
                                        sum[3] = sum[3] + data_l1_at[0] * weight_l1_at[54];
                                        sum[4] = sum[4] + data_l1_at[510] * weight_l1_at[0];
                                        sum[5] = sum[5] + data_l1_at[510] * weight_l1_at[18];
                                        sum[6] = sum[6] + data_l1_at[510] * weight_l1_at[36];
                                        sum[7] = sum[7] + data_l1_at[510] * weight_l1_at[54];
                                    }
                                }
                            }
                        }
                        if (tile == 3) {
                            const float output_value = sum[0];
                            const float output_value_1 = sum[1];
                            const float output_value_2 = sum[2];
                            const float output_value_3 = sum[3];
                            const float output_value_4 = sum[4];
                            const float output_value_5 = sum[5];
                            const float output_value_6 = sum[6];
                            const float output_value_7 = sum[7];
                            output_out[o_block * 288 + h * 8 + w] = output_value;
                            output_out[o_block * 288 + h * 8 + w + 72] = output_value_1;
                            output_out[o_block * 288 + h * 8 + w + 144] = output_value_2;
                            output_out[o_block * 288 + h * 8 + w + 216] = output_value_3;
                            output_out[o_block * 288 + h * 8 + w + 864] = output_value_4;
                            output_out[o_block * 288 + h * 8 + w + 936] = output_value_5;
                            output_out[o_block * 288 + h * 8 + w + 1008] = output_value_6;
                            output_out[o_block * 288 + h * 8 + w + 1080] = output_value_7;
                        } else {
                            partial[o_block * 288 + h * 8 + w] = sum[0];
                            partial[o_block * 288 + h * 8 + w + 72] = sum[1];
                            partial[o_block * 288 + h * 8 + w + 144] = sum[2];
                            partial[o_block * 288 + h * 8 + w + 216] = sum[3];
                            partial[o_block * 288 + h * 8 + w + 864] = sum[4];
                            partial[o_block * 288 + h * 8 + w + 936] = sum[5];
                            partial[o_block * 288 + h * 8 + w + 1008] = sum[6];
                            partial[o_block * 288 + h * 8 + w + 1080] = sum[7];
                        }
                    }
                }
            }
        }
        cluster_barrier();
        if (core == 0) {
            dma_start_1d(0, output_out, output, 6912, 0);
            dma_wait(0);
        }
    }
}
