"""Kernels whose tensors already live in L1: no copy of them, no transfer.

A template writes its tile loop for tensors in L2; see ``remove_transfers`` for what becomes of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tvm_pulp.schedules.dialect import aligned
from tvm_pulp.schedules.remove_transfers import remove_transfers, tensor_bytes
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc

if TYPE_CHECKING:
    from tvm_pulp.schedules.base import ClusterFeatures, Template, Workload

_NO_LIMIT = 1 << 30


@runtime_checkable
class ValidatesKnobs(Protocol):
    """A template that can tell whether knobs can be built."""

    def is_valid(self, workload: Workload, knobs: dict[str, int], l1_bytes: int) -> bool:
        """Tell whether the tiles fit ``l1_bytes`` and a micro-kernel takes them."""
        ...


@runtime_checkable
class BuildsInPlace(Protocol):
    """A template whose workers access tensors in L1 where they are, tile by tile."""

    def build_in_place(
        self, workload: Workload, features: ClusterFeatures, resident: Collection[int]
    ) -> PrimFunc | None:
        """Return the function for parameters, by number, in L1; None where it cannot be."""
        ...


def resident_numbers(function: PrimFunc, names: Collection[str]) -> list[int]:
    """Return the positions of named parameters.

    Raises
    ------
    UserError
        For a name that the function does not have.
    """
    known = [str(parameter.name) for parameter in function.params]
    for name in names:
        if name not in known:
            raise UserError(f"no argument '{name}' to keep in L1; there are {', '.join(known)}")
    return [number for number, name in enumerate(known) if name in names]


def resident_bytes(function: PrimFunc, numbers: Collection[int]) -> int:
    """Return the L1 that resident parameters take, each at an aligned address."""
    sizes = (tensor_bytes(function.params[number]) for number in numbers)
    return sum(aligned(size) for size in sizes)


def build_resident(
    template: Template, workload: Workload, features: ClusterFeatures, resident: Collection[int]
) -> PrimFunc | None:
    """Build a template's function for tensors in L1.

    Parameters
    ----------
    template, workload
        What applies.
    features
        Of the target.
    resident
        Numbers of the parameters that live in L1.

    Returns
    -------
    PrimFunc or None
        With the template's own knobs where each of these tensors is one tile then, else with one tile for
        everything and the other knobs by the template's estimate. None where neither can be.
    """
    if isinstance(template, BuildsInPlace):
        return template.build_in_place(workload, features, resident)
    default = template.default(workload, features)
    for knobs in (default, *whole_knobs(template, workload, features)):
        if knobs is not None:
            function = remove_transfers(template.build(workload, knobs, features), resident)
            if function is not None:
                return function
    return None


def whole_knobs(template: Template, workload: Workload, features: ClusterFeatures) -> list[dict[str, int]]:
    """Return the knobs of one tile, the lowest estimate first: knobs named ``tile_…`` are sizes of tiles.

    A knob named ``separate`` decides whether results have a place of their own in L1; of the others only the
    best choice for each of its values is kept.
    """
    values = template.knobs(workload, features)
    choices = [[max(list_)] if name.startswith("tile_") else list_ for name, list_ in values.items()]
    best: dict[int, tuple[float, dict[str, int]]] = {}
    for chosen in itertools.product(*choices):
        knobs = dict(zip(values, chosen, strict=True))
        if isinstance(template, ValidatesKnobs) and not template.is_valid(workload, knobs, _NO_LIMIT):
            continue
        cycles = template.estimate_cycles(workload, knobs, features)
        separate = knobs.get("separate", 0)
        if separate not in best or cycles < best[separate][0]:
            best[separate] = cycles, knobs
    return [knobs for _, knobs in sorted(best.values(), key=lambda entry: entry[0])]
