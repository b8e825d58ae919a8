/* Memory and string functions. The empty assembly keeps compilers from turning a loop into a call of itself. */
#include <stdint.h>
#include <string.h>

#define KEEP_LOOP __asm__ volatile("" ::: "memory")

static int aligned(const void *left, const void *right) {
  return (((uintptr_t)left | (uintptr_t)right) & 3) == 0;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
  char *target = to;
  const char *source = from;
  if (aligned(to, from)) {
    for (; bytes >= 4; bytes -= 4, target += 4, source += 4) {
      *(uint32_t *)target = *(const uint32_t *)source;
      KEEP_LOOP;
    }
  }
  while (bytes--) {
    *target++ = *source++;
    KEEP_LOOP;
  }
  return to;
}

void *memmove(void *to, const void *from, size_t bytes) {
  char *target = to;
  const char *source = from;
  if (target <= source || target >= source + bytes) return memcpy(to, from, bytes);
  while (bytes--) {
    target[bytes] = source[bytes];
    KEEP_LOOP;
  }
  return to;
}

void *memset(void *to, int value, size_t bytes) {
  char *target = to;
  if (((uintptr_t)to & 3) == 0) {
    const uint32_t word = (uint8_t)value * 0x01010101u;
    for (; bytes >= 4; bytes -= 4, target += 4) {
      *(uint32_t *)target = word;
      KEEP_LOOP;
    }
  }
  while (bytes--) {
    *target++ = (char)value;
    KEEP_LOOP;
  }
  return to;
}

int memcmp(const void *left, const void *right, size_t bytes) {
  const unsigned char *a = left, *b = right;
  for (; bytes; bytes--, a++, b++)
    if (*a != *b) return *a - *b;
  return 0;
}

size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length]) {
    length++;
    KEEP_LOOP;
  }
  return length;
}

int strcmp(const char *left, const char *right) {
  while (*left && *left == *right) left++, right++;
  return (unsigned char)*left - (unsigned char)*right;
}
