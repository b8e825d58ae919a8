"""Slots of the replay store: the user's, one after the other, or drawn; what is no filled slot is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tvm_pulp.examples_of_metadata import metadata
from tvm_pulp.batches import load_batches
from tvm_pulp.package.metadata import Metadata, Tensor
from tvm_pulp.replay_slots import ReplaySlots, is_filled
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.functions import STORE_REPLAYS

CAPACITY = 10
FILLED = np.array([0, 1, 2, 0, 1, -1, -1, -1, 2, -1], np.int32)


def with_replays() -> Metadata:
    plain = metadata()
    return metadata(
        train={"loss": "cross-entropy", "replays": CAPACITY, "replay_batch": 3},
        tensors=(
            *plain.tensors,
            Tensor("replay_indices", "slots", "network_replay_indices", (3,), "int32"),
            Tensor("replay_slots", "slots", "network_replay_slots", (4,), "int32"),
            Tensor("replay_latents", "replays", "network_replay_latents", (CAPACITY, 5), "uint8"),
            Tensor("replay_labels", "replays", "network_replay_labels", (CAPACITY,), "int32"),
        ),
    )


def slots(function: str, given: object = None, labels: np.ndarray = FILLED) -> ReplaySlots:
    array = None if given is None else np.asarray(given)
    return ReplaySlots(with_replays(), function, array, labels, "batches.npz")


def test_samples_are_stored_one_slot_after_the_other() -> None:
    found = slots(STORE_REPLAYS, labels=np.full(CAPACITY, -1, np.int32))
    assert found.name == "replay_slots"
    assert [list(found.step(i)) for i in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]


def test_replays_are_drawn_from_what_is_filled() -> None:
    found, again = slots("train_step"), slots("train_step")
    assert found.name == "replay_indices"
    drawn = np.array([found.step(i) for i in range(40)])
    assert set(drawn.reshape(-1)) == {0, 1, 2, 3, 4, 8}
    assert all(len(set(row)) == 3 for row in drawn)
    np.testing.assert_array_equal(drawn, [again.step(i) for i in range(40)])


def test_few_filled_slots_are_drawn_again() -> None:
    labels = np.full(CAPACITY, -1, np.int32)
    labels[[2, 7]] = 1
    assert set(slots("train_step", labels=labels).step(0)) <= {2, 7}


def test_given_slots_are_read_from_the_start_again() -> None:
    found = slots("train_step", [0, 1, 2, 3, 4, 8])
    assert [list(found.step(i)) for i in range(3)] == [[0, 1, 2], [3, 4, 8], [0, 1, 2]]


@pytest.mark.parametrize(
    ("function", "given", "message"),
    [
        ("train_step", [0, 1, 10], "batches.npz: 'replay_indices' names slot 10; .* slots 0 to 9"),
        ("train_step", [0, -1, 1], "names slot -1"),
        ("train_step", [0, 5, 1], "names slot 5, which is empty"),
        ("train_step", [0, 1], "holds 2 slots; give 3 for each step"),
        ("train_step", [], "is float64; numbers of slots must be integers"),
        ("train_step", np.zeros(0, np.int32), "holds 0 slots"),
        (STORE_REPLAYS, [0, 1, 2, 1], "'replay_slots' names a slot twice for one step"),
        (STORE_REPLAYS, [0, 1, 2, 12], "names slot 12"),
    ],
)
def test_bad_slots_are_named(function: str, given: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        slots(function, given)


def test_an_empty_store_cannot_be_replayed() -> None:
    with pytest.raises(UserError, match=r"the replay store is empty: fill it with .* store_replays"):
        slots("train_step", labels=np.full(CAPACITY, -1, np.int32))


def test_slots_with_numbers_for_labels_are_empty_where_those_are_nan() -> None:
    labels = np.array([[0.0, 1.0], [np.nan, np.nan], [2.0, -1.0]], np.float32)
    np.testing.assert_array_equal(is_filled(labels), [True, False, True])


def test_batches_hold_the_slots_of_their_function() -> None:
    given = {
        "x": np.zeros((4, 2, 5), np.float32),
        "labels": np.zeros(4, np.int64),
        "replay_indices": np.arange(3),
    }
    found = load_batches(given, with_replays(), "train_step", 4)
    assert found.slots is not None and list(found.slots) == [0, 1, 2]
    assert set(found.step(0)) == {"x", "labels"}
    assert load_batches(given, with_replays(), STORE_REPLAYS, 4).slots is None
    with pytest.raises(UserError, match="has an array 'replay_indices' that the model does not take"):
        load_batches(given, metadata(), "train_step", 4)
