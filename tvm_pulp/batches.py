"""The samples of a run: an npz file or arrays, checked against the package, cut into batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_pulp.files import read_arrays
from tvm_pulp.package.metadata import Metadata, Tensor
from tvm_pulp.replay_slots import slot_tensor
from tvm_pulp.target.errors import UserError

LABELS = "labels"


@dataclass(frozen=True)
class Batches:
    """Samples by name, `[samples, ...]`, how many make a batch, and slots of the replay store if given."""

    arrays: Mapping[str, np.ndarray]
    batch: int
    slots: np.ndarray | None = None

    def __len__(self) -> int:
        """Samples."""
        return len(next(iter(self.arrays.values())))

    def step(self, index: int) -> dict[str, np.ndarray]:
        """Samples of step `index`: the next `batch` ones, from the start again after the end."""
        picks = np.arange(index * self.batch, (index + 1) * self.batch) % len(self)
        return {name: np.ascontiguousarray(array[picks]) for name, array in self.arrays.items()}


def load_batches(
    source: str | Path | Mapping[str, np.ndarray], metadata: Metadata, function: str, batch: int
) -> Batches:
    """Read samples and check them against what the package wants.

    Parameters
    ----------
    source : path or mapping
        An npz file or arrays by name: one under each input's name, `[samples, ...]`, and "labels"
        where the function trains or stores samples; in these cases perhaps numbers of slots, see
        `ReplaySlots`.
    metadata : Metadata
        Of the package.
    function : str
        "train_step", "infer" or "store_replays".
    batch : int
        Samples a step.

    Raises
    ------
    UserError
        Wrong names, shapes, types or counts, labels out of range, values that are not finite.
    """
    arrays = dict(source) if isinstance(source, Mapping) else read_arrays(source)
    where = "the inputs" if isinstance(source, Mapping) else str(source)
    wanted = [
        t for t in metadata.tensors if t.kind == "input" or (t.kind == "labels" and function != "infer")
    ]
    names = ", ".join(t.name for t in wanted)
    for tensor in wanted:
        if tensor.name not in arrays:
            held = ", ".join(sorted(arrays)) or "nothing"
            raise UserError(f"{where} has no array {tensor.name!r} (it holds {held}); it needs {names}")
        arrays[tensor.name] = _checked(np.asarray(arrays[tensor.name]), tensor, metadata, where)
    slots = {t.name for t in metadata.of_kind("slots")}
    unknown = sorted(set(arrays) - {t.name for t in wanted} - {LABELS} - slots)
    if unknown:
        raise UserError(f"{where} has an array {unknown[0]!r} that the model does not take; it takes {names}")
    chosen = None
    if slots and function != "infer":
        chosen = arrays.get(slot_tensor(metadata, function).name)
    arrays = {t.name: arrays[t.name] for t in wanted}
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise UserError(f"{where}: the arrays differ in samples: {counts}; give one row a sample to each")
    if 0 in counts.values():
        raise UserError(f"{where} holds no samples; give at least one")
    return Batches(arrays, batch, chosen)


def _checked(array: np.ndarray, tensor: Tensor, metadata: Metadata, where: str) -> np.ndarray:
    expected = ", ".join(["samples", *(str(n) for n in tensor.shape[1:])])
    if array.ndim != len(tensor.shape) or array.shape[1:] != tensor.shape[1:]:
        raise UserError(f"{where}: {tensor.name!r} has shape {list(array.shape)}; it must be [{expected}]")
    if tensor.kind == "labels" and tensor.dtype == "int32":
        return _checked_labels(array, metadata, where)
    if not np.issubdtype(array.dtype, np.floating) and not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{where}: {tensor.name!r} is {array.dtype}; it must hold numbers, {tensor.dtype}")
    if not np.isfinite(array).all():
        raise UserError(f"{where}: {tensor.name!r} holds NaN or infinity; clean the data first")
    if np.issubdtype(tensor.dtype, np.integer):
        _check_range(array, tensor, where)
    return array.astype(tensor.dtype)


def _check_range(array: np.ndarray, tensor: Tensor, where: str) -> None:
    """Raise UserError for values that the integers of an input do not hold."""
    limits = np.iinfo(tensor.dtype)
    held = (array >= limits.min) & (array <= limits.max) & (array == np.rint(array))
    if not held.all():
        raise UserError(
            f"{where}: {tensor.name!r} holds {array[~held].reshape(-1)[0]}; the model takes whole numbers "
            f"from {limits.min} to {limits.max}: quantise the data by its input's scale and zero point"
        )


def _checked_labels(array: np.ndarray, metadata: Metadata, where: str) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{where}: 'labels' is {array.dtype}; class numbers must be integers")
    classes = metadata.classes
    wrong = np.flatnonzero((array < 0) | (array >= classes))
    if len(wrong):
        raise UserError(
            f"{where}: label {array[wrong[0]]} of sample {wrong[0]} is out of range; "
            f"the model has classes 0 to {classes - 1}"
        )
    return array.astype(np.int32)
