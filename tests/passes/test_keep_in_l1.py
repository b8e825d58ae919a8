"""What stays in L1 between kernels: what is kept, what moves when, and that no two tensors share bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_pulp.passes.keep_in_l1 import keep_in_l1
from tvm_pulp.passes.l1_residency import CallCost, Move, Residency, Tensor, TensorUse

LIMIT = 4096
SMALL = CallCost(scratch=512, tiles=1, scratch_in_l1=0)


def read(call: int, moved: bool = True) -> TensorUse:
    return TensorUse(call, True, False, moved)


def write(call: int, moved: bool = True) -> TensorUse:
    return TensorUse(call, False, True, moved)


def update(call: int) -> TensorUse:
    return TensorUse(call, True, True, True)


def activation(size: int, *uses: TensorUse) -> Tensor:
    return Tensor(size, False, uses)


def named(size: int, *uses: TensorUse) -> Tensor:
    return Tensor(size, True, uses)


def test_a_tensor_between_two_kernels_never_goes_to_l2() -> None:
    found = keep_in_l1([activation(1000, write(0), read(1))], [SMALL, SMALL], LIMIT)
    (stay,) = found.stays
    assert found.calls == {0, 1}
    assert (stay.first, stay.last, stay.fetch, stay.store) == (0, 1, None, None)
    assert found.l1_bytes == 1008


def test_a_weight_is_fetched_while_the_kernel_before_computes() -> None:
    found = keep_in_l1([activation(64, write(0), read(1)), named(512, read(1))], [SMALL, SMALL], LIMIT)
    weight = next(stay for stay in found.stays if stay.tensor == 1)
    assert weight.fetch == Move(0, 1)
    assert weight.first == 0


def test_nothing_hides_the_fetch_for_the_first_kernel() -> None:
    found = keep_in_l1([named(512, read(0))], [SMALL], LIMIT)
    assert found.stays[0].fetch == Move(0, 0)
    assert found.stays[0].fetch.exposed


def test_what_is_needed_later_leaves_beside_the_next_kernel() -> None:
    """Three kernels in between have no room for it."""
    full = CallCost(scratch=LIMIT, tiles=1, scratch_in_l1=None)
    calls = [SMALL, SMALL, full, full, SMALL, SMALL]
    found = keep_in_l1([activation(1024, write(0), read(5)), named(16, read(4))], calls, LIMIT)
    before, after = (stay for stay in found.stays if stay.tensor == 0)
    assert before.store == Move(1, 2)
    assert after.fetch == Move(4, 5)


def test_a_result_that_a_kernel_in_l2_reads_next_is_waited_for() -> None:
    full = CallCost(scratch=LIMIT, tiles=1, scratch_in_l1=None)
    found = keep_in_l1([activation(1024, write(0), read(1))], [SMALL, full], LIMIT)
    assert all(stay.store == Move(1, 1) for stay in found.stays)


def test_an_updated_parameter_goes_back() -> None:
    found = keep_in_l1([named(256, read(0), update(1))], [SMALL, SMALL, SMALL], LIMIT)
    (stay,) = found.stays
    assert stay.store == Move(2, 3)
    assert [use.call for use in stay.uses] == [0, 1]


def test_a_kernel_that_hides_its_transfers_keeps_its_tiles() -> None:
    """Nothing before it hides the fetch of its large tensor, its own loop over 16 tiles does."""
    tiled = CallCost(scratch=1024, tiles=8, scratch_in_l1=0)
    large = 1 << 20
    found = keep_in_l1([named(large, read(0))], [tiled], 2 * large)
    assert found.calls == frozenset()
    assert found.stays == ()
    assert found.l1_bytes == 1024


def test_small_tensors_that_workers_access_directly_stay_for_their_whole_life() -> None:
    """A kernel that works on tensors in L2 finds them in L1, too."""
    streaming = CallCost(scratch=1024, tiles=4, scratch_in_l1=None)
    mean = activation(64, write(0, moved=False), read(9, moved=False))
    bias = named(64, read(0, moved=False))
    found = keep_in_l1([mean, bias], [streaming] * 10, LIMIT)
    (stay,) = found.stays
    assert (stay.tensor, stay.first, stay.last) == (0, 0, 9)
    assert stay.offset >= 1024


def overlapping(found: Residency, tensors: list[Tensor], calls: list[CallCost]) -> list[tuple[int, int]]:
    """Return pairs of stays, or of a stay and a call's scratch, that share bytes at some call."""
    pairs = []
    for number, stay in enumerate(found.stays):
        end = stay.offset + tensors[stay.tensor].bytes
        for call in range(stay.first, min(stay.last + 1, len(calls))):
            cost = calls[call]
            scratch = cost.scratch_in_l1 if call in found.calls else cost.scratch
            if stay.offset < (scratch or 0):
                pairs.append((number, -1 - call))
        for other_number, other in enumerate(found.stays[:number]):
            together = stay.first <= other.last and other.first <= stay.last
            if together and stay.offset < other.offset + tensors[other.tensor].bytes and other.offset < end:
                pairs.append((number, other_number))
    return pairs


@st.composite
def functions(draw: st.DrawFn) -> tuple[list[Tensor], list[CallCost]]:
    count = draw(st.integers(1, 12))
    call = st.builds(
        CallCost, st.integers(0, LIMIT), st.integers(1, 4), st.one_of(st.none(), st.integers(0, 600))
    )
    calls = [draw(call) for _ in range(count)]
    tensors = []
    for _ in range(draw(st.integers(1, 12))):
        at = sorted(draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=6)))
        is_named = draw(st.booleans())
        uses = []
        for position, call in enumerate(at):
            first = position == 0 and not is_named
            written = first or draw(st.booleans())
            uses.append(TensorUse(call, not first, written, draw(st.booleans())))
        tensors.append(Tensor(draw(st.integers(1, 2000)), is_named, tuple(uses)))
    return tensors, calls


@settings(max_examples=300, deadline=None)
@given(functions())
def test_every_use_finds_the_last_values(function: tuple[list[Tensor], list[CallCost]]) -> None:
    """Follow each tensor: which copy is up to date before each call, and what each transfer finds."""
    tensors, calls = function
    found = keep_in_l1(tensors, calls, LIMIT)
    assert found.l1_bytes <= LIMIT
    assert overlapping(found, tensors, calls) == []
    for number, tensor in enumerate(tensors):
        stays = [stay for stay in found.stays if stay.tensor == number]
        valid_in_l2 = 0 if tensor.named else None  # call before which L2 has the last values
        for use in tensor.uses:
            stay = next((s for s in stays if use in s.uses), None)
            if stay is None:
                assert not (use.moved and use.call in found.calls)
                assert not use.read or (valid_in_l2 is not None and valid_in_l2 <= use.call)
                valid_in_l2 = use.call + 1 if use.written else valid_in_l2
                continue
            assert use.moved <= (use.call in found.calls)
            if use is stay.uses[0] and use.read:
                assert stay.fetch is not None and stay.fetch.ready == use.call
                assert valid_in_l2 is not None and valid_in_l2 <= stay.fetch.start
            if use.written:
                last = use is [u for u in stay.uses if u.written][-1]
                valid_in_l2 = stay.store.ready if last and stay.store is not None else None
                assert stay.store is None or not last or stay.store.start == use.call + 1
        if tensor.named:
            assert valid_in_l2 is not None and valid_in_l2 <= len(calls)
