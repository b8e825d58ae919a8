"""Tuning records: the best knobs that a search found for a kernel on a chip, a line of JSON each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_ffi import structural_hash

from tvm_pulp.files import replacing
from tvm_pulp.schedules.base import templates
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.features import Features
from tvm_pulp.target.tvm_names import PrimFunc

_NAMES = ("global_symbol", "pulp.layer")


@dataclass(frozen=True)
class Record:
    """What a search found.

    Attributes
    ----------
    workload : str
        Of `workload_key`.
    chip : mapping of str to int
        Of `chip_key`.
    schedule : str
        Name of the template.
    knobs : mapping of str to int
        Its knobs.
    cycles : float
        Of a call, mean over the start skews.
    kernel : str
        For readers: how `tvmc bench` or a layer names the kernel.
    """

    workload: str
    chip: Mapping[str, int]
    schedule: str
    knobs: Mapping[str, int]
    cycles: float
    kernel: str = ""


def workload_key(function: PrimFunc) -> str:
    """Hash of a kernel computation, whatever its name and layer."""
    for name in _NAMES:
        function = function.without_attr(name)
    return f"{structural_hash(function) & 0xFFFFFFFFFFFFFFFF:016x}"


def chip_key(features: Features) -> dict[str, int]:
    """Return the part of a target that schedules depend on."""
    return {
        "cores": features.cores,
        "kernel_l1_bytes": features.kernel_l1_bytes,
        "has_xpulp": int(features.has_xpulp),
    }


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write a file of records, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(dataclasses.asdict(record)) + "\n" for record in records))


def read_records(path: str | Path) -> list[Record]:
    """Read a file of records.

    Raises
    ------
    UserError
        If the file is absent, or naming the line that is no record.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read the tuning records {path}: {error}; `make bench` writes some"
        ) from error
    return [_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _parsed(line: str, where: str) -> Record:
    names = {field.name for field in dataclasses.fields(Record)}
    try:
        content: Any = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}); remove the line") from error
    if not isinstance(content, dict) or not names - {"kernel"} <= set(content) <= names:
        raise UserError(f"{where} is no tuning record; it needs {', '.join(sorted(names))}: remove the line")
    return Record(**content)


def lower_by_records(function: PrimFunc, features: Features, records: Iterable[Record]) -> PrimFunc | None:
    """Lower a kernel with the knobs of its fastest record.

    Parameters
    ----------
    function
        A kernel computation, with its tensors in L2.
    features
        Of the target.
    records
        Of any kernels and chips.

    Returns
    -------
    PrimFunc or None
        In the cluster dialect; None where no record is of this kernel and chip.

    Raises
    ------
    UserError
        If the record names knobs that the template does not have, as one of another version would.
    """
    key, chip = workload_key(function), chip_key(features)
    fitting = [record for record in records if record.workload == key and record.chip == chip]
    if not fitting:
        return None
    best = min(fitting, key=lambda record: record.cycles)
    template = next((t for t in templates() if t.name == best.schedule), None)
    workload = None if template is None else template.match(function)
    if template is None or workload is None or set(template.knobs(workload, features)) != set(best.knobs):
        raise UserError(
            f"the tuning record of '{best.kernel}' is for another version of schedule {best.schedule}: "
            "tune anew"
        )
    return template.build(workload, dict(best.knobs), features)
