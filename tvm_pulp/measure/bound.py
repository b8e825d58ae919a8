"""The roofline: the fewest cycles that a kernel can take on a machine."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tvm_pulp.measure.workloads.workload import Workload
from tvm_pulp.schedules.remove_transfers import tensor_bytes
from tvm_pulp.target.features import Features


@dataclass(frozen=True)
class Bound:
    """Cycles that a call takes at least.

    Attributes
    ----------
    compute : float
        Of the cores and FPUs.
    dma : float
        Of the DMA, if each tensor moves once, in and out at the same time; 0 where all are in L1.
    """

    compute: float
    dma: float

    @property
    def cycles(self) -> float:
        """Cycles if computation and transfers overlap in full."""
        return max(self.compute, self.dma)

    @property
    def limit(self) -> str:
        """What limits: ``compute`` or ``DMA``."""
        return "compute" if self.compute >= self.dma else "DMA"


def bound_of(workload: Workload, features: Features, written: Collection[int]) -> Bound:
    """Return a workload's bound.

    Parameters
    ----------
    workload
        The kernel.
    features
        Of the target.
    written
        Numbers of the arguments that a call writes; those of a kernel that works in place move both ways.
    """
    compute = workload.cost.cycles(features, workload.dtype)
    resident = workload.resident
    moved = {n: p for n, p in enumerate(workload.function.params) if str(p.name) not in resident}
    moved_in = sum(tensor_bytes(p) for n, p in moved.items() if workload.in_place or n not in written)
    moved_out = sum(tensor_bytes(p) for n, p in moved.items() if n in written)
    return Bound(compute, max(moved_in, moved_out) / features.dma_bytes_per_cycle)
