"""The options of a target that a user may set, and their checks."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tvm_pulp.target.errors import UserError
from tvm_pulp.target.features import L1_RUNTIME_BYTES

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}


@dataclass(frozen=True)
class Range:
    """Integers from `least` to `most`, multiples of `step`."""

    least: int
    most: int
    step: int = 1

    def __str__(self) -> str:
        multiples = f", a multiple of {self.step}" if self.step > 1 else ""
        return f"an integer from {self.least} to {self.most}{multiples}"


OPTIONS: Mapping[str, Range | None] = {
    "cores": Range(1, 8),
    "fpus": Range(1, 8),
    "l1_bytes": Range(8 << 10, 1 << 20, 4096),
    "l2_bytes": Range(64 << 10, 1 << 29, 1024),
    "l3_bytes": Range(0, 1 << 30, 1024),
    "stack_bytes": Range(256, 16 << 10, 16),
    "has_xpulp": None,
    "has_fp16": None,
    "frequency_hz": Range(1, 10**10),
}
"""Option → its range; None for those that are true or false."""


def spelled(name: str) -> str:
    """The option as it is written in a target string: `l2_bytes` → `-l2-bytes`."""
    return "-" + name.replace("_", "-")


def closest(name: str, known: Iterable[str]) -> str:
    """A hint for a message: the known name that looks most like `name`, if any does."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f' (did you mean "{match[0]}"?)' if match else ""


def check_option(name: str, value: Any) -> int | bool:
    """Check one option and convert its value.

    Parameters
    ----------
    name
        As in `OPTIONS`, hyphens for underscores allowed.
    value
        Text or the value itself; sizes may end in K or M.

    Raises
    ------
    UserError
        If there is no such option or the value is out of range.
    """
    option = name.replace("-", "_")
    if option not in OPTIONS:
        raise UserError(
            f'unknown target option "{spelled(name)}"{closest(spelled(name), map(spelled, OPTIONS))}; '
            f"known are {', '.join(map(spelled, OPTIONS))}"
        )
    limits = OPTIONS[option]
    if limits is None:
        return _boolean(option, value)
    number = _integer(value)
    if number is None or not limits.least <= number <= limits.most or number % limits.step:
        raise UserError(f"target option {spelled(option)}={value}: it must be {limits}")
    return number


def check_together(values: Mapping[str, Any]) -> None:
    """Check what only the options together can tell.

    Raises
    ------
    UserError
        If the stacks take more than half of L1, or the workers do not share the FPUs evenly.
    """
    stacks = values["cores"] * values["stack_bytes"] + L1_RUNTIME_BYTES
    if 2 * stacks > values["l1_bytes"]:
        raise UserError(
            f"{values['cores']} stacks of {values['stack_bytes']} bytes take more than half of L1 "
            f"({values['l1_bytes']} bytes); set a smaller -stack-bytes or a larger -l1-bytes"
        )
    if values["fpus"] & (values["fpus"] - 1):
        raise UserError(f"target option -fpus={values['fpus']}: it must be 1, 2, 4 or 8")


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value).strip().lower()
    unit = text[-1:] if text[-1:] in ("k", "m") else ""
    try:
        return int(text[: len(text) - len(unit)], 0) * _UNITS[unit]
    except ValueError:
        return None


def _boolean(option: str, value: Any) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if str(value).lower() not in known:
        raise UserError(f"target option {spelled(option)}={value}: it must be true or false")
    return known[str(value).lower()]
