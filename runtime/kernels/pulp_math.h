/* Small C math for kernels: no libm is linked on bare metal. Single precision only, largest errors in units of
 * the last place (ulp). */
#ifndef PULP_MATH_H
#define PULP_MATH_H

#include <stdint.h>

static inline int32_t pulp_min(int32_t a, int32_t b) { return a < b ? a : b; }
static inline int32_t pulp_max(int32_t a, int32_t b) { return a > b ? a : b; }
static inline int32_t pulp_abs(int32_t a) { return a < 0 ? -a : a; }

/* Division rounding down; the divisor is positive. */
static inline int32_t pulp_floor_divide(int32_t a, int32_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }
static inline int32_t pulp_floor_modulo(int32_t a, int32_t b) { return a - pulp_floor_divide(a, b) * b; }

/* sum * multiplier / 2^shift in 64 bits, rounded to the nearest, halves up; 1 <= shift <= 62. */
static inline int32_t pulp_requantize(int32_t sum, int32_t multiplier, int32_t shift) {
  return (int32_t)(((int64_t)sum * multiplier + ((int64_t)1 << (shift - 1))) >> shift);
}

/* The same with halves to even, as ONNX and PyTorch round. */
static inline int32_t pulp_requantize_even(int32_t sum, int32_t multiplier, int32_t shift) {
  const int64_t product = (int64_t)sum * multiplier;
  return (int32_t)((product + ((int64_t)1 << (shift - 1)) - 1 + ((product >> shift) & 1)) >> shift);
}

/* The same with halves away from zero. */
static inline int32_t pulp_requantize_away(int32_t sum, int32_t multiplier, int32_t shift) {
  const int64_t product = (int64_t)sum * multiplier;
  return (int32_t)((product + ((int64_t)1 << (shift - 1)) - (product < 0)) >> shift);
}

/* sum * multiplier / 2^(31 + shift) as TFLite rounds: to sum * multiplier / 2^31, halves up, then to the result,
 * halves away from zero. multiplier >= 0; -30 <= shift <= 31; a negative shift scales up first. */
static inline int32_t pulp_requantize_twice(int32_t sum, int32_t multiplier, int32_t shift) {
  if (shift <= 0) return (int32_t)(((int64_t)sum * (1 << -shift) * multiplier + (1 << 30)) >> 31);
  const int32_t high = (int32_t)(((int64_t)sum * multiplier + (1 << 30)) >> 31);
  return (int32_t)((high + ((int64_t)1 << (shift - 1)) - (high < 0)) >> shift);
}

/* First iteration of worker `core` where `total` iterations are shared out in contiguous chunks. */
static inline int32_t pulp_chunk(int32_t core, int32_t cores, int32_t total) {
  const int32_t each = total / cores, rest = total - each * cores;
  return core * each + pulp_min(core, rest);
}

static inline float pulp_divide(float a, float b) { return a / b; }

/* The integer nearest to value * factor, halves up, clipped to low .. high, small numbers; NaN becomes one of them.
 * A fused multiply-add rounds halves to even; the sign of what is left tells where the next one is as near. */
static inline int32_t pulp_quantize(float value, float factor, int32_t low, int32_t high) {
  const int32_t magic = 0x4b400000; /* 1.5 * 2^23, whose neighbours are integers */
  int32_t rounded;
  const float sum = __builtin_fmaf(value, factor, 12582912.0f);
  __builtin_memcpy(&rounded, &sum, 4);
  const int32_t even = pulp_min(pulp_max(rounded, magic + low), magic + high) - magic;
  return even + (even < high && __builtin_fmaf(value, factor, -0.5f - (float)even) >= 0.0f);
}

static inline float pulp_int_as_float(int32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

static inline int32_t pulp_float_as_int(float value) {
  int32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

/* Square root, correctly rounded: the hardware's instruction (the compiler's own form may call libm for errno). */
static inline float pulp_sqrtf(float x) {
#if defined(__riscv_zfinx)
  float root;
  __asm__("fsqrt.s %0, %1" : "=r"(root) : "r"(x));
  return root;
#elif defined(__riscv_flen)
  float root;
  __asm__("fsqrt.s %0, %1" : "=f"(root) : "f"(x));
  return root;
#else
  return __builtin_sqrtf(x);
#endif
}

/* 1.5 ulp. Newton's iteration, as the cluster's one divider would make the workers wait for each other. */
static inline float pulp_rsqrtf(float x) {
  if (!(x >= 1.17549435e-38f && x <= 3.4028235e38f)) return 1.0f / pulp_sqrtf(x); /* not positive or not normal */
  const float half = 0.5f * x;
  float y = pulp_int_as_float(0x5f375a86 - (pulp_float_as_int(x) >> 1)); /* within 3.5% */
  y = y * (1.5f - half * y * y);
  y = y * (1.5f - half * y * y);
  return y + y * (0.5f - half * y * y);
}

/* 1 / x within 0.02%, for normal x > 0 with a normal result. Newton's iteration, as all workers share the cluster's
 * one divider, at 14 cycles a division. */
static inline float pulp_near_reciprocalf(float x) {
  float y = pulp_int_as_float(0x7ef311c7 - pulp_float_as_int(x)); /* within 12% */
  y = y * (2.0f - x * y);
  return y * (2.0f - x * y);
}

/* 1.5 ulp, for normal x > 0 with a normal result */
static inline float pulp_reciprocalf(float x) {
  float y = pulp_near_reciprocalf(x);
  y = y * (2.0f - x * y);
  return y + y * (1.0f - x * y);
}

/* a / b within 1 ulp, for normal b > 0 with a normal reciprocal and result */
static inline float pulp_quotientf(float a, float b) {
  const float y = pulp_near_reciprocalf(b), quotient = a * y;
  return __builtin_fmaf(y, __builtin_fmaf(-b, quotient, a), quotient);
}

/* Rounding to an integer. Values from 2^23 on have no fraction. */
static inline float pulp_truncf(float x) {
  if (!(__builtin_fabsf(x) < 8388608.0f)) return x;
  return __builtin_copysignf((float)(int32_t)x, x);
}
static inline float pulp_floorf(float x) {
  const float down = pulp_truncf(x);
  return down > x ? down - 1.0f : down;
}
static inline float pulp_ceilf(float x) {
  const float up = pulp_truncf(x);
  return up < x ? __builtin_copysignf(up + 1.0f, x) : up;
}
/* Halves away from zero. */
static inline float pulp_roundf(float x) {
  const float whole = pulp_truncf(x);
  return __builtin_fabsf(x - whole) >= 0.5f ? whole + __builtin_copysignf(1.0f, x) : whole;
}
/* Halves to even. */
static inline float pulp_nearbyintf(float x) {
  if (!(__builtin_fabsf(x) < 8388608.0f)) return x;
  const float shift = __builtin_copysignf(8388608.0f, x);
  volatile float shifted = x + shift;
  return __builtin_copysignf(shifted - shift, x);
}

/* e^r * 2^n for |r| <= ln(2)/2, by Cephes' polynomial */
static inline float pulp_exp_scaled(float r, int32_t n) {
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float value = (p * r) * r + r + 1.0f;
  /* in two steps, so that denormal results and 2^128 come out right */
  const int32_t half = n >> 1;
  return value * pulp_int_as_float((half + 127) << 23) * pulp_int_as_float((n - half + 127) << 23);
}

/* 1 ulp */
static inline float pulp_expf(float x) {
  if (x != x) return x;
  if (x > 88.8f) return __builtin_inff();
  if (x < -104.0f) return 0.0f;
  const float scaled = x * 1.44269504f;
  const int32_t n = (int32_t)(scaled + (scaled >= 0.0f ? 0.5f : -0.5f));
  const float r = (x - (float)n * 6.93359375e-1f) + (float)n * 2.12194440e-4f;
  return pulp_exp_scaled(r, n);
}

/* e^x for x <= 0 in half the operations, 1.2 ulp; below x = -87 the smallest result, 1.6e-38. For softmaxes. */
static inline float pulp_exp_negativef(float x) {
  x = x < -87.0f ? -87.0f : x; /* NaN stays */
  const float to_integer = 12582912.0f; /* 1.5 * 2^23: the sum's last bits are the rounded number */
  const float shifted = x * 1.44269504f + to_integer;
  const float n = shifted - to_integer;
  const float r = (x - n * 6.93359375e-1f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float value = (p * (r * r) + r) + 1.0f;
  return pulp_int_as_float(pulp_float_as_int(value) + (int32_t)((uint32_t)pulp_float_as_int(shifted) << 23));
}

static inline float pulp_exp2f(float x) {
  if (x != x) return x;
  if (x > 128.5f) return __builtin_inff();
  if (x < -150.5f) return 0.0f;
  const int32_t n = (int32_t)(x + (x >= 0.0f ? 0.5f : -0.5f));
  return pulp_exp_scaled((x - (float)n) * 6.93147181e-1f, n);
}

/* 1 ulp; Cephes' polynomial */
static inline float pulp_logf(float x) {
  if (!(x > 0.0f)) return x == 0.0f ? -__builtin_inff() : __builtin_nanf("");
  if (x > 3.4028235e38f) return x;
  int32_t exponent = 0;
  if (x < 1.17549435e-38f) {
    x *= 8388608.0f;
    exponent = -23;
  }
  int32_t bits = pulp_float_as_int(x);
  exponent += (bits >> 23) - 126;
  float m = pulp_int_as_float((bits & 0x7fffff) | 0x3f000000); /* 0.5 .. 1 */
  if (m < 7.07106781e-1f) {
    exponent -= 1;
    m = m + m - 1.0f;
  } else {
    m = m - 1.0f;
  }
  const float z = m * m, e = (float)exponent;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  float y = m * z * p + e * -2.12194440e-4f - 0.5f * z;
  return m + y + e * 6.93359375e-1f;
}

static inline float pulp_log2f(float x) { return pulp_logf(x) * 1.44269504f; }

/* log(1 + x): the rounding of 1 + x is made up for. 2 ulp */
static inline float pulp_log1pf(float x) {
  volatile float sum = 1.0f + x;
  const float u = sum;
  if (u == 1.0f) return x;
  if (!(u < 3.4028235e38f)) return pulp_logf(u);
  return pulp_logf(u) * (x / (u - 1.0f));
}

/* 2 ulp */
static inline float pulp_tanhf(float x) {
  const float a = __builtin_fabsf(x);
  if (a < 0.625f) {
    const float z = x * x;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    return p * z * x + x;
  }
  const float e = pulp_exp_negativef(-2.0f * a); /* tanh a = (1 - e) / (1 + e) */
  return __builtin_copysignf(1.0f - pulp_quotientf(2.0f * e, 1.0f + e), x);
}

/* 2 ulp; below x = -87 the smallest result, 1.6e-38 */
static inline float pulp_sigmoidf(float x) {
  const float e = pulp_exp_negativef(-__builtin_fabsf(x)); /* never large: no case by case */
  return pulp_quotientf(x < 0.0f ? e : 1.0f, 1.0f + e);
}

/* x^y = exp(y log x), log x as a sum of two floats so that y may be large. 1 ulp, 4 at worst */
static inline float pulp_powf(float x, float y) {
  if (y == 0.0f || x == 1.0f) return 1.0f;
  if (x != x || y != y) return x + y;
  const int whole = __builtin_fabsf(y) >= 8388608.0f || pulp_truncf(y) == y;
  const int odd = __builtin_fabsf(y) < 16777216.0f && whole && ((int32_t)y & 1);
  const float sign = (pulp_float_as_int(x) < 0 && odd) ? -1.0f : 1.0f;
  float a = __builtin_fabsf(x);
  if (a == 0.0f) return y > 0.0f ? sign * 0.0f : sign * __builtin_inff();
  if (x < 0.0f && !whole) return __builtin_nanf("");
  if (__builtin_fabsf(y) > 3.4028235e38f || a > 3.4028235e38f) {
    if (a == 1.0f) return 1.0f;
    return (a > 1.0f) == (y > 0.0f) ? sign * __builtin_inff() : sign * 0.0f;
  }
  int32_t exponent = 0;
  if (a < 1.17549435e-38f) {
    a *= 8388608.0f;
    exponent = -23;
  }
  /* a = m 2^exponent with m in sqrt(1/2) .. sqrt(2); log m = 2 atanh(s), s = f / (2 + f), f = m - 1 */
  const int32_t bits = pulp_float_as_int(a) - 0x3f3504f3;
  exponent += bits >> 23;
  const float f = pulp_int_as_float((bits & 0x7fffff) + 0x3f3504f3) - 1.0f;
  const float d = 2.0f + f, d_rest = f - (d - 2.0f);
  const float s = f / d, s_rest = (__builtin_fmaf(-s, d, f) - s * d_rest) / d;
  const float z = s * s;
  float p = 1.8181818e-1f;
  p = p * z + 2.2222222e-1f;
  p = p * z + 2.8571429e-1f;
  p = p * z + 4.0e-1f;
  p = p * z + 6.6666667e-1f;
  const float e = (float)exponent;
  const float large = e * 6.93359375e-1f, small = 2.0f * s;
  const float both = large + small, back = both - large;
  const float lost = (large - (both - back)) + (small - back);
  const float tail = lost + (e * -2.12194440e-4f + (2.0f * s_rest + s * z * p));
  const float sum = both + tail, rest = tail - (sum - both);
  const float product = y * sum;
  if (product > 89.0f) return sign * __builtin_inff();
  if (product < -104.0f) return sign * 0.0f;
  const float product_rest = __builtin_fmaf(y, sum, -product) + y * rest;
  const float scaled = product * 1.44269504f;
  const int32_t n = (int32_t)(scaled + (scaled >= 0.0f ? 0.5f : -0.5f));
  const float r = ((product - (float)n * 6.93359375e-1f) + (float)n * 2.12194440e-4f) + product_rest;
  return sign * pulp_exp_scaled(r, n);
}

/* 3.1e-7 absolute, 4 ulp near 0 */
static inline float pulp_erff(float x) {
  const float a = __builtin_fabsf(x);
  const float t = 1.0f / (1.0f + 0.3275911f * a);
  float p = 1.061405429f;
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const float large = 1.0f - p * t * pulp_expf(-a * a);
  if (a < 0.5f) { /* Taylor, relative accuracy near 0 */
    const float z = x * x;
    float series = 0.00522397762f - z * 8.5e-4f;
    series = series * z - 0.0268661706f;
    series = series * z + 0.112837917f;
    series = series * z - 0.376126389f;
    return x * (series * z + 1.128379167f);
  }
  return __builtin_copysignf(large, x);
}

#endif
