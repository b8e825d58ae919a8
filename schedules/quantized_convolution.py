"""What the templates of quantised convolutions share: knobs by a model of their sizes, tensors in L1.

Where all tensors are in L1, workers read weights and write results there, with all channels in a tile; what
is rearranged or padded still passes through a buffer of a tile of rows.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.quantized_conv2d_workload import QuantizedConv2dSizes, QuantizedConv2dWorkload
from tvm_pulp.schedules.resident import resident_bytes
from tvm_pulp.target.tvm_names import PrimFunc, dtype_bytes

TYPES = {
    "data": "uint8",
    "planes": "uint32",
    "weight": "int8",
    "weight_stored": "uint8",
    "bias": "int32",
    "columns": "int32",
}
"""Of the buffers in L1 but the result, which has its argument's."""


class Blocking(Protocol):
    """Bound knobs of a template."""

    def knobs(self) -> dict[str, int]:
        """Return the knobs."""
        ...

    def tile_elements(self, s: QuantizedConv2dSizes) -> dict[str, int]:
        """Return the elements of a tile of each buffer in L1."""
        ...


B = TypeVar("B", bound=Blocking)


@dataclass(frozen=True)
class ConvolutionModel(Generic[B]):
    """The functions of a template's model, see ``quantized_conv2d_model``.

    Attributes
    ----------
    read_workload, search
        Of a PrimFunc: the workload, or None; of sizes, cores and bytes of L1: the best blocking, or None.
    blocking
        Of sizes and knobs.
    l1_bytes, estimate_cycles, work_cycles
        Of sizes and a blocking (and cores): work is without transfers.
    channels
        The knob of a tile's channels of results; None where a tile has all of them.
    scratch
        The buffer of the image that is there where the tensors are in L1, too.
    takes_tensors
        Of sizes and a blocking of all channels: whether image and weights can be read as they are in L2, or
        copied, or unpacked.
    """

    read_workload: Callable[[PrimFunc], QuantizedConv2dWorkload | None]
    search: Callable[[QuantizedConv2dSizes, int, int], B | None]
    blocking: Callable[[QuantizedConv2dSizes, Mapping[str, int]], B]
    l1_bytes: Callable[[QuantizedConv2dSizes, B], int]
    estimate_cycles: Callable[[QuantizedConv2dSizes, B, int], float]
    work_cycles: Callable[[QuantizedConv2dSizes, B, int], float]
    channels: str | None
    scratch: str
    takes_tensors: Callable[[QuantizedConv2dSizes, B], bool]


class ConvolutionTemplate(Generic[B]):
    """A template of the functions with an attribute; its subclass gives knobs and builds."""

    name: str
    attribute: str
    model: ConvolutionModel[B]

    @abstractmethod
    def knobs(self, workload: QuantizedConv2dWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return what each knob may be."""

    @abstractmethod
    def build_blocking(
        self,
        workload: QuantizedConv2dWorkload,
        blocking: B,
        features: ClusterFeatures,
        scratch: Collection[str] | None,
    ) -> PrimFunc:
        """Return the function in the cluster dialect, see `ConvolutionBuilder`."""

    def match(self, function: PrimFunc) -> QuantizedConv2dWorkload | None:
        """Return the workload, None for anything else and for what the micro-kernels do not serve."""
        if function.attrs is None or self.attribute not in function.attrs:
            return None
        return self.model.read_workload(function)

    def default(self, workload: QuantizedConv2dWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1; None where none do."""
        found = self.model.search(workload.sizes, features.cores, features.kernel_l1_bytes)
        return None if found is None else found.knobs()

    def l1_bytes(self, workload: QuantizedConv2dWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return self.model.l1_bytes(workload.sizes, self.model.blocking(workload.sizes, knobs))

    def estimate_cycles(
        self, workload: QuantizedConv2dWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call, see the template's model."""
        blocking = self.model.blocking(workload.sizes, knobs)
        return self.model.estimate_cycles(workload.sizes, blocking, features.cores)

    def build(
        self, workload: QuantizedConv2dWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return self.build_blocking(workload, self.model.blocking(workload.sizes, knobs), features, None)

    def build_in_place(
        self, workload: QuantizedConv2dWorkload, features: ClusterFeatures, resident: Collection[int]
    ) -> PrimFunc | None:
        """Return the function for tensors in L1, see ``schedules.resident``.

        The image's buffer has half of what tensors and unpacked weights leave, if that will do: the other
        half is for tensors that other kernels use. None where no tile has room, or where a tensor is in L2.
        """
        s, function = workload.sizes, workload.function
        if len(set(resident)) < len(function.params):
            return None
        left = features.kernel_l1_bytes - resident_bytes(function, resident)
        image = self.model.scratch
        candidates = [
            blocking
            for blocking in self._blockings_of_all_channels(workload, features)
            if self.model.takes_tensors(s, blocking)
        ]

        def made(blocking: B) -> list[str]:
            """Return the buffers of what workers make of the weights."""
            return [*(["weight"] if s.packed else []), *({"columns"} & {*blocking.tile_elements(s)})]

        def fits(blocking: B, parts: int) -> bool:
            elements, names = blocking.tile_elements(s), made(blocking)
            sizes = {name: elements[name] * dtype_bytes(TYPES[name]) for name in (image, *names)}
            return parts * sizes[image] <= left - sum(sizes[name] for name in names)

        def cost(blocking: B) -> float:
            return self.model.work_cycles(s, blocking, features.cores)

        fitting = [b for b in candidates if fits(b, 1)]
        small = [b for b in fitting if fits(b, 2)]
        best = min(small or fitting, key=cost, default=None)
        if best is None:
            return None
        return self.build_blocking(workload, best, features, [image, *made(best)])

    def _blockings_of_all_channels(
        self, workload: QuantizedConv2dWorkload, features: ClusterFeatures
    ) -> list[B]:
        """Return the blockings whose tiles have all channels of the results."""
        values, name, s = self.knobs(workload, features), self.model.channels, workload.sizes
        if name is not None:
            values[name] = [outputs for outputs in values[name] if outputs == s.outputs]
        choices = itertools.product(*values.values())
        return [self.model.blocking(s, dict(zip(values, chosen, strict=True))) for chosen in choices]
