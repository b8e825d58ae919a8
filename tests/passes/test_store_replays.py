"""The function that stores samples, on the host: every byte as in NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.host_executor import HostExecutor
from tests.passes.replay_training import built, samples
from tests.passes.test_replays import CONFIG


@pytest.mark.parametrize(("bits", "zero_point"), [(bits, 100 * (bits % 2)) for bits in range(1, 9)])
def test_stores_the_bytes_of_the_reference(bits: int, zero_point: int) -> None:
    graph, _, store = built(dataclasses.replace(CONFIG, replay_bits=bits), zero_point=zero_point)
    executor = HostExecutor(graph.module)
    data = samples(6)
    memory = {**graph.initial_values, "replay_latents": store.latents.copy()}
    for first, slots in ((0, [5, 0, 2]), (3, [1, 2, 6])):
        new = {name: array[first : first + 3] for name, array in data.items()}
        results, memory = executor.run("store_replays", {**memory, **new, "replay_slots": np.int32(slots)})
        store.store({"x": new["x"]}, new["labels"], np.array(slots))
        assert results == []
        np.testing.assert_array_equal(memory["replay_latents"], store.latents)
        np.testing.assert_array_equal(memory["replay_labels"], store.labels)
    assert list(np.flatnonzero(memory["replay_labels"] < 0)) == [3, 4]


def test_targets_that_are_numbers_are_stored() -> None:
    graph, _, store = built(dataclasses.replace(CONFIG, loss="mse"))
    new = samples(3, "mse")
    memory = {**graph.initial_values, "replay_latents": store.latents, **new}
    assert np.isnan(memory["replay_labels"]).all()
    slots = np.array([1, 6, 4], np.int32)
    _, memory = HostExecutor(graph.module).run("store_replays", {**memory, "replay_slots": slots})
    np.testing.assert_array_equal(memory["replay_labels"][slots], new["labels"])
    assert np.isnan(memory["replay_labels"]).all(axis=1).sum() == 4


def test_rows_for_l3_are_a_result() -> None:
    graph, _, store = built(dataclasses.replace(CONFIG, replay_memory="L3", replay_bits=7))
    new, slots = samples(3), np.array([4, 1, 0], np.int32)
    arguments = [argument.name for argument in graph.module["store_replays"].params]
    assert arguments == ["x", "labels", "replay_slots", "replay_labels"]
    memory = {**graph.initial_values, **new, "replay_slots": slots}
    (rows,), memory = HostExecutor(graph.module).run("store_replays", memory)
    store.store({"x": new["x"]}, new["labels"], slots)
    np.testing.assert_array_equal(rows, store.latents[slots])
    np.testing.assert_array_equal(memory["replay_labels"], store.labels)
