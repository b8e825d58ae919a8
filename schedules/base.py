"""What a template is, and the choice of the first one that applies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from tvm_pulp.target.tvm_names import PrimFunc

Workload = Any
"""What a template found out about a function; each template has its own class."""


class ClusterFeatures(Protocol):
    """The part of ``target.features.Features`` that schedules look at."""

    @property
    def cores(self) -> int:
        """Number of workers."""
        ...

    @property
    def kernel_l1_bytes(self) -> int:
        """L1 that a kernel may use: all but the workers' stacks and the runtime's own data."""
        ...

    @property
    def has_xpulp(self) -> bool:
        """Whether hardware loops and post-increment accesses may be used."""
        ...

    @property
    def has_fp16(self) -> bool:
        """Whether the FPUs have half-precision instructions."""
        ...


class Template(Protocol):
    """One operator class: when it applies, its knobs, and the tiled TIR for bound knobs."""

    name: str

    def match(self, function: PrimFunc) -> Workload | None:
        """Return the workload, None where the template does not apply."""
        ...

    def knobs(self, workload: Workload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return the values that each knob may take."""
        ...

    def default(self, workload: Workload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return good knobs by the analytic model; None where none fit, so that another schedule must do."""
        ...

    def build(self, workload: Workload, knobs: dict[str, int], features: ClusterFeatures) -> PrimFunc:
        """Return the function in the cluster dialect."""
        ...

    def l1_bytes(self, workload: Workload, knobs: dict[str, int]) -> int:
        """Return the L1 that the knobs need."""
        ...

    def estimate_cycles(self, workload: Workload, knobs: dict[str, int], features: ClusterFeatures) -> float:
        """Estimate the cycles that a call takes."""
        ...


def templates() -> list[Template]:
    """Return all templates, the one to try first at the head."""
    from tvm_pulp.schedules.batch_norm import BatchNormTemplate
    from tvm_pulp.schedules.conv2d import Conv2dTemplate
    from tvm_pulp.schedules.cross_entropy import CrossEntropyTemplate
    from tvm_pulp.schedules.elementwise import ElementwiseTemplate
    from tvm_pulp.schedules.float16_matmul import Float16MatmulTemplate
    from tvm_pulp.schedules.latents import LatentsTemplate
    from tvm_pulp.schedules.linear_sum import LinearSumTemplate
    from tvm_pulp.schedules.matmul import MatmulTemplate
    from tvm_pulp.schedules.max_pool import MaxPoolTemplate
    from tvm_pulp.schedules.movement import MovementTemplate
    from tvm_pulp.schedules.quantize import QuantizeTemplate
    from tvm_pulp.schedules.quantized_conv2d import QuantizedConv2dTemplate
    from tvm_pulp.schedules.quantized_depthwise import QuantizedDepthwiseTemplate
    from tvm_pulp.schedules.quantized_depthwise_pairs import DepthwisePairsTemplate
    from tvm_pulp.schedules.quantized_matmul import QuantizedMatmulTemplate
    from tvm_pulp.schedules.quantized_pool import QuantizedPoolTemplate
    from tvm_pulp.schedules.store_rows import StoreRowsTemplate
    from tvm_pulp.schedules.unpack_weight import UnpackWeightTemplate

    return [
        MatmulTemplate(),
        Float16MatmulTemplate(),
        Conv2dTemplate(),
        BatchNormTemplate(),
        QuantizedMatmulTemplate(),
        QuantizedConv2dTemplate(),
        DepthwisePairsTemplate(),
        QuantizedDepthwiseTemplate(),
        QuantizeTemplate(),
        UnpackWeightTemplate(),
        LinearSumTemplate(),
        QuantizedPoolTemplate(),
        LatentsTemplate(),
        StoreRowsTemplate(),
        CrossEntropyTemplate(),
        MaxPoolTemplate(),
        MovementTemplate(),
        ElementwiseTemplate(),
    ]


def lower(function: PrimFunc, target: Any, resident: Collection[str] = ()) -> PrimFunc:
    """Turn a kernel computation into the cluster dialect.

    Parameters
    ----------
    function
        A PrimFunc of TE blocks with the attributes of docs/architecture.md, section 2.
    target
        A TVM target of the pulp family, or its ``Features``.
    resident
        Names of parameters that live in L1, before and after: they are worked on in place, with no transfer.

    Returns
    -------
    PrimFunc
        The function for all workers, by the first template that applies, else by the generic lowering.

    Raises
    ------
    UserError
        Where even the smallest tiles do not fit L1, or the resident tensors leave too little of it.
    """
    from tvm_pulp.schedules.generic import lower_generic

    features: ClusterFeatures = _features(target)
    if resident:
        return _lower_resident(function, features, resident)
    choice = choose(function, features)
    return lower_generic(function, features) if choice is None else choice.build(features)


@dataclass(frozen=True)
class Choice:
    """The template that takes a function, and its default knobs."""

    template: Template
    workload: Workload
    knobs: dict[str, int]

    def build(self, features: ClusterFeatures) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return self.template.build(self.workload, self.knobs, features)

    def estimate_cycles(self, features: ClusterFeatures) -> float:
        """Estimate the cycles of a call."""
        return self.template.estimate_cycles(self.workload, self.knobs, features)


def choose(function: PrimFunc, features: ClusterFeatures) -> Choice | None:
    """Return the first template that applies; None where that is left to the generic lowering."""
    for template in templates():
        workload = template.match(function)
        knobs = template.default(workload, features) if workload is not None else None
        if knobs is not None:
            return Choice(template, workload, knobs)
    return None


def _lower_resident(function: PrimFunc, features: ClusterFeatures, names: Collection[str]) -> PrimFunc:
    from tvm_pulp.schedules.generic import lower_generic
    from tvm_pulp.schedules.resident import build_resident, resident_bytes, resident_numbers

    numbers = resident_numbers(function, names)
    left = features.kernel_l1_bytes - resident_bytes(function, numbers)
    for template in templates():
        workload = template.match(function)
        lowered = build_resident(template, workload, features, numbers) if workload is not None else None
        if lowered is not None and int(lowered.attrs["pulp.l1_bytes"]) <= left:
            return lowered
    return lower_generic(function, features, numbers)


def _features(target: Any) -> Any:
    if hasattr(target, "kernel_l1_bytes") and hasattr(target, "cores"):
        return target
    from tvm_pulp.target.features import features

    return features(target)
