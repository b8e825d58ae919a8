"""Half-precision panels of every block size, in assembly on the simulator, against the sum they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tvm_pulp.measure.program import FORK_WORKERS
from tvm_pulp.runtime.sim import Configuration, Machine
from tvm_pulp.schedules.microkernels.half_panel import (
    HalfPanelForm,
    half_panel_assembly,
    half_panel_source,
    weave,
)
from tvm_pulp.schedules.microkernels.operand_walk import Distances
from tvm_pulp.target import features, parse
from tvm_pulp.target.project import write_runtime
from tvm_pulp.target.toolchain import find

SIZES = [(rows, columns) for rows in (4, 3, 2, 1) for columns in (4, 3, 2, 1)]
BLOCKS, TERMS, SEGMENTS, C_ROW = 2, (1, 2, 3, 8), 3, 9
PARTS = [(1, 1), (1, 0), (0, 1)]
"""Whether a call begins the sum, and whether it ends it."""
LENGTH, RESULTS = 27000, 4 * C_ROW
NEAR, CHAINED, FAR = 23, 700, 1101
"""Distances that an offset, an addition's constant and only a register can hold."""

_MAIN = """
#include "pulp_runtime.h"
#include "pulp_half.h"
{panels}

#define TESTS {tests}
PULP_PERSISTENT pulp_half a[{length}], b[{length}], c[TESTS][{results}];
PULP_PERSISTENT float sums[TESTS][{results}];
PI_CL_L1 pulp_half la[{length}], lb[{length}], lc[{results}];
PI_CL_L1 float ls[{results}];
typedef void panel_function(const pulp_half *, const pulp_half *, pulp_half *, const struct half_panel *);
static panel_function *const panels[] = {{{names}}};
static const int32_t terms[] = {{{terms}}}, parts[][2] = {{{parts}}};

static void worker(void *argument) {{
  (void)argument;
  if (pi_core_id()) return;
  memcpy(la, a, sizeof a);
  memcpy(lb, b, sizeof b);
  for (int test = 0; test < TESTS; ++test) {{
    const int32_t k = terms[test / {part_count} % {term_count}], *const part = parts[test % {part_count}];
    const struct half_panel p = {{
        .blocks = {blocks}, .depth = k / 2, .odd = k % 2, .segments = {segments},
        .a_segment = 2 * (k % 2 * {a_step} + 3 * {a_step}), .b_segment = 2 * (k % 2 * {b_step} + {b_step}),
        .c_row = 2 * {c_row}, .sums = ls, .begins = part[0], .ends = part[1]}};
    for (int i = 0; i < {results}; ++i) lc[i] = 0x3800, ls[i] = 0.25f;
    panels[test / ({part_count} * {term_count})](la, lb, lc, &p);
    memcpy(c[test], lc, sizeof lc);
    memcpy(sums[test], ls, sizeof ls);
  }}
}}
"""


def exact(
    a: np.ndarray, b: np.ndarray, d: Distances, rows: int, columns: int, terms: int
) -> list[tuple[int, float]]:
    """Follow the path of a panel: places in C and what belongs there."""
    found = []
    for j in range(BLOCKS * columns):
        for i in range(rows):
            x, y, total = i * d.a_row, j * d.b_column, 0.0
            for _ in range(SEGMENTS):
                for k in range(terms):
                    total += a[x + k * d.a_step] * b[y + k * d.b_step]
                x, y = x + (terms + 3) * d.a_step, y + (terms + 1) * d.b_step
            found.append((i * C_ROW + j, total))
    return found


DISTANCES = [
    Distances(NEAR, 1, NEAR, 1),
    Distances(NEAR, 1, 1, NEAR),
    Distances(1, NEAR, 1, NEAR),
    Distances(1, NEAR + 1, NEAR + 1, 1),
    Distances(CHAINED, 1, 1, CHAINED),
    Distances(1, CHAINED, CHAINED, 1),
    Distances(FAR, 1, FAR, 1),
    Distances(FAR, 1, 1, FAR - 200),
    Distances(1, FAR - 200, 1, FAR - 200),
]


@pytest.mark.parametrize("d", DISTANCES, ids=lambda d: f"{d.a_row}-{d.a_step}-{d.b_column}-{d.b_step}")
def test_every_block_size(d: Distances, tmp_path: Path) -> None:
    chip = features(parse("pulp -l1-bytes=262144"))
    names = {size: f"panel_{size[0]}x{size[1]}" for size in SIZES}
    tests = len(SIZES) * len(TERMS) * len(PARTS)
    form = HalfPanelForm(d, odd=True, segmented=True, partial=True)
    text = _MAIN.format(
        panels=half_panel_source(names, form, assembly=True),
        tests=tests,
        length=LENGTH,
        results=RESULTS,
        names=", ".join(names.values()),
        terms=", ".join(map(str, TERMS)),
        parts=", ".join(f"{{{begins}, {ends}}}" for begins, ends in PARTS),
        term_count=len(TERMS),
        part_count=len(PARTS),
        blocks=BLOCKS,
        segments=SEGMENTS,
        c_row=C_ROW,
        a_step=d.a_step,
        b_step=d.b_step,
    )
    write_runtime(tmp_path, "program", chip)
    (tmp_path / "templates" / "main.c").write_text(text + FORK_WORKERS)
    machine = Machine(Configuration.from_dict(chip.simulator_configuration()), checks=True)
    machine.load(find().build(tmp_path))
    random = np.random.default_rng(0)
    a, b = (random.uniform(-1, 1, LENGTH).astype(np.float16) for _ in range(2))
    symbols = machine.symbols
    for name, array in (("a", a), ("b", b)):
        machine.write(symbols[name].address, array.tobytes())
    result = machine.run(max_cycles=20_000_000)
    assert result.exit_code == 0 and not result.reports, result
    halves, sums = (
        np.frombuffer(machine.read(symbols[name].address, symbols[name].size), dtype).reshape(tests, RESULTS)
        for name, dtype in (("c", np.float16), ("sums", np.float32))
    )
    cases = [(size, terms, part) for size in SIZES for terms in TERMS for part in PARTS]
    for number, ((rows, columns), terms, (begins, ends)) in enumerate(cases):
        want = np.full(RESULTS, 0.5 if ends else 0.25)
        for place, total in exact(a.astype(np.float64), b.astype(np.float64), d, rows, columns, terms):
            want[place] = total + (0.0 if begins else 0.25)
        found, untouched = (halves, sums) if ends else (sums, halves)
        message = f"{rows}x{columns}, {terms} terms, begins {begins}, ends {ends}"
        rtol = 2.0**-11 if ends else 0.0
        np.testing.assert_allclose(found[number], want, rtol=rtol, atol=1e-5, err_msg=message)
        assert (untouched[number] == (0.25 if ends else 0.5)).all(), message


def test_the_inner_loop_needs_no_more_than_the_fpu_has_time_for() -> None:
    """Two workers share a FPU: of 32 cycles each has 16 products, and 16 for all else."""
    for d, length in (
        (Distances(64, 1, 64, 1), 24),
        (Distances(64, 1, 1, 64), 28),
        (Distances(1, 64, 1, 64), 32),
    ):
        text = half_panel_assembly("p", 4, 4, HalfPanelForm(d, odd=False, segmented=False, partial=False))
        assert f"LP_SETUP(0, t2, {length}, 5)" in text


def test_weaving_spreads_evenly() -> None:
    assert weave(["p"] * 4, ["x"] * 4) == ["p", "x"] * 4
    assert weave(["p"] * 4, ["x", "y"]) == ["p", "x", "p", "p", "y", "p"]
    assert weave(["p", "q"], ["x", "y", "z"]) == ["p", "x", "y", "q", "z"]
    assert weave(["p"], []) == ["p"]
