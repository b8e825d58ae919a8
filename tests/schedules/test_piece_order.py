"""The order in which the pieces of a channel pass through a ring of slots."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tvm_pulp.schedules.piece_order import MOST_SLOTS, PieceOrder

ORDERS = st.builds(
    PieceOrder,
    channels=st.integers(1, 4),
    pieces=st.integers(1, 9),
    kept=st.integers(0, MOST_SLOTS),
    slots=st.integers(1, MOST_SLOTS),
)


@given(ORDERS, st.booleans())
def test_a_slot_is_free_before_it_is_loaded(order: PieceOrder, read_only: bool) -> None:
    """Play all steps: each finds its piece in the ring, and no load overwrites what is still needed.

    What is worked on in place is free two steps later, what is only read one step later where all is kept.
    """
    if not order.is_feasible():
        return
    lag = order.lag_of_read_only if read_only else 2
    assert lag == (1 if read_only and order.kept == order.pieces else 2)
    held = dict.fromkeys(range(order.slots))  # slot → load
    total = order.channels * order.loads
    for load in range(min(order.slots, total)):
        held[load] = load
    loaded = min(order.slots, total)
    for step in range(order.channels * order.steps):
        if step >= lag and order.last_step(order.load_of(step - lag)) == step - lag and loaded < total:
            old = held[loaded % order.slots]
            assert old is not None and order.last_step(old) <= step - lag
            held[loaded % order.slots] = loaded
            loaded += 1
        load = order.load_of(step)
        assert held[load % order.slots] == load
        assert order.first_step(load) <= step <= order.last_step(load)
        channel, own = divmod(step, order.steps)
        piece = load % order.loads % order.pieces
        if own < order.pieces:
            assert piece == own
        assert channel == load // order.loads
    assert loaded == total


@given(ORDERS)
def test_both_sweeps_see_each_piece_once(order: PieceOrder) -> None:
    if order.kept > order.pieces:
        return
    for first in (0, order.pieces):
        steps = range(first, first + order.pieces)
        assert sorted(order.load_of(step) % order.pieces for step in steps) == list(range(order.pieces))


def test_what_does_not_fit() -> None:
    assert not PieceOrder(2, 4, 3, 2).is_feasible()
    assert not PieceOrder(4, 4, 5, 7).is_feasible()
    assert PieceOrder(4, 4, 4, 4).is_feasible()
    assert PieceOrder(4, 4, 0, 3).is_feasible()


def test_cycles() -> None:
    """Slow transfers are the bound, or slow work; what is kept is not moved again."""
    work = PieceOrder(5, 4, 4, 7).cycles(10.0, 5.0, (100.0, 200.0))
    assert work == 10.0 + 5 * 4 * 300.0 + 5.0
    again, kept = (PieceOrder(8, 4, k, 7).cycles(100.0, 50.0, (10.0, 10.0)) for k in (0, 4))
    assert 8 * 8 * 100.0 <= again <= 8 * 8 * 100.0 + 100.0
    assert 8 * 4 * 100.0 <= kept <= 0.6 * again
    # what is only read comes while results of the same slot leave
    apart = PieceOrder(8, 2, 2, 3).cycles(100.0, 100.0, (150.0, 180.0), read_only=100.0)
    together = PieceOrder(8, 2, 2, 3).cycles(200.0, 100.0, (150.0, 180.0))
    assert apart <= together - 7 * 50.0


@given(ORDERS, st.booleans())
def test_transfers_of_a_channel_add_up(order: PieceOrder, read_only: bool) -> None:
    """Beside the steps of a channel start as many loads as it has, of each tensor, and a store a piece."""
    if order.is_feasible():
        transfers = sum(order.transfers(own, read_only=read_only) for own in range(order.steps))
        assert transfers == (1 + read_only) * order.loads + order.pieces
