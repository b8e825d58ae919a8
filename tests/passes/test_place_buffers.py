from hypothesis import given
from hypothesis import strategies as st

from tvm_pulp.passes.place_buffers import ALIGNMENT, Lifetime, aligned, peak_bytes, place_buffers

lifetimes = st.lists(
    st.builds(
        lambda size, first, length: Lifetime(size, first, first + length),
        st.integers(1, 5000),
        st.integers(0, 20),
        st.integers(0, 10),
    ),
    max_size=30,
)


@given(lifetimes)
def test_buffers_alive_together_never_share_bytes(lives):
    offsets, arena = place_buffers(lives)
    for i, (a, start) in enumerate(zip(lives, offsets, strict=True)):
        assert start % ALIGNMENT == 0
        assert start + a.size <= arena
        for b, other in zip(lives[:i], offsets[:i], strict=True):
            assert not a.overlaps(b) or start + a.size <= other or other + b.size <= start


@given(lifetimes)
def test_arena_is_between_peak_and_sum(lives):
    _, arena = place_buffers(lives)
    assert peak_bytes(lives) <= arena <= sum(aligned(life.size) for life in lives)


def test_a_chain_needs_two_buffers_only():
    chain = [Lifetime(1000, step, step + 1) for step in range(10)]
    _, arena = place_buffers(chain)
    assert arena == 2 * aligned(1000)


def test_nothing_needs_nothing():
    assert place_buffers([]) == ([], 0)
    assert peak_bytes([]) == 0
