"""A kernel between latents and the replay store: what it moves, and in which form."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.latent_layout import LatentLayout
from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape

PACK, REPACK, UNPACK, GATHER = "pack_latents", "repack_latents", "unpack_latents", "gather_latents"


@dataclass(frozen=True)
class LatentsWorkload:
    """A kernel of one of the classes.

    Attributes
    ----------
    function : PrimFunc
        What is to be lowered.
    kind : str
        The operator class.
    samples, elements : int
        Samples that are moved, and values of each.
    bits : int
        Q.
    zero_point : int
        The integer of 0.
    scale : float
        The step, or its reciprocal for packing; 0 for repacking.
    non_negative : bool
        Whether no value is below 0.
    requantization : tuple of int
        Multiplier, shift, and the source's zero point, for repacking.
    values_in_l1, packed_in_l1 : bool
        Whether the unpacked values, or the packed ones, live in L1: workers access them where they are.
    """

    function: PrimFunc
    kind: str
    samples: int
    elements: int
    bits: int
    zero_point: int
    scale: float = 0.0
    non_negative: bool = False
    requantization: tuple[int, int, int] = (0, 0, 0)
    values_in_l1: bool = False
    packed_in_l1: bool = False

    @property
    def item_bytes(self) -> int:
        """Bytes of an unpacked value."""
        return 1 if self.kind == REPACK else 4

    @property
    def is_stream(self) -> bool:
        """Whether samples that lie side by side are one without gaps: whole groups, or bytes."""
        return self.bits == 8 or self.elements % LatentLayout(self.bits).values == 0

    @property
    def sample_bytes(self) -> int:
        """Bytes of a packed sample."""
        return ceil_div(self.elements * self.bits, 8)

    def extents(self) -> tuple[int, int]:
        """Return the extents of the tile loop's axes: rows, and values of a row; a stream is one row."""
        if self.is_stream and self.kind != GATHER:
            return 1, self.samples * self.elements
        return self.samples, self.elements

    def row_bytes(self) -> int:
        """Return the packed bytes of a row."""
        return ceil_div(self.extents()[1] * self.bits, 8)


def read(function: PrimFunc) -> LatentsWorkload | None:
    """Return the workload of a function of one of the classes, None for anything else."""
    attributes = function.attrs.get("pulp.latents") if function.attrs is not None else None
    kind = str(function.attrs.get("pulp.operator", "")) if function.attrs is not None else ""
    if attributes is None or kind not in (PACK, REPACK, UNPACK, GATHER):
        return None
    details = {str(key): value for key, value in attributes.items()}
    values = function.params[0] if kind in (PACK, REPACK) else function.params[-1]
    if buffer_dtype(values) not in (("uint8", "int8") if kind == REPACK else ("float32",)):
        return None
    samples, *inner = buffer_shape(values)
    scale = details.get("reciprocal" if kind == PACK else "scale", 0.0)
    return LatentsWorkload(
        function,
        kind,
        samples,
        math.prod(inner),
        int(details["bits"]),
        int(details["zero_point"]),
        float(getattr(scale, "value", scale)),
        bool(int(details.get("non_negative", 0))),
        (
            int(details.get("multiplier", 0)),
            int(details.get("shift", 0)),
            int(details.get("source_zero_point", 0)),
        ),
    )
