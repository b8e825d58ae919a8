"""Panels of every block size, in assembly on the simulator, against the sum that they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tvm_pulp.measure.program import FORK_WORKERS
from tvm_pulp.runtime.sim import Configuration, Machine
from tvm_pulp.schedules.microkernels.block_sizes import block_sizes_with_rests, panel_calls, panel_names
from tvm_pulp.schedules.microkernels.flat_panel import flat_panel_assembly, flat_panel_source
from tvm_pulp.schedules.microkernels.operand_walk import Distances
from tvm_pulp.schedules.microkernels.panel import panel_assembly, panel_source
from tvm_pulp.target import Features
from tvm_pulp.target.project import write_runtime
from tvm_pulp.target.toolchain import find

SIZES = [(rows, columns) for rows in (4, 3, 2, 1) for columns in (4, 3, 2, 1)]
BLOCKS, DEPTHS, SEGMENTS, GROUPS = 2, (1, 2, 3, 7), 3, 2
D = Distances(a_row=11, a_step=2, b_column=3, b_step=5, c_column=2)
SKIPS = {"a_segment": 3, "b_segment": -4, "a_group": 5, "b_group": 2}
C_ROW, LENGTH = 40, 600

_MAIN = """
#include "pulp_runtime.h"
{panels}

#define TESTS {tests}
PULP_PERSISTENT float a[{length}], b[{length}], c[TESTS][{length}];
PI_CL_L1 float la[{length}], lb[{length}], lc[{length}];
typedef void panel_function(const float *, const float *, float *, const struct panel *);
static panel_function *const panels[] = {{{names}}};

static void worker(void *argument) {{
  (void)argument;
  if (pi_core_id()) return;
  memcpy(la, a, sizeof a);
  memcpy(lb, b, sizeof b);
  static const int32_t depths[] = {{{depths}}};
  for (int test = 0; test < TESTS; ++test) {{
    const struct panel p = {{
        .blocks = {blocks}, .depth = depths[test / 2 % {depth_count}],
        .c_row = {c_row}, .accumulate = test % 2,
        {path}}};
    for (int i = 0; i < {length}; ++i) lc[i] = 0.5f;
    panels[test / (2 * {depth_count})](la + 40, lb + 40, lc, &p);
    memcpy(c[test], lc, sizeof lc);
  }}
}}
"""
_PATH = """\
.segments = {segments}, .groups = {groups},
        .a_segment = {a_segment}, .b_segment = {b_segment}, .a_group = {a_group}, .b_group = {b_group}"""


def expected(
    a: np.ndarray, b: np.ndarray, rows: int, columns: int, depth: int, accumulate: bool,
    segments: int, groups: int,
) -> np.ndarray:  # fmt: skip
    """Follow the path of a panel step by step."""
    c = np.full(LENGTH, 0.5)
    for block in range(BLOCKS):
        x, y = 40, 40 + block * columns * D.b_column
        total = np.zeros((rows, columns))
        for _ in range(groups):
            for _ in range(segments):
                for _ in range(depth):
                    total += np.outer(
                        a[x + D.a_row * np.arange(rows)], b[y + D.b_column * np.arange(columns)]
                    )
                    x, y = x + D.a_step, y + D.b_step
                x, y = x + SKIPS["a_segment"], y + SKIPS["b_segment"]
            x, y = x + SKIPS["a_group"], y + SKIPS["b_group"]
        for i in range(rows):
            for j in range(columns):
                place = i * C_ROW + (block * columns + j) * D.c_column
                c[place] = total[i, j] + (c[place] if accumulate else 0.0)
    return c


@pytest.mark.parametrize("assembly", [True, False])
@pytest.mark.parametrize("flat", [True, False])
def test_every_block_size(flat: bool, assembly: bool, chip: Features, tmp_path: Path) -> None:
    segments, groups = (1, 1) if flat else (SEGMENTS, GROUPS)
    blocks = SIZES + [(1, columns) for columns in (5, 8, 13, 16)]
    names = {size: f"panel_{size[0]}x{size[1]}" for size in blocks}
    skips = {name: 4 * skip for name, skip in SKIPS.items()}
    path = _PATH.format(segments=segments, groups=groups, **skips)
    text = _MAIN.format(
        panels=flat_panel_source(names, D, assembly=assembly)
        if flat
        else panel_source(names, D, assembly=assembly, nested=True),
        tests=2 * len(DEPTHS) * len(blocks),
        length=LENGTH,
        names=", ".join(names.values()),
        depths=", ".join(map(str, DEPTHS)),
        depth_count=len(DEPTHS),
        blocks=BLOCKS,
        c_row=4 * C_ROW,
        path="" if flat else path,
    )
    write_runtime(tmp_path, "program", chip)
    (tmp_path / "templates" / "main.c").write_text(text + FORK_WORKERS)
    machine = Machine(Configuration.from_dict(chip.simulator_configuration()), checks=True)
    machine.load(find().build(tmp_path))
    random = np.random.default_rng(0)
    a, b = (random.uniform(-1, 1, LENGTH).astype(np.float32) for _ in range(2))
    symbols = machine.symbols
    machine.write(symbols["a"].address, a.tobytes())
    machine.write(symbols["b"].address, b.tobytes())
    result = machine.run(max_cycles=20_000_000)
    assert result.exit_code == 0 and not result.reports, result
    found = np.frombuffer(machine.read(symbols["c"].address, symbols["c"].size), np.float32).reshape(
        -1, LENGTH
    )
    number = 0
    for rows, columns in blocks:
        for depth in DEPTHS:
            for accumulate in (False, True):
                sizes = rows, columns, depth, accumulate, segments, groups
                want = expected(a.astype(np.float64), b.astype(np.float64), *sizes)
                np.testing.assert_allclose(
                    found[number], want, atol=1e-5, err_msg=f"{rows}x{columns}, depth {depth}"
                )
                number += 1


def test_the_inner_loop_has_one_instruction_for_each_product_and_load() -> None:
    text = panel_assembly("p", 4, 4, Distances(64, 1, 1, 64), nested=False)
    assert "LP_SETUP(0, t2, 24, 5)" in text
    assert text.count("fmadd.s") == 2 * 16


def test_the_inner_loop_fits_the_core_s_own_instruction_cache() -> None:
    text = panel_assembly("p", 4, 4, Distances(64, 1, 1, 64), nested=True)
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    start = next(i for i, line in enumerate(lines) if "LP_SETUP(1" in line)
    end = next(i for i, line in enumerate(lines) if '"6:' in line)
    assert 4 * (end - start) <= 512


def test_a_flat_panel_fits_the_core_s_own_instruction_cache() -> None:
    text = flat_panel_assembly("p", 4, 4, Distances(64, 1, 1, 64))
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    block = lines[lines.index('"1:\\n"') : lines.index('"ret\\n"')]
    assert 4 * sum(not line.endswith(':\\n"') for line in block) <= 512


def test_operands_out_of_reach_are_told() -> None:
    assert Distances(511, 1, 1, 511).reach(4, 4)
    assert not Distances(512, 1, 1, 64).reach(4, 4)
    assert Distances(512, 1, 1, 64).reach(1, 4)
    assert Distances(64, 1, 5000, 1).reach(4, 4)


def test_the_choice_of_a_panel() -> None:
    names = panel_names(block_sizes_with_rests(4, {0, 2}), block_sizes_with_rests(4, {3}))
    assert list(names) == [(4, 4), (4, 3), (2, 4), (2, 3)]
    assert panel_calls(names, "x", "").splitlines() == [
        "if (height == 4 && width == 4) panel_4x4(x);",
        "else if (height == 4) panel_4x3(x);",
        "else if (width == 4) panel_2x4(x);",
        "else panel_2x3(x);",
    ]
