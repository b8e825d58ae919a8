"""What a target has: sizes, counts and abilities that the compiler decides by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from tvm_pulp.target.errors import UserError

if TYPE_CHECKING:
    from tvm.target import Target

PREFIX = "feature."
"""TVM leaves keys of this form of a target's configuration to us."""

L1_RUNTIME_BYTES = 256
"""L1 that the runtime keeps for itself at the start (state of the DMA's slots), see `runtime/pmsis`."""


@dataclass(frozen=True)
class Features:
    """Sizes, counts and abilities of a PULP cluster and its memories.

    Attributes
    ----------
    tag : str
        Name of the chip, e.g. "pulp-open".
    cores : int
        Workers of the cluster.
    fpus : int
        Floating-point units; worker i uses unit i modulo this.
    l1_bytes, l2_bytes, l2_private_bytes, l3_bytes : int
        Memory of the cluster, memory shared by all, memory of the fabric controller, external memory (0
        where there is none).
    l1_base, l2_base, l2_private_base : int
        Their addresses.
    l1_banks : int
        Banks of L1, each a word wide.
    stack_bytes : int
        Stack of each worker, at the top of L1.
    dma_bytes_per_cycle : int
        Of one direction, in contiguous transfers.
    has_xpulp : bool
        Hardware loops, post-increment loads and stores, integer dot products.
    has_fp16 : bool
        Half-precision vectors.
    frequency_hz : int
        To turn cycles into seconds.
    """

    tag: str
    cores: int
    fpus: int
    l1_bytes: int
    l2_bytes: int
    l2_private_bytes: int
    l3_bytes: int
    l1_base: int
    l2_base: int
    l2_private_base: int
    l1_banks: int
    stack_bytes: int
    dma_bytes_per_cycle: int
    has_xpulp: bool
    has_fp16: bool
    frequency_hz: int

    @property
    def kernel_l1_bytes(self) -> int:
        """L1 left to a kernel: without the stacks and the runtime's own data."""
        return self.l1_bytes - self.cores * self.stack_bytes - L1_RUNTIME_BYTES

    def simulator_configuration(self) -> dict[str, Any]:
        """The simulator's configuration for this target: that of the tag with the options put in.

        Returns
        -------
        dict
            For `tvm_pulp.runtime.sim.Configuration.from_dict`.
        """
        from tvm_pulp.target.tags import simulator_configuration

        changed = {SIMULATOR_FIELDS[name]: getattr(self, name) for name in SIMULATOR_FIELDS}
        return {**simulator_configuration(self.tag), **changed}


SIMULATOR_FIELDS: Mapping[str, str] = {
    "cores": "worker_cores",
    "fpus": "shared_fpus",
    "l1_bytes": "l1_bytes",
    "l2_bytes": "l2_bytes",
    "l2_private_bytes": "l2_private_bytes",
    "l3_bytes": "l3_bytes",
    "l1_base": "l1_base",
    "l2_base": "l2_base",
    "l2_private_base": "l2_private_base",
    "l1_banks": "l1_banks",
    "frequency_hz": "frequency_hz",
}
"""Features that the simulator knows too → the field of its configuration."""


def features(target: Target) -> Features:
    """Read the features of a target.

    Parameters
    ----------
    target
        One of our tags, with or without options, see `tvm_pulp.target.parse`.

    Raises
    ------
    UserError
        If it is not a PULP target.
    """
    attributes = {str(key): value for key, value in target.attrs.items()}
    convert = {"str": str, "int": int, "bool": bool}
    values: dict[str, Any] = {}
    for field in fields(Features):
        value = attributes.get(PREFIX + field.name)
        if value is None:
            raise UserError(f'target {target} is not a PULP target; use one of our tags, e.g. "pulp"')
        values[field.name] = convert[str(field.type)](value)
    return Features(**values)
