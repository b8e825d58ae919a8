/* What compilers call for 64-bit integers and for passing a float to printf: no compiler library is linked. */
#include <stdint.h>

union halves {
  uint64_t whole;
  struct {
    uint32_t low, high;
  } part;
};

uint64_t __ashldi3(uint64_t value, int shift);
uint64_t __lshrdi3(uint64_t value, int shift);
int64_t __ashrdi3(int64_t value, int shift);
uint64_t __udivmoddi4(uint64_t numerator, uint64_t denominator, uint64_t *remainder);
uint64_t __udivdi3(uint64_t numerator, uint64_t denominator);
uint64_t __umoddi3(uint64_t numerator, uint64_t denominator);
int64_t __divdi3(int64_t numerator, int64_t denominator);
int64_t __moddi3(int64_t numerator, int64_t denominator);
double __extendsfdf2(float value);

uint64_t __ashldi3(uint64_t value, int shift) {
  union halves in = {value}, out;
  if (shift == 0) return value;
  out.part.high = shift >= 32 ? in.part.low << (shift - 32) : in.part.high << shift | in.part.low >> (32 - shift);
  out.part.low = shift >= 32 ? 0 : in.part.low << shift;
  return out.whole;
}

uint64_t __lshrdi3(uint64_t value, int shift) {
  union halves in = {value}, out;
  if (shift == 0) return value;
  out.part.low = shift >= 32 ? in.part.high >> (shift - 32) : in.part.low >> shift | in.part.high << (32 - shift);
  out.part.high = shift >= 32 ? 0 : in.part.high >> shift;
  return out.whole;
}

int64_t __ashrdi3(int64_t value, int shift) {
  union halves in = {(uint64_t)value}, out;
  const int32_t high = (int32_t)in.part.high;
  if (shift == 0) return value;
  out.part.low = shift >= 32 ? (uint32_t)(high >> (shift - 32)) : in.part.low >> shift | in.part.high << (32 - shift);
  out.part.high = (uint32_t)(high >> (shift >= 32 ? 31 : shift));
  return (int64_t)out.whole;
}

uint64_t __udivmoddi4(uint64_t numerator, uint64_t denominator, uint64_t *remainder) {
  uint64_t quotient = 0, rest = 0;
  if ((numerator | denominator) >> 32 == 0) { /* the common case has an instruction */
    quotient = (uint32_t)numerator / (uint32_t)denominator;
    rest = (uint32_t)numerator % (uint32_t)denominator;
  } else {
    for (int bit = 63; bit >= 0; bit--) {
      rest = rest << 1 | (uint32_t)(numerator >> 32) >> 31;
      numerator <<= 1;
      quotient <<= 1;
      if (rest >= denominator) {
        rest -= denominator;
        quotient |= 1;
      }
      __asm__ volatile(""); /* keeps the compiler from recognising a division */
    }
  }
  if (remainder) *remainder = rest;
  return quotient;
}

uint64_t __udivdi3(uint64_t numerator, uint64_t denominator) { return __udivmoddi4(numerator, denominator, 0); }

uint64_t __umoddi3(uint64_t numerator, uint64_t denominator) {
  uint64_t remainder;
  __udivmoddi4(numerator, denominator, &remainder);
  return remainder;
}

static uint64_t magnitude(int64_t value) { return value < 0 ? 0 - (uint64_t)value : (uint64_t)value; }

int64_t __divdi3(int64_t numerator, int64_t denominator) {
  const uint64_t quotient = __udivdi3(magnitude(numerator), magnitude(denominator));
  return (int64_t)((numerator < 0) != (denominator < 0) ? 0 - quotient : quotient);
}

int64_t __moddi3(int64_t numerator, int64_t denominator) {
  const uint64_t remainder = __umoddi3(magnitude(numerator), magnitude(denominator));
  return (int64_t)(numerator < 0 ? 0 - remainder : remainder);
}

/* float to double, exact */
double __extendsfdf2(float value) {
  union {
    float number;
    uint32_t bits;
  } in = {value};
  union {
    uint64_t bits;
    double number;
  } out;
  const uint32_t sign = in.bits >> 31;
  uint32_t exponent = in.bits >> 23 & 0xff, fraction = in.bits & 0x7fffff;
  if (exponent == 0xff) {
    exponent = 0x7ff;
  } else if (exponent) {
    exponent += 1023 - 127;
  } else if (fraction) { /* subnormal: normal as a double */
    const int shift = __builtin_clz(fraction) - 8;
    exponent = (uint32_t)(1023 - 126 - shift);
    fraction = fraction << shift & 0x7fffff;
  }
  out.bits = (uint64_t)(sign << 31 | exponent << 20 | fraction >> 3) << 32 | fraction << 29;
  return out.number;
}
