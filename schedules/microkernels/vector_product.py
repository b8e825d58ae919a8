"""Product of a vector and a matrix in L1: a linear layer of one sample, forward and data gradient.

Every value of the matrix is used once, so that the DMA sets the pace and what counts is the time between the
end of the last load and the last result: little code, which stays in a core's own instruction cache, and few
instructions around the loop.
"""

from __future__ import annotations

from itertools import zip_longest

from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.block_sizes import block_sizes_with_rests
from tvm_pulp.schedules.microkernels.forms import INCLUDE, both_forms
from tvm_pulp.schedules.microkernels.operand_walk import GROUPS_REGISTER, Distances, OperandWalk
from tvm_pulp.schedules.microkernels.shared_sum import share_of_sum, sum_source

LONGEST_SUM = 4096
"""Steps that a worker may add up one after the other; longer sums are made in parts, by `flat_panel`."""

_FEW_STEPS = 12
"""Of a sum that is faster without loads ahead of the next step: less code to fetch."""

_A, _B, _C, _DEPTH, _ACCUMULATE = "a0", "a1", "a2", "a3", "a4"
_A_VALUE, _B_VALUES = _ACCUMULATE, ("a5", "a6")
_B_STEP = "a7"
_ACCUMULATORS = (*(f"t{i}" for i in range(7)), _B_STEP, *(f"s{i}" for i in range(12)))
_SAVED = ("ra", *(f"s{i}" for i in range(12)))


def vector_product_source(
    block_columns: int,
    column_rests: set[int],
    d: Distances,
    share: int,
    steps: int,
    *,
    split_k: int,
    partial_elements: int,
    relief: int,
    in_parts: bool,
    assembly: bool,
) -> str:
    """Return C for ``matmul_tile`` where A is one row; see `matmul.matmul_source`.

    Parameters
    ----------
    block_columns
        Columns that a worker sums at a time.
    column_rests
        Columns left over after whole blocks, over all tiles; 0 is ignored.
    d
        Distances between elements.
    share
        Columns of a worker in a full tile, a multiple of ``block_columns``. The last one has what is left.
    steps
        Of a worker's sum in a full tile.
    split_k, partial_elements, relief
        See `matmul.matmul_source`.
    in_parts
        Whether a sum may go on from what is there.
    assembly
        Whether the target has Xpulp; the plain C form is there in any case, for the host.
    """
    widths = block_sizes_with_rests(block_columns, column_rests)
    plain = "\n\n".join(_panel_c(width, d) for width in widths)
    panels = plain
    if assembly:
        fast = "\n\n".join(_panel_assembly(width, d, steps, in_parts) for width in widths)
        panels = f"{INCLUDE}\n\n{both_forms(fast, plain)}"
    calls = "".join(
        f"    {'else ' if i else ''}{f'if (n - column >= {width}) ' if i < len(widths) - 1 else ''}"
        f"row_panel_{width}(a, b + column * {d.b_column}, c + column, k, accumulate);\n"
        for i, width in enumerate(widths)
    )
    worker = """\
/* Core 0, which sees to the DMA, has the least to do. */
  const int worker = PULP_CORES - 1 - core;"""
    if split_k > 1:
        worker = share_of_sum(split_k, partial_elements, relief, d) + "\n  (void)workers;"
    partial = "float *partial, " if split_k > 1 else ""
    return f"""\
{panels}

/* The share of worker `core` in a row of n results over k terms: contiguous blocks of columns. */
static void matmul_tile(int core, const float *a, const float *b, float *c, {partial}int32_t m, int32_t n,
                        int32_t k, int32_t images, int32_t segments, int32_t a_image, int32_t b_image,
                        int32_t accumulate) {{
  (void)m, (void)images, (void)segments, (void)a_image, (void)b_image;
  {worker}
  const int32_t end = pulp_min(n, (worker + 1) * {share});
  for (int32_t column = worker * {share}; column < end; column += {block_columns})
{calls}}}
{sum_source(split_k, partial_elements) if split_k > 1 else ""}"""


def _panel_assembly(columns: int, d: Distances, steps: int, in_parts: bool) -> str:
    """Return the sums of some columns as C with top-level ``__asm__``; see `vector_product_source`."""
    name, text = f"row_panel_{columns}", AssemblyText()
    walk = OperandWalk(_B, _B_STEP, columns, d.b_column, d.b_step)
    sums = [register for register in _ACCUMULATORS if register != _B_STEP or not walk.is_far][:columns]
    saved = [register for register in _SAVED if register in {*sums, *([GROUPS_REGISTER] * walk.is_scattered)}]
    frame = (4 * len(saved) + 15) // 16 * 16
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:")
    if saved:
        text.add(f"addi sp, sp, -{frame}", *(f"sw {r}, {4 * i}(sp)" for i, r in enumerate(saved)))
    text.add(*([f"addi {_B}, {_B}, {walk.start}"] if walk.start else []))
    text.add(*([f"li {_B_STEP}, {walk.move}"] if walk.is_far else []))
    text.add(*([f"li {GROUPS_REGISTER}, {walk.distance}"] if walk.is_scattered else []))
    if in_parts:
        text.add(f"bnez {_ACCUMULATE}, 8f")
    text.add(*(f"mv {register}, zero" for register in sums), "7:")
    load_a = f"P_LW({_A_VALUE}, {4 * d.a_step}, {_A})"
    values = [_B_VALUES[c % 2] for c in range(columns)]
    if columns > 1 and columns % 2:
        values[-1] = _DEPTH  # the first column's is loaded beside the last product
    loads = [walk.load(register, c) for c, register in enumerate(values)]
    products = [f"fmadd.s {r}, {_A_VALUE}, {b}, {r}" for r, b in zip(sums, values, strict=True)]
    ahead = [loads[0], load_a, *loads[1:2]]
    # A product and a load in turn, as another worker uses the same FPU; A's value is needed to the end.
    last = [line for pair in zip_longest(products, loads[2:]) for line in pair if line]
    if steps <= _FEW_STEPS:
        body, last = [*ahead, *last], []
    else:
        body = [line for pair in zip_longest(products, [*loads[2:], loads[0]]) for line in pair if line]
        body += ahead[1:]
        text.add(f"addi {_DEPTH}, {_DEPTH}, -1", *ahead, f"beqz {_DEPTH}, 4f")
    text.add(f"LP_SETUP(0, {_DEPTH}, {len(body)}, 5)", *body[:-1], "5:", body[-1], "4:", *last)
    text.add(*(f"sw {register}, {4 * c}({_C})" for c, register in enumerate(sums)))
    if saved:
        text.add(*(f"lw {r}, {4 * i}(sp)" for i, r in enumerate(saved)), f"addi sp, sp, {frame}")
    text.add("ret")
    if in_parts:
        text.add("8:", *(f"lw {register}, {4 * c}({_C})" for c, register in enumerate(sums)), "j 7b")
    text.add(f".size {name}, .-{name}", ".option pop", ".popsection")
    return f"void {name}(const float *, const float *, float *, int32_t, int32_t);\n__asm__(\n{text}\n);"


def _panel_c(columns: int, d: Distances) -> str:
    """Return the same in plain C."""
    return f"""\
static void row_panel_{columns}(const float *restrict a, const float *restrict b, float *restrict c,
                        int32_t k, int32_t accumulate) {{
  float sum[{columns}];
  for (int32_t j = 0; j < {columns}; ++j) sum[j] = accumulate ? c[j] : 0;
  for (int32_t step = 0; step < k; ++step, a += {d.a_step}, b += {d.b_step})
    for (int32_t j = 0; j < {columns}; ++j) sum[j] += *a * b[j * {d.b_column}];
  for (int32_t j = 0; j < {columns}; ++j) c[j] = sum[j];
}}"""
