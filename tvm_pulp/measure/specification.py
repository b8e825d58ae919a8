"""Kernels by name and shape: ``conv2d:cin=16,cout=16,h=32,w=32,kernel=3,pad=1,step=weight-grad``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tvm_pulp.target.errors import UserError

REQUIRED = None
"""Default of a key that must be given."""


@dataclass(frozen=True)
class Key:
    """What may be said of a kernel.

    Attributes
    ----------
    name : str
        As it is written.
    default : int, str or None
        Value where it is not given; None where it must be.
    choices : tuple of str
        Values of a key that is no number.
    least : int
        Smallest value of a number.
    """

    name: str
    default: int | str | None = REQUIRED
    choices: tuple[str, ...] = ()
    least: int = 1


@dataclass(frozen=True)
class Specification:
    """A kernel's kind and the value of each of its keys."""

    text: str
    kind: str
    values: Mapping[str, int | str] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """Return the value of a key that is a number."""
        return int(self.values[name])

    def word(self, name: str) -> str:
        """Return the value of a key that is a word."""
        return str(self.values[name])


SOURCE = Key("source", "l2", ("l1", "l2"))
"""Where the tensors are: in L2, with the transfers in the cycles; in L1, without any."""


def parse_specification(text: str, kinds: Mapping[str, Sequence[Key]]) -> Specification:
    """Read a kernel's specification.

    Parameters
    ----------
    text
        ``kind:key=value,key=value``.
    kinds
        Name of each kind → its keys.

    Raises
    ------
    UserError
        For a kind, a key or a value that is not among the allowed ones, which it names; for a key that is
        missing or given twice.
    """
    kind, _, rest = text.partition(":")
    if kind not in kinds:
        raise UserError(f"'{text}': there is no kernel '{kind}'; choose of {', '.join(kinds)}")
    keys = {key.name: key for key in kinds[kind]}
    values: dict[str, int | str] = {}
    for part in filter(None, rest.split(",")):
        name, equals, value = part.partition("=")
        if name not in keys or not equals:
            raise UserError(f"'{text}': {kind} has no key '{name}'; write key=value of {', '.join(keys)}")
        if name in values:
            raise UserError(f"'{text}': {name} is given twice; leave one out")
        values[name] = _value(text, keys[name], value)
    for key in keys.values():
        if key.name not in values and key.default is REQUIRED:
            raise UserError(f"'{text}': {key.name} is missing; {kind} has the keys {', '.join(keys)}")
    defaults = {key.name: key.default for key in keys.values() if key.default is not REQUIRED}
    return Specification(text, kind, {**defaults, **values})


def _value(text: str, key: Key, value: str) -> int | str:
    if key.choices:
        if value not in key.choices:
            raise UserError(
                f"'{text}': {key.name}={value} is not allowed; choose of {', '.join(key.choices)}"
            )
        return value
    if not (value.isascii() and value.isdigit() and int(value) >= key.least):
        raise UserError(f"'{text}': {key.name}={value} is not allowed; give a whole number >= {key.least}")
    return int(value)
