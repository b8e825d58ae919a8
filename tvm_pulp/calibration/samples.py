"""Calibration data: an npz file, a folder of npy files, or arrays; read a few samples at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_pulp.files import read_arrays
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.target.errors import UserError

Source = str | Path | Mapping[str, np.ndarray]
LABELS = "labels"


@dataclass(frozen=True)
class Samples:
    """Samples of a model's inputs.

    Attributes
    ----------
    count : int
        At least 1.
    read : callable
        ``read(start, stop)`` gives ``[stop - start, ...]`` of float32 by input name.
    """

    count: int
    read: Callable[[int, int], dict[str, np.ndarray]]

    def batches(self, size: int) -> Iterator[dict[str, np.ndarray]]:
        """Yield all samples, `size` at a time."""
        for start in range(0, self.count, size):
            yield self.read(start, min(start + size, self.count))

    def first(self, count: int) -> Samples:
        """Give the first so many samples, or all where there are fewer."""
        return Samples(min(count, self.count), self.read)


def open_samples(source: Source, model: Model) -> Samples:
    """Open calibration data for a model.

    Parameters
    ----------
    source : path or mapping of str to ndarray
        An npz file or arrays: one ``[samples, ...]`` under each input's name (an array "labels" is ignored);
        or, for a model of one input, a folder of npy files in the order of their names, each a sample or
        ``[samples, ...]``.
    model : Model
        In canonical form.

    Returns
    -------
    Samples
        Files of a folder are read when they are needed.

    Raises
    ------
    UserError
        No data, wrong names or shapes; when reading, values that are not finite.
    """
    if not isinstance(source, Mapping) and Path(source).is_dir():
        return _folder(Path(source), model)
    where = "the calibration data" if isinstance(source, Mapping) else str(source)
    arrays = dict(source) if isinstance(source, Mapping) else read_arrays(source)
    names = ", ".join(model.inputs)
    for name in model.inputs:
        if name not in arrays:
            held = ", ".join(sorted(arrays)) or "nothing"
            raise UserError(f"{where} has no array {name!r} (it holds {held}); calibration needs {names}")
    unknown = sorted(set(arrays) - set(model.inputs) - {LABELS})
    if unknown:
        raise UserError(f"{where} has an array {unknown[0]!r} that is no input; calibration needs {names}")
    counts = {name: len(arrays[name]) if arrays[name].ndim else 0 for name in model.inputs}
    if len(set(counts.values())) > 1:
        raise UserError(f"{where}: the arrays differ in samples: {counts}; give one row a sample to each")
    count = next(iter(counts.values()))
    if count == 0:
        raise UserError(f"{where} holds no samples; give at least one")
    shapes = {v.name: static_shape(v)[1:] for v in model.input_variables}
    for name, shape in shapes.items():
        _check_shape(arrays[name].shape[1:], shape, name, where)

    def read(start: int, stop: int) -> dict[str, np.ndarray]:
        return {name: _finite(arrays[name][start:stop], name, where) for name in model.inputs}

    return Samples(count, read)


def _folder(folder: Path, model: Model) -> Samples:
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise UserError(
            f"{folder} holds no .npy file; write samples there with numpy.save, or give an npz file"
        )
    if len(model.inputs) != 1:
        raise UserError(
            f"{folder}: a folder serves a model of one input, this one has {', '.join(model.inputs)}: "
            "give an npz file with an array for each"
        )
    name, shape = model.inputs[0], static_shape(model.input_variables[0])[1:]
    index: list[tuple[Path, int | None]] = []  # file of each sample, and which of its rows
    for file in files:
        found = _load(file, mapped=True).shape
        if found == shape:
            index.append((file, None))
        else:
            _check_shape(found[1:], shape, name, str(file))
            index += [(file, row) for row in range(found[0])]
    if not index:
        raise UserError(f"{folder} holds no samples; give at least one")
    load = functools.lru_cache(maxsize=2)(_load)

    def read(start: int, stop: int) -> dict[str, np.ndarray]:
        rows = []
        for file, row in index[start:stop]:
            array = load(file)
            rows.append(_finite(array if row is None else array[row], name, str(file)))
        return {name: np.stack(rows)}

    return Samples(len(index), read)


def _load(file: Path, mapped: bool = False) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file} is not a readable npy file ({error}); write it with numpy.save") from error


def _check_shape(found: tuple[int, ...], expected: tuple[int, ...], name: str, where: str) -> None:
    if found != expected:
        raise UserError(
            f"{where}: a sample of {name!r} has shape {list(found)}; the model takes {list(expected)}"
        )


def _finite(array: np.ndarray, name: str, where: str) -> np.ndarray:
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise UserError(f"{where}: {name!r} is {array.dtype}; it must hold numbers")
    with np.errstate(over="ignore"):  # what exceeds float32 is infinite then
        values = np.asarray(array, np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{where}: {name!r} holds NaN or infinity; clean the data first")
    return values
