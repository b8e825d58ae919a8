"""The layout of few bits: every bit of a group has one place."""

import numpy as np
import pytest

from tvm_pulp.schedules.microkernels.latent_layout import LatentLayout, bytes_in_lanes


@pytest.mark.parametrize("bits", range(1, 9))
def test_whole_values_and_pieces_fill_each_byte_once(bits: int) -> None:
    layout = LatentLayout(bits)
    taken = np.zeros((layout.words, 8), int)
    taken[:, : layout.whole * bits] += 1
    seen: dict[int, list[int]] = {number: [] for number in layout.spread}
    for piece in layout.pieces():
        taken[piece.word, piece.at : piece.at + piece.count] += 1
        seen[piece.value] += range(piece.first, piece.first + piece.count)
        assert piece.shift > 0
    assert (taken == 1).all()
    assert all(found == list(range(bits)) for found in seen.values())
    assert layout.values * bits == 32 * layout.words


def test_seven_bits() -> None:
    layout = LatentLayout(7)
    assert (layout.values, layout.words, layout.whole, layout.rest) == (32, 7, 1, 1)
    assert [(p.word, p.first, p.at) for p in layout.pieces()] == [(j, j, 7) for j in range(7)]


def test_bytes_in_lanes() -> None:
    assert bytes_in_lanes(0x7F) == 0x7F7F7F7F
