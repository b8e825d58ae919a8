import math
import struct

import numpy as np


def test_formats(run_c):
    _, result = run_c(
        r"""
        #include "pmsis.h"
        int main(void) {
          printf("%d|%5d|%-5d|%05d|%+d|%i\n", -7, 42, 42, -42, 42, (int)0x80000000);
          printf("%u|%x|%08X|%x|%ld|%lu|%lld|%llx\n", 4000000000u, 0xbeefu, 0xbeefu, 1, -5l, 5ul,
                 -1234567890123456789ll, 0x123456789abcdefull);
          printf("%s|%8s|%-8s|%.2s|%c|%3c|%%|%p\n", "text", "right", "left", "cut", 'a', 'b',
                 (void *)0x1c010000);
          printf("%*d|%.*f|%.3d|%10.3f|%-10.1f|%010.2f\n", 6, 1, 2, 3.14159, 7, 2.71828, 1.25, -1.5);
          const int printed = printf("12345\n");
          return puts("end") < 0 || printed != 6;
        }"""
    )
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "-7|   42|42   |-0042|+42|-2147483648",
        "4000000000|beef|0000BEEF|1|-5|5|-1234567890123456789|123456789abcdef",
        "text|   right|left    |cu|a|  b|%|0x1c010000",
        "     1|3.14|007|     2.718|1.2       |-000001.50",
        "12345",
        "end",
    ]


def test_floats_print_as_in_python(run_c):
    random = np.random.default_rng(3)
    chosen = [0.0, -0.0, 1.0, 0.5, 2.5, 1e-6, 4.9999995, 123456.789, 1e10, 3.4e38, 1e-40, 0.9999999, 2**31]
    drawn = random.standard_normal(60) * 10.0 ** random.integers(-12, 20, 60)
    values = np.array([*chosen, -(2**63), *drawn], np.float32)
    bits = ", ".join(f"{word}u" for word in values.view(np.uint32))
    _, result = run_c(
        f"""
        #include "pmsis.h"
        static const uint32_t bits[] = {{{bits}}};
        int main(void) {{
          for (unsigned i = 0; i < sizeof bits / 4; i++) {{
            float value;
            memcpy(&value, bits + i, 4);
            printf("%f %.0f %.12f\\n", value, value, value);
          }}
          printf("%f %f %f", __builtin_inff(), -__builtin_inff(), __builtin_nanf(""));
          return 0;
        }}"""
    )
    lines = result.stdout.splitlines()
    for value, line in zip(map(float, values), lines, strict=False):
        assert line == f"{value:f} {value:.0f} {value:.12f}", struct.pack(">f", value).hex()
    assert lines[-1] == "inf -inf nan"
    assert len(lines) == len(values) + 1
    assert math.isfinite(values.max())
