/* sgd_in_place: sgd of layer layer
 *   parameter 64x33x3x3 float32
 *   gradient 64x33x3x3 float32
 *   learning_rate 1 float32
 *   momentum 64x33x3x3 float32
 * tile: new_parameter: i0_i1_i2_i3 1188/19008
 * L1: 47536 bytes; multiply-accumulates: 0
 */

#include "pulp_runtime.h"
#include "pulp_math.h"

void sgd_in_place(int core, char *l1, float *restrict parameter, const float *restrict gradient, const float *restrict learning_rate, float *restrict momentum) {
    (void)core, (void)l1;
    /* new_parameter */
    {
        float *const learning_rate_l1 = (float *)(l1 + 0);
        float *const momentum_l1 = (float *)(l1 + 16);
        float *const gradient_l1 = (float *)(l1 + 9520);
        float *const parameter_l1 = (float *)(l1 + 19024);
        float *const momentum_out = (float *)(l1 + 28528);
        float *const parameter_out = (float *)(l1 + 38032);
        if (core == 0) {
            dma_start_1d(0, learning_rate_l1, learning_rate, 4, 1);
            dma_start_1d(0, momentum_l1, momentum, 4752, 1);
            dma_start_1d(0, gradient_l1, gradient, 4752, 1);
            dma_start_1d(0, parameter_l1, parameter, 4752, 1);
        }
        for (int32_t tile = 0; tile < 16; ++tile) {
            if (core == 0) {
                dma_wait(tile % 2);
                dma_wait(tile % 2 + 2);
            }
            cluster_barrier();
            if (core == 0) {
                if (tile < 15) {
                    const int32_t following = tile + 1;
                    dma_start_1d(following % 2, momentum_l1 + following % 2 * 1188, momentum + following * 1188, 4752, 1);
                    dma_start_1d(following % 2, gradient_l1 + following % 2 * 1188, gradient + following * 1188, 4752, 1);
                    dma_start_1d(following % 2, parameter_l1 + following % 2 * 1188, parameter + following * 1188, 4752, 1);
                }
                if (tile > 0) {
                    const int32_t previous = tile - 1;
                    dma_start_1d(previous % 2 + 2, momentum_out + previous % 2 * 1188, momentum + previous * 1188, 4752, 0);
                    dma_start_1d(previous % 2 + 2, parameter_out + previous % 2 * 1188, parameter + previous * 1188, 4752, 0);
                }
            }
            const int32_t momentum_turn = tile % 2 * 1188;
            const int32_t gradient_turn = tile % 2 * 1188;
            const int32_t parameter_turn = tile % 2 * 1188;
            const int32_t momentum_out_turn = tile % 2 * 1188;
            const int32_t parameter_out_turn = tile % 2 * 1188;
            const int32_t i0_i1_i2_i3_block_first = core * 37 + pulp_min(core, 1), i0_i1_i2_i3_block_end = (core + 1) * 37 + pulp_min(core + 1, 1);
            const float learning_rate_l1_value = learning_rate_l1[0];
            const float *momentum_l1_at = momentum_l1 + momentum_turn + i0_i1_i2_i3_block_first * (4);
            const float *gradient_l1_at = gradient_l1 + gradient_turn + i0_i1_i2_i3_block_first * (4);
            const float *parameter_l1_at = parameter_l1 + parameter_turn + i0_i1_i2_i3_block_first * (4);
            float *momentum_out_at = momentum_out + momentum_out_turn + i0_i1_i2_i3_block_first * (4);
            float *parameter_out_at = parameter_out + parameter_out_turn + i0_i1_i2_i3_block_first * (4);
            for (int32_t i0_i1_i2_i3_block = i0_i1_i2_i3_block_first; i0_i1_i2_i3_block < i0_i1_i2_i3_block_end; ++i0_i1_i2_i3_block, momentum_l1_at += 4, gradient_l1_at += 4, parameter_l1_at += 4, momentum_out_at += 4, parameter_out_at += 4) {
                const float momentum_value = 0.9f * momentum_l1_at[0] + (gradient_l1_at[0] + 0.0005f * parameter_l1_at[0]);
                const float parameter_value = parameter_l1_at[0] - learning_rate_l1_value * momentum_value;
                const float momentum_value_1 = 0.9f * momentum_l1_at[1] + (gradient_l1_at[1] + 0.0005f * parameter_l1_at[1]);
                const float parameter_value_1 = parameter_l1_at[1] - learning_rate_l1_value * momentum_value_1;
                const float momentum_value_2 = 0.9f * momentum_l1_at[2] + (gradient_l1_at[2] + 0.0005f * parameter_l1_at[2]);
                const float parameter_value_2 = parameter_l1_at[2] - learning_rate_l1_value * momentum_value_2;
                const float momentum_value_3 = 0.9f * momentum_l1_at[3] + (gradient_l1_at[3] + 0.0005f * parameter_l1_at[3]);
                const float parameter_value_3 = parameter_l1_at[3] - learning_rate_l1_value * momentum_value_3;
                momentum_out_at[0] = momentum_value;
                parameter_out_at[0] = parameter_value;
                momentum_out_at[1] = momentum_value_1;
                parameter_out_at[1] = parameter_value_1;
                momentum_out_at[2] = momentum_value_2;
                parameter_out_at[2] = parameter_value_2;
                momentum_out_at[3] = momentum_value_3;
                parameter_out_at[3] = parameter_value_3;
            }
        }
        cluster_barrier();
        if (core == 0) {
            dma_start_1d(3, momentum_out + 1188, momentum + 17820, 4752, 0);
            dma_start_1d(3, parameter_out + 1188, parameter + 17820, 4752, 0);
            dma_wait(2);
            dma_wait(3);
        }
    }
}
