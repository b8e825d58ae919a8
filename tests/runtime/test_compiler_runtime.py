import numpy as np


def _divided(a: int, b: int) -> tuple[int, int]:
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient, a - quotient * b


def test_64_bit_integers_as_in_python(run_c):
    random = np.random.default_rng(5)
    bits = random.integers(1, 63, (40, 2))
    pairs = [(int(random.integers(-(2**n), 2**n)), int(random.integers(1, 2**m))) for n, m in bits]
    pairs += [(-(2**63), 3), (2**63 - 1, -1), (5, -7), (-5, 7), (0, 1), (2**32, 2**32 - 1)]
    table = ", ".join(f"{{(int64_t){a % 2**64}ull, (int64_t){b % 2**64}ull}}" for a, b in pairs)
    _, result = run_c(
        f"""
        #include "pmsis.h"
        static volatile const struct {{ int64_t a, b; }} pairs[] = {{{table}}};
        int main(void) {{
          for (unsigned i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {{
            const int64_t a = pairs[i].a, b = pairs[i].b;
            const uint64_t u = (uint64_t)a, v = (uint64_t)b;
            const int n = (int)(v % 64);
            printf("%lld %lld %llu %llu %llx %llx %lld %lld\\n", a / b, a % b, u / v, u % v, u << n, u >> n,
                   a >> n, a * b);
          }}
          return 0;
        }}"""
    )
    word = 2**64
    for (a, b), line in zip(pairs, result.stdout.splitlines(), strict=True):
        u, v, n = a % word, b % word, b % 64
        product = (a * b + word // 2) % word - word // 2
        expected = [*_divided(a, b), u // v, u % v, f"{(u << n) % word:x}", f"{u >> n:x}", a >> n, product]
        assert line.split() == [str(x) for x in expected], (a, b)


def test_the_library_functions_themselves(run_c):
    """Compilers inline some; here they are called by name, also with shifts by 0 and by more than 31."""
    _, result = run_c(
        """
        #include "pmsis.h"
        uint64_t __ashldi3(uint64_t, int), __lshrdi3(uint64_t, int);
        int64_t __ashrdi3(int64_t, int);
        double __extendsfdf2(float);
        static const uint32_t floats[] = {0,          0x80000000, 0x3f800000, 1,
                                          0x007fffff, 0x00400000, 0x7f7fffff, 0x7f800000};
        int main(void) {
          const uint64_t value = 0x8123456789abcdefull;
          for (int n = 0; n < 64; n += 9)
            printf("%llx %llx %llx\\n", __ashldi3(value, n), __lshrdi3(value, n),
                   (unsigned long long)__ashrdi3((int64_t)value, n));
          for (unsigned i = 0; i < sizeof floats / 4; i++) {
            float number;
            uint64_t bits;
            memcpy(&number, floats + i, 4);
            const double wide = __extendsfdf2(number);
            memcpy(&bits, &wide, 8);
            printf("%016llx\\n", bits);
          }
          return 0;
        }"""
    )
    value, word = 0x8123456789ABCDEF, 2**64
    shifts = [
        f"{(value << n) % word:x} {value >> n:x} {((value - word) >> n) % word:x}" for n in range(0, 64, 9)
    ]
    words = [0, 0x80000000, 0x3F800000, 1, 0x007FFFFF, 0x00400000, 0x7F7FFFFF, 0x7F800000]
    floats = np.array(words, np.uint32).view(np.float32).astype(np.float64).view(np.uint64)
    assert result.stdout.splitlines() == shifts + [f"{bits:016x}" for bits in map(int, floats)]


def test_memory_functions(run_c):
    _, result = run_c(
        """
        #include "pmsis.h"
        static char a[64], b[64];
        int main(void) {
          for (int i = 0; i < 64; i++) a[i] = (char)i;
          for (int start = 0; start < 4; start++)
            for (int bytes = 0; bytes < 40; bytes++) {
              memset(b, 0x7e, 64);
              if (memcpy(b + start, a + 3, (unsigned)bytes) != b + start) return 1;
              if (memcmp(b + start, a + 3, (unsigned)bytes) || b[start + bytes] != 0x7e) return 2;
              memset(b + start, 1, (unsigned)bytes);
              for (int i = 0; i < bytes; i++) if (b[start + i] != 1) return 3;
              if (b[start + bytes] != 0x7e) return 4;
            }
          memmove(a + 5, a, 40);
          for (int i = 0; i < 40; i++) if (a[5 + i] != i) return 5;
          memmove(a, a + 5, 40);
          for (int i = 0; i < 40; i++) if (a[i] != i) return 6;
          if (strlen("four") != 4 || strcmp("a", "b") >= 0 || strcmp("b", "a") <= 0) return 7;
          if (strcmp("x", "x")) return 7;
          return memcmp("ab", "ac", 2) < 0 ? 0 : 8;
        }"""
    )
    assert result.exit_code == 0
