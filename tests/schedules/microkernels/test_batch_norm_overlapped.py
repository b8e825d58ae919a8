"""Batch norms forward, two sweeps at once: where they are chosen, and how a piece is shared out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.schedules.test_batch_norm import function_of
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.passes.operators.batch_norm import Activation
from tvm_pulp.schedules.batch_norm import BatchNormTemplate
from tvm_pulp.schedules.microkernels.batch_norm_overlapped import FEWEST_ELEMENTS, piece_shares
from tvm_pulp.target import Features


def test_two_sweeps_at_once_are_chosen_where_they_gain(chip: Features, tmp_path: Path) -> None:
    """Forward, each element comes once where two channels fit L1, and the loop for both is the faster one."""
    function = function_of((4, 4, 32, 32), Activation(), False, False)
    template = BatchNormTemplate()
    workload = template.match(function)
    knobs = template.default(workload, chip)
    assert knobs is not None and knobs["overlapped"] == 1
    cycles = []
    for number, overlapped in enumerate((knobs, {**knobs, "overlapped": 0, "parts": 8, "tile_images": 4})):
        lowered = template.build(workload, overlapped, chip)
        measured = measure_kernel(lowered, random_arguments(function), chip, tmp_path / str(number))
        cycles.append(measured.cycles[-1])
    assert cycles[0] <= 0.93 * cycles[1]


@pytest.mark.parametrize("cores", [3, 8])
def test_pieces_of_any_size_have_shares_for_all(cores: int) -> None:
    for elements in (FEWEST_ELEMENTS, FEWEST_ELEMENTS + 1, 577, 1023, 4096):
        shares = piece_shares(elements, cores)
        assert shares.first + (cores - 1) * shares.others == elements
        assert 0 < shares.first <= shares.others + cores
