"""Outer product in L1: the weight gradient of a linear layer with batch 1.

There is no sum to keep in registers, so a result costs a product and a store: a group of columns' values of
B stay in registers while the rows go by.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.panel import Distances

GROUP = 8
"""Columns whose values of B are in registers at a time."""


def outer_product_source(d: Distances) -> str:
    """Return C for ``matmul_tile`` where the sum has one term; of ``d`` rows and columns count."""
    numbers = range(GROUP)
    loads = "\n".join(f"  const float b{i} = b[{i * d.b_column}];" for i in numbers)
    products = "\n".join(f"    const float c{i} = value * b{i};" for i in numbers)
    stores = "\n".join(f"    c[{i}] = c{i};" for i in numbers)
    return f"""\
/* Columns b[0..{GROUP - 1}] of `rows` rows. */
static inline __attribute__((always_inline)) void outer_product_group(
    const float *restrict a, const float *restrict b, float *restrict c, int32_t rows, int32_t n) {{
{loads}
  for (int32_t i = 0; i < rows; ++i, a += {d.a_row}, c += n) {{
    const float value = *a;
{products}
{stores}
  }}
}}

/* The share of worker `core` in images of m x n products: columns where there are enough, else rows. */
static void matmul_tile(int core, const float *a, const float *b, float *c, int32_t m, int32_t n,
                        int32_t k, int32_t images, int32_t segments, int32_t a_image, int32_t b_image,
                        int32_t accumulate) {{
  (void)k, (void)segments, (void)accumulate;
  const int32_t groups = n / {GROUP}, whole = groups * {GROUP};
  const int by_columns = groups >= 2 * PULP_CORES || groups > m;
  const int32_t first = by_columns ? 0 : pulp_chunk(core, PULP_CORES, m);
  const int32_t rows = (by_columns ? m : pulp_chunk(core + 1, PULP_CORES, m)) - first;
  const int32_t group = by_columns ? pulp_chunk(core, PULP_CORES, groups) : 0;
  const int32_t last = by_columns ? pulp_chunk(core + 1, PULP_CORES, groups) : groups;
  const int32_t rest_first = pulp_chunk(core, PULP_CORES, m);
  const int32_t rest_last = pulp_chunk(core + 1, PULP_CORES, m);
  for (int32_t image = 0; image < images; ++image, a += a_image, b += b_image, c += m * n) {{
    for (int32_t j = group * {GROUP}; j < last * {GROUP}; j += {GROUP})
      outer_product_group(a + first * {d.a_row}, b + j * {d.b_column}, c + first * n + j, rows, n);
    for (int32_t j = whole; j < n; ++j) {{
      const float value = b[j * {d.b_column}];
      for (int32_t i = rest_first; i < rest_last; ++i) c[i * n + j] = a[i * {d.a_row}] * value;
    }}
  }}
}}"""
