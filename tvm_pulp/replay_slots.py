"""Which slots of the replay store each step of a run reads or overwrites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tvm_pulp.package.metadata import Metadata, Tensor
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.functions import REPLAY_INDICES, REPLAY_SLOTS, STORE_REPLAYS

_SEED = 0  # of the slots that are replayed where the user names none


class ReplaySlots:
    """The slots of each step of a run.

    Parameters
    ----------
    metadata : Metadata
        Of a package with a replay store.
    function : str
        "train_step" or "store_replays".
    given : ndarray or None
        Of the user, whole numbers, as many as steps have in a row; after its end it is read from its start.
        None: `store_replays` overwrites one slot after the other, a step replays what it draws at random
        (the same at each run), each slot once where enough are filled.
    labels : ndarray
        Of the store, to tell which slots are filled.
    where : str
        Names the source of `given` in errors.

    Raises
    ------
    UserError
        For numbers of no slot, or of an empty one that is to be replayed; for slots that a step is to
        overwrite twice.
    """

    def __init__(
        self, metadata: Metadata, function: str, given: np.ndarray | None, labels: np.ndarray, where: str
    ) -> None:
        self.name = slot_tensor(metadata, function).name
        self._count = slots_of_step(metadata, function)
        self._capacity = len(labels)
        self._filled = np.flatnonzero(is_filled(labels))
        self._stores = function == STORE_REPLAYS
        if not self._stores and not len(self._filled):
            raise UserError(
                "the replay store is empty: fill it with tvmc run --function store_replays, and give what "
                "that writes by --parameters"
            )
        self._given = None if given is None else self._checked(np.asarray(given), where)

    def step(self, index: int) -> np.ndarray:
        """Slots of a step, int32."""
        if self._given is not None:
            return self._given[index % len(self._given)]
        if self._stores:
            return (np.arange(self._count, dtype=np.int32) + index * self._count) % self._capacity
        random = np.random.default_rng([_SEED, index])
        repeats = len(self._filled) < self._count
        return random.choice(self._filled, self._count, replace=repeats).astype(np.int32)

    def _checked(self, given: np.ndarray, where: str) -> np.ndarray:
        if not np.issubdtype(given.dtype, np.integer):
            raise UserError(f"{where}: '{self.name}' is {given.dtype}; numbers of slots must be integers")
        if given.size == 0 or given.size % self._count:
            raise UserError(
                f"{where}: '{self.name}' holds {given.size} slots; give {self._count} for each step"
            )
        wrong = given[(given < 0) | (given >= self._capacity)]
        if wrong.size:
            raise UserError(
                f"{where}: '{self.name}' names slot {wrong[0]}; the store has slots 0 to {self._capacity - 1}"
            )
        steps = given.reshape(-1, self._count).astype(np.int32)
        if self._stores:
            for row in steps:
                if len(np.unique(row)) < len(row):
                    raise UserError(
                        f"{where}: '{self.name}' names a slot twice for one step; a step's samples need "
                        "different slots"
                    )
        elif not np.isin(steps, self._filled).all():
            empty = steps[~np.isin(steps, self._filled)][0]
            raise UserError(
                f"{where}: '{self.name}' names slot {empty}, which is empty; fill it with store_replays first"
            )
        return steps


def is_filled(labels: np.ndarray) -> np.ndarray:
    """Tell which slots of a store hold a sample, by its labels: those of empty ones are -1, or NaN."""
    empty = np.isnan(labels) if np.issubdtype(labels.dtype, np.floating) else labels < 0
    return np.asarray(~empty.reshape(len(labels), -1).any(axis=1))


def slot_tensor(metadata: Metadata, function: str) -> Tensor:
    """Return the argument by which a function is told slots."""
    return metadata.tensor("slots", REPLAY_SLOTS if function == STORE_REPLAYS else REPLAY_INDICES)


def slots_of_step(metadata: Metadata, function: str) -> int:
    """Return how many slots a step reads or overwrites."""
    train: Mapping[str, Any] = metadata.train or {}
    return metadata.micro_batch if function == STORE_REPLAYS else int(train["replay_batch"])
