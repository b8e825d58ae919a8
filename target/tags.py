"""The chips we know, as TVM target tags.

What the simulator needs to know of a chip too stands in its configuration and is taken from there, so that
compiler and simulator cannot differ.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from tvm_pulp.target.features import PREFIX, SIMULATOR_FIELDS

ALIASES = {"pulp": "pulp-open"}
"""Tag → the chip it stands for."""

CHIPS = ("pulp-open", "pulp-open-bankconf", "vega", "siracusa")
"""Chips by the names of the simulator's configurations."""

# What the simulator does not need to know; the same on all these chips.
_COMPILER_FEATURES: dict[str, Any] = {
    "stack_bytes": 1024,
    "dma_bytes_per_cycle": 8,
    "has_xpulp": True,
    "has_fp16": True,
}


def tag_names() -> list[str]:
    """All tags, aliases first."""
    return [*ALIASES, *CHIPS]


@cache
def simulator_configuration(tag: str) -> dict[str, Any]:
    """The simulator's configuration of a chip, all fields.

    Raises
    ------
    KeyError
        If there is no such tag.
    """
    from tvm_pulp.runtime.sim.configuration import Configuration

    chip = ALIASES.get(tag, tag)
    if chip not in CHIPS:
        raise KeyError(tag)
    return Configuration.named(chip).to_dict()


def tag_features(tag: str) -> dict[str, Any]:
    """The features of a tag by name, see `tvm_pulp.target.features.Features`."""
    chip = ALIASES.get(tag, tag)
    simulated = simulator_configuration(chip)
    shared = {name: simulated[field] for name, field in SIMULATOR_FIELDS.items()}
    return {"tag": chip, **_COMPILER_FEATURES, **shared}


def tag_configuration(tag: str) -> dict[str, Any]:
    """The tag's target as TVM's registry wants it: kind `c`, all of ours in `feature.*`."""
    own = {PREFIX + name: value for name, value in tag_features(tag).items()}
    return {"kind": "c", "keys": ["pulp", "cpu"], "mcpu": "ri5cy", **own}


def register() -> None:
    """Make our tags known to TVM; it calls this by the entry point `tvm.backends` when it is imported."""
    from tvm.target.tag import register_tag

    for tag in tag_names():
        register_tag(tag, tag_configuration(tag), override=True)
