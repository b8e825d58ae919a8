/* IEEE half precision as bits, and its conversions: single instructions on chips that have them, integer arithmetic
 * elsewhere. Compilers do not agree on a type for it. */
#ifndef PULP_HALF_H
#define PULP_HALF_H

#include <stdint.h>

#include "pulp_assembly.h"
#include "pulp_math.h"

typedef uint16_t pulp_half;

#if PULP_ASSEMBLY && PULP_HAS_FP16

static inline float pulp_half_to_float(pulp_half half) {
  float value;
  __asm__(FCVT_S_H(%0, %1) : "=r"(value) : "r"((uint32_t)half));
  return value;
}

/* Rounds to the nearest, ties to even. */
static inline pulp_half pulp_float_to_half(float value) {
  uint32_t half;
  __asm__(FCVT_H_S(%0, %1) : "=r"(half) : "r"(value));
  return (pulp_half)half;
}

#else

static inline float pulp_half_to_float(pulp_half half) {
  const int32_t sign = (int32_t)((uint32_t)(half & 0x8000) << 16), rest = half & 0x7fff;
  if (rest < 0x400) { /* zero and subnormal: multiples of 2^-24 */
    const float small = (float)rest * 5.9604645e-08f;
    return pulp_int_as_float(sign | pulp_float_as_int(small));
  }
  const int32_t bias = rest < 0x7c00 ? 112 : 224; /* infinities and NaNs keep the largest exponent */
  return pulp_int_as_float(sign | ((rest << 13) + (bias << 23)));
}

/* Rounds to the nearest, ties to even. */
static inline pulp_half pulp_float_to_half(float value) {
  const int32_t bits = pulp_float_as_int(value), magnitude = bits & 0x7fffffff;
  const int32_t sign = (bits >> 16) & 0x8000;
  if (magnitude > 0x7f800000) return 0x7e00;                     /* NaN */
  if (magnitude >= 0x477ff000) return (pulp_half)(sign | 0x7c00); /* 65520 and more: infinity */
  if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 rounds to multiples of 2^-24 */
    return (pulp_half)(sign | (pulp_float_as_int(pulp_int_as_float(magnitude) + 0.5f) - 0x3f000000));
  }
  return (pulp_half)(sign | ((magnitude - (112 << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13));
}

#endif

#endif
