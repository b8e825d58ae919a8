"""Sums that several workers share: each has a part of the steps; their partial sums are added in a tree."""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.operand_walk import Distances


def share_of_sum(split_k: int, partial_elements: int, relief: int, d: Distances) -> str:
    """Return C that finds a worker's part of the sums, and where it writes."""
    start = f"pulp_chunk(part, {split_k}, k)"
    end = f"pulp_chunk(part + 1, {split_k}, k)"
    if relief:
        start = f"pulp_max(0, pulp_chunk(part, {split_k}, k + {relief}) - {relief})"
        end = f"pulp_chunk(part + 1, {split_k}, k + {relief}) - {relief}"
    return f"""/* Worker `part` of the {split_k} that share a block's sum. */
  const int part = core % {split_k}, worker = core / {split_k}, workers = PULP_CORES / {split_k};
  const int32_t first_step = {start};
  k = {end} - first_step;
  a += first_step * {d.a_step}, b += first_step * {d.b_step};
  if (part) c = partial + (part - 1) * {partial_elements};
  (void)images;"""


def sum_source(split_k: int, partial_elements: int) -> str:
    """Return C for ``matmul_sum``, which adds partial sums in a tree."""
    terms = ["c[i]", *(f"partial[i + {part * partial_elements}]" for part in range(split_k - 1))]
    while len(terms) > 1:
        pairs = [" + ".join(terms[n : n + 2]) for n in range(0, len(terms), 2)]
        terms = [f"({pair})" if " + " in pair else pair for pair in pairs]
    return f"""
/* The share of worker `core` in adding the partial sums of `count` results. */
static void matmul_sum(int core, float *c, const float *partial, int32_t count) {{
  const int worker = PULP_CORES - 1 - core; /* core 0, which sees to the DMA, has the least to do */
  const int32_t last = pulp_chunk(worker + 1, PULP_CORES, count);
  for (int32_t i = pulp_chunk(worker, PULP_CORES, count); i < last; ++i)
    c[i] = {terms[0][1:-1]};
}}
"""
