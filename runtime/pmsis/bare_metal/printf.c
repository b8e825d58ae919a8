/* printf over the simulator's output port, and the end of the program. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hardware.h"

int putchar(int character) {
  REGISTER(STDOUT_PORT + ((hardware_thread() & 0x1f) << 3)) = (uint8_t)character;
  return character;
}

int puts(const char *text) {
  while (*text) putchar(*text++);
  putchar('\n');
  return 0;
}

void exit(int code) {
  for (;;) REGISTER(EXIT_PORT) = 0x80000000u | (uint32_t)code;
}

void abort(void) { exit(134); }

struct field {
  int width, precision; /* precision -1 = none given */
  char left, zeros, plus;
};

/* Print a number's sign or prefix and digits, padded to the field; returns the number of characters. */
static int pad(const struct field *field, const char *prefix, const char *digits, int length) {
  const int prefix_length = (int)strlen(prefix), total = prefix_length + length;
  int spaces = field->width > total ? field->width - total : 0;
  const int printed = total + spaces;
  if (!field->left && !field->zeros)
    for (; spaces; spaces--) putchar(' ');
  while (*prefix) putchar(*prefix++);
  if (!field->left)
    for (; spaces; spaces--) putchar('0');
  for (int i = 0; i < length; i++) putchar(digits[i]);
  for (; spaces; spaces--) putchar(' ');
  return printed;
}

static int print_integer(struct field *field, uint64_t value, uint32_t base, char ten, const char *sign) {
  char digits[24];
  int first = sizeof digits;
  if (field->precision >= 0) field->zeros = 0;
  for (; value || first == (int)sizeof digits; value /= base) {
    const uint32_t digit = (uint32_t)(value % base);
    digits[--first] = (char)(digit < 10 ? '0' + digit : ten + digit - 10);
  }
  while ((int)sizeof digits - first < field->precision && first > 0) digits[--first] = '0';
  return pad(field, sign, digits + first, (int)sizeof digits - first);
}

/* The digits of a number of up to 2^128 before and after the point, rounded half to even. No double arithmetic:
 * the bits are taken apart, whole part in words of 32 bits, fraction in 64 bits. */
static int print_double(struct field *field, double number) {
  union {
    double number;
    uint64_t bits;
  } in = {number};
  const char *sign = in.bits >> 63 ? "-" : field->plus ? "+" : "";
  const int exponent = (int)(in.bits >> 52 & 0x7ff) - 1075;
  uint64_t mantissa = in.bits & 0xfffffffffffffull;
  uint32_t whole[5] = {0};
  uint64_t fraction = 0;
  char digits[64];
  int decimals = field->precision < 0 ? 6 : field->precision > 18 ? 18 : field->precision, last = sizeof digits;

  if (exponent == 0x7ff - 1075 || exponent + 52 >= 128) {
    field->zeros = 0;
    return pad(field, mantissa && exponent == 0x7ff - 1075 ? "" : sign,
               exponent != 0x7ff - 1075 ? "huge" : mantissa ? "nan" : "inf",
               exponent != 0x7ff - 1075 ? 4 : 3);
  }
  if (exponent > -1075) mantissa |= 1ull << 52;
  if (exponent >= 0) {
    const int word = exponent / 32, bit = exponent % 32;
    whole[word] = (uint32_t)(mantissa << bit);
    whole[word + 1] = (uint32_t)(bit ? mantissa >> (32 - bit) : mantissa >> 32);
    if (word + 2 < 5 && bit) whole[word + 2] = (uint32_t)(mantissa >> (64 - bit));
  } else if (exponent > -64) {
    whole[0] = (uint32_t)(mantissa >> -exponent);
    whole[1] = (uint32_t)(mantissa >> -exponent >> 32);
    fraction = mantissa << (64 + exponent);
  } else {
    fraction = exponent > -128 ? mantissa >> (-exponent - 64) : 0;
  }

  /* decimals, into the end of the buffer */
  char *point = digits + sizeof digits - decimals;
  for (int i = 0; i < decimals; i++) {
    const uint64_t low = (fraction & 0xffffffffu) * 10, high = (fraction >> 32) * 10 + (low >> 32);
    point[i] = (char)('0' + (high >> 32));
    fraction = high << 32 | (low & 0xffffffffu);
  }
  const uint64_t half = 1ull << 63;
  const int odd = decimals ? point[decimals - 1] & 1 : (int)(whole[0] & 1);
  int carry = fraction > half || (fraction == half && odd);
  for (int i = decimals - 1; i >= 0 && carry; i--) {
    carry = point[i] == '9';
    point[i] = (char)(carry ? '0' : point[i] + 1);
  }
  for (int i = 0; i < 5 && carry; i++) carry = ++whole[i] == 0;

  last -= decimals;
  if (decimals) digits[--last] = '.';
  do { /* the whole part, a digit a division */
    uint64_t rest = 0;
    for (int i = 4; i >= 0; i--) {
      rest = rest << 32 | whole[i];
      whole[i] = (uint32_t)(rest / 10);
      rest %= 10;
    }
    digits[--last] = (char)('0' + rest);
  } while (whole[0] | whole[1] | whole[2] | whole[3] | whole[4]);
  return pad(field, sign, digits + last, (int)sizeof digits - last);
}

int vprintf(const char *format, va_list arguments) {
  int printed = 0;
  for (; *format; format++) {
    if (*format != '%') {
      putchar(*format);
      printed++;
      continue;
    }
    struct field field = {0, -1, 0, 0, 0};
    int longs = 0;
    for (format++; *format == '-' || *format == '0' || *format == '+' || *format == ' '; format++) {
      if (*format == '-') field.left = 1;
      if (*format == '0') field.zeros = 1;
      if (*format == '+') field.plus = 1;
    }
    if (*format == '*') {
      field.width = va_arg(arguments, int);
      format++;
    }
    for (; *format >= '0' && *format <= '9'; format++) field.width = field.width * 10 + *format - '0';
    if (*format == '.') {
      field.precision = 0;
      if (*++format == '*') {
        field.precision = va_arg(arguments, int);
        format++;
      }
      for (; *format >= '0' && *format <= '9'; format++) field.precision = field.precision * 10 + *format - '0';
    }
    for (; *format == 'l' || *format == 'z' || *format == 'h'; format++) longs += *format == 'l';
    switch (*format) {
      case 'd':
      case 'i': {
        const int64_t value = longs > 1 ? va_arg(arguments, long long) : va_arg(arguments, int);
        printed += print_integer(&field, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, 'a',
                                 value < 0    ? "-"
                                 : field.plus ? "+"
                                              : "");
        break;
      }
      case 'u':
      case 'x':
      case 'X': {
        const uint64_t value = longs > 1 ? va_arg(arguments, unsigned long long) : va_arg(arguments, unsigned);
        printed += print_integer(&field, value, *format == 'u' ? 10 : 16, *format == 'X' ? 'A' : 'a', "");
        break;
      }
      case 'p': printed += print_integer(&field, (uintptr_t)va_arg(arguments, void *), 16, 'a', "0x"); break;
      case 'f': printed += print_double(&field, va_arg(arguments, double)); break;
      case 'c': {
        const char character = (char)va_arg(arguments, int);
        field.zeros = 0;
        printed += pad(&field, "", &character, 1);
        break;
      }
      case 's': {
        const char *text = va_arg(arguments, const char *);
        int length = 0;
        while ((field.precision < 0 || length < field.precision) && text[length]) length++;
        field.zeros = 0;
        printed += pad(&field, "", text, length);
        break;
      }
      case 0: return printed;
      default: putchar(*format), printed++;
    }
  }
  return printed;
}

int printf(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int printed = vprintf(format, arguments);
  va_end(arguments);
  return printed;
}
