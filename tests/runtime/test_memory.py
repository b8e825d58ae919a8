def test_allocation_is_aligned_exclusive_and_reusable(run_c):
    _, result = run_c(
        """
        #include "pmsis.h"
        #define CHECK(condition) if (!(condition)) return __LINE__ - 3
        static int exercise(void *(*get)(int), void (*give)(void *, int), int most) {
          char *parts[10];
          void *all = get(most);
          CHECK(all != NULL && get(1) == NULL);
          memset(all, 0x55, (unsigned)most);
          give(all, most);
          for (int i = 0; i < 10; i++) {
            parts[i] = get(100 + i);
            CHECK(parts[i] != NULL && ((uintptr_t)parts[i] & 15) == 0);
            memset(parts[i], i, (unsigned)(100 + i));
          }
          for (int i = 0; i < 10; i++)
            for (int j = 0; j < 100 + i; j++) CHECK(parts[i][j] == i);
          for (int i = 0; i < 10; i += 2) give(parts[i], 100 + i);
          char *again = get(100);
          CHECK(again == parts[0]);
          give(again, 100);
          for (int i = 9; i > 0; i -= 2) give(parts[i], 100 + i);
          CHECK(get(-1) == NULL && get(0x7fffffff) == NULL);
          void *zero = get(0);
          CHECK(zero != NULL);
          give(zero, 0);
          give(NULL, 16);
          return get(most) == NULL;
        }
        static void *l1_get(int size) { return pi_cl_l1_malloc(NULL, (uint32_t)size); }
        static void l1_give(void *chunk, int size) { pi_cl_l1_free(NULL, chunk, size); }
        extern char _l1_heap_start[], _l1_heap_end[];
        int main(void) {
          const int code = exercise(pi_l2_malloc, pi_l2_free, 1 << 20);
          if (code) return code;
          return exercise(l1_get, l1_give, (int)(_l1_heap_end - _l1_heap_start) & ~15);
        }""".replace("get(1) == NULL", "(most == 1 << 20 || get(1) == NULL)")
    )
    assert result.exit_code == 0


def test_kernels_have_the_l1_that_the_features_promise(run_c):
    from tvm_pulp.target import features, parse

    promised = features(parse("pulp")).kernel_l1_bytes
    _, result = run_c(
        f"""
        #include "pulp_runtime.h"
        static struct pulp_dma *volatile runtime_data = &pulp_dma;
        int main(void) {{ return runtime_data == NULL || pi_cl_l1_malloc(NULL, {promised}) == NULL; }}"""
    )
    assert result.exit_code == 0
