"""A product of bytes: its sizes, read from a function's attribute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.dot_panel import LARGEST_BLOCK, Epilogue, longest_distance
from tvm_pulp.schedules.microkernels.stationary_panel import StationaryPanel
from tvm_pulp.target.tvm_names import PrimFunc

_LARGEST_SEGMENTS = 16


@dataclass(frozen=True)
class QuantizedMatmulWorkload:
    """A product of m x k and n x k bytes, with or without requantisation.

    The operands in `columns`, of "data" and "weight", have k rows: their sums run down the columns.
    A `packed` weight has 4 bits a value. With a `batch` there are as many matrices of each.
    """

    function: PrimFunc
    m: int
    n: int
    k: int
    epilogue_of: Epilogue
    columns: tuple[str, ...] = ()
    packed: bool = False
    batch: int = 1

    @property
    def stored(self) -> tuple[str, ...]:
        """Operands that workers rearrange or unpack in L1."""
        return (*self.rearranged, *(("weight",) if self.packed else ()))

    @property
    def rearranged(self) -> tuple[str, ...]:
        """Operands that become words of each sum in L1: `columns`, or all where `segments_of` says no."""
        return self.columns if segments_of(self.k) else ("data", "weight")

    @property
    def segments(self) -> int:
        """Pieces that the sum lies in, each short enough to be a distance of rows."""
        return 1 if len(self.rearranged) == 2 else segments_of(self.k) or 1

    @property
    def words(self) -> int:
        """Words of a sum."""
        return ceil_div(self.k, 4)

    def can_be_stationary(self, tile_n: int) -> bool:
        """Tell whether the weights of a tile can stay in registers."""
        panel = self.stationary_panel(tile_n)
        return not self.rearranged and panel.takes(self.n, tile_n)

    def stationary_panel(self, tile_n: int, *, signed: bool = False) -> StationaryPanel:
        """Return the sizes of a panel whose weights stay in registers."""
        e = replace(self.epilogue_of, multipliers=4 * tile_n)
        return StationaryPanel(self.k, 1, self.k, self.k, self.k, tile_n, e, signed)


def segments_of(k: int) -> int | None:
    """Return the number of equal pieces of whole words for a sum of k bytes, None where it would be large."""
    limit = longest_distance(LARGEST_BLOCK[0])
    return next((s for s in range(1, _LARGEST_SEGMENTS + 1) if k % (4 * s) == 0 and k // s <= limit), None)


def read_workload(function: PrimFunc) -> QuantizedMatmulWorkload | None:
    """Read a function's attribute; None where the panels do not serve."""
    value = {str(key): int(number) for key, number in function.attrs["pulp.quantized_matmul"].items()}
    epilogue = read_epilogue(value)
    columns = ("data",) * value["transpose_data"] + ("weight",) * (not value["transpose_weight"])
    packed = value["weight_bits"] == 4
    m, n, k, batch = (value[name] for name in ("m", "n", "k", "batch"))
    found = QuantizedMatmulWorkload(function, m, n, k, epilogue, columns, packed, batch)
    lies_otherwise = packed and ("weight" in found.rearranged or found.segments > 1 or batch > 1)
    return found if epilogue.is_supported() and not lies_otherwise else None


def read_epilogue(attributes: Mapping[str, Any]) -> Epilogue:
    """Return the epilogue that a kernel's attributes ask for."""
    if not attributes["requantize"]:
        return Epilogue()
    names = [field.name for field in fields(Epilogue) if field.name in attributes]
    value: dict[str, Any] = {name: int(attributes[name]) for name in names}
    flags = {name: bool(value[name]) for name in ("requantize", "narrow", "short", "halfword", "spare_bit")}
    return Epilogue(**value | flags)
