"""The kernels that can be measured, one operator class a file."""

from __future__ import annotations

from tvm_pulp.measure.specification import parse_specification
from tvm_pulp.measure.workloads import batch_norm, conv2d, elementwise, latents, loss, matmul, pooling, update
from tvm_pulp.measure.workloads.workload import Cost, Kind, Workload

KINDS: dict[str, Kind] = {
    **matmul.KINDS,
    **conv2d.KINDS,
    **elementwise.KINDS,
    **update.KINDS,
    **loss.KINDS,
    **batch_norm.KINDS,
    **pooling.KINDS,
    **latents.KINDS,
}
"""By name."""


def make_workload(text: str) -> Workload:
    """Make a workload from its specification, see ``measure.specification``.

    Raises
    ------
    UserError
        If the specification is wrong.
    """
    specification = parse_specification(text, {name: kind.keys for name, kind in KINDS.items()})
    return KINDS[specification.kind].make(specification)


__all__ = ["KINDS", "Cost", "Kind", "Workload", "make_workload"]
