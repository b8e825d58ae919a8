"""Helpers of generated assembly."""

from __future__ import annotations

import pytest

from tvm_pulp.schedules.microkernels.assembly import code_words, copies


@pytest.mark.parametrize("count,words,compressed", [(0, 0, 0), (1, 1, 0), (2, 1, 2), (5, 3, 4)])
def test_copies_fill_whole_words(count: int, words: int, compressed: int) -> None:
    """What follows compressed instructions is aligned, as lines of the instruction cache want it."""
    lines = copies([(f"s{i}", "t0") for i in range(count)])
    assert code_words(lines) == words
    assert sum(line.startswith("c.mv ") for line in lines) == compressed
    assert [line.split()[-2] for line in lines if "mv " in line] == [f"s{i}," for i in range(count)]


def test_labels_and_directives_take_no_space() -> None:
    assert code_words(["1:", ".balign 16", "lw a0, 0(sp)", "c.mv s0, a0", "LP_SETUP(0, a0, 2, 5)"]) == 2.5
