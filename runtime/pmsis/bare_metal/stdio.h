/* The part of the C library that programs for bare metal have: see printf.c. */
#ifndef STDIO_H
#define STDIO_H
#include <stdarg.h>
#include <stddef.h>

/* %d %i %u %x %X %c %s %p %f %%, with flags - 0 +, width, precision (also as *), and the length modifiers of long. */
int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
int vprintf(const char *format, va_list arguments);
int putchar(int character);
int puts(const char *text);

#endif
