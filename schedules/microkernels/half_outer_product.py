"""Outer product of float16 in L1: the weight gradient of a linear layer with batch 1.

As `outer_product`, but an instruction makes two products, and rounds each of them once.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.forms import both_forms

GROUP = 8
"""Columns whose values of B are in registers, two in each, while the rows go by."""

_PAIRS = ("t0", "t1", "t2", "t3")
_PRODUCTS = ("t4", "t5", "t6", "a5")


def half_outer_product_source(*, assembly: bool) -> str:
    """Return C for ``float16_matmul_tile`` where the sum has one term: both operands are contiguous.

    Parameters
    ----------
    assembly
        Whether the target has Xpulp and half precision; the plain C form is there in any case.
    """
    group = _PLAIN
    if assembly:
        group = both_forms(_assembly(), _PLAIN)
    return f"""\
#include "pulp_assembly.h"
#include "pulp_half.h"

/* Columns b[0..{GROUP - 1}] of `rows` rows. */
{group}

/* The share of worker `core` in images of m x n products: groups of columns, or rows where those are more. */
static void float16_matmul_tile(int core, const pulp_half *a, const pulp_half *b, pulp_half *c, int32_t m,
                                int32_t n, int32_t k, int32_t images, int32_t segments, int32_t a_image,
                                int32_t b_image, float *sums, int32_t begins, int32_t ends) {{
  (void)k, (void)segments, (void)sums, (void)begins, (void)ends;
  const int32_t groups = n / {GROUP};
  const int by_columns = groups > m;
  const int32_t first = by_columns ? 0 : pulp_chunk(core, PULP_CORES, m);
  const int32_t last = by_columns ? m : pulp_chunk(core + 1, PULP_CORES, m);
  const int32_t group = by_columns ? pulp_chunk(core, PULP_CORES, groups) : 0;
  const int32_t last_group = by_columns ? pulp_chunk(core + 1, PULP_CORES, groups) : groups;
  const int32_t rest = pulp_chunk(core, PULP_CORES, m), last_rest = pulp_chunk(core + 1, PULP_CORES, m);
  for (int32_t image = 0; image < images; ++image, a += a_image, b += b_image, c += m * n) {{
    for (int32_t j = group * {GROUP}; j < last_group * {GROUP}; j += {GROUP})
      if (first < last) outer_product_group(a + first, b + j, c + first * n + j, last - first, n);
    for (int32_t j = groups * {GROUP}; j < n; ++j) {{
      const float value = pulp_half_to_float(b[j]);
      for (int32_t i = rest; i < last_rest; ++i)
        c[i * n + j] = pulp_float_to_half(pulp_half_to_float(a[i]) * value);
    }}
  }}
}}"""


_PLAIN = f"""\
static void outer_product_group(const pulp_half *a, const pulp_half *b, pulp_half *c, int32_t rows,
                                int32_t n) {{
  for (int32_t i = 0; i < rows; ++i, c += n)
    for (int32_t j = 0; j < {GROUP}; ++j)
      c[j] = pulp_float_to_half(pulp_half_to_float(a[i]) * pulp_half_to_float(b[j]));
}}"""


def _assembly() -> str:
    """Return the group of columns as C with top-level ``__asm__``: ten instructions a row."""
    text, name = AssemblyText(), "outer_product_group"
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:", "slli a4, a4, 1")
    text.add(*(f"lw {pair}, {4 * i}(a1)" for i, pair in enumerate(_PAIRS)))
    body = ["lhu a6, 0(a0)", "addi a0, a0, 2"]
    body += [f"VFMULR_H({to}, {pair}, a6)" for to, pair in zip(_PRODUCTS, _PAIRS, strict=True)]
    body += [f"sw {register}, {4 * i}(a2)" for i, register in enumerate(_PRODUCTS) if i]
    text.add(f"LP_SETUP(0, a3, {len(body) + 1}, 5)", *body, "5:", f"P_SWR({_PRODUCTS[0]}, a4, a2)")
    text.add("ret", f".size {name}, .-{name}", ".option pop", ".popsection")
    signature = "const pulp_half *, const pulp_half *, pulp_half *, int32_t, int32_t"
    return f"void {name}({signature});\n__asm__(\n{text}\n);"
