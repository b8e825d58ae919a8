"""The memory plan: what the planner fills in and the network printer prints, and whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm_pulp.target.errors import UserError
from tvm_pulp.target.features import Features

L3_RESERVED_BYTES = 16
"""At the start of L3: an allocator does not give out address 0."""


@dataclass(frozen=True)
class Buffer:
    """A tensor with a place in memory.

    Attributes
    ----------
    name : str
        Name in the model or in the graph, e.g. "features.0.weight", "momentum:features.0.weight".
    kind : str
        "input", "labels", "loss", "output", "parameter", "state", "gradient", "replays" (the replay store),
        "slots" (numbers of its rows), "rows" (some of these) or "activation". All but activations have a
        symbol of their own.
    level : str
        Memory level, "L1" or "L2": where the call that it is an argument of finds it; "L3" for a tensor that
        no call has as an argument, see `ExternalRows`.
    offset : int or None
        Bytes from the start of L1 (the kernels' scratch), or in L2 from the start of the arena for an
        activation, None for a named tensor.
    bytes : int
        Size.
    shape : tuple of int
        Extents.
    dtype : str
        TVM's name of the element type, e.g. "float32".
    first, last : int
        Indices of the first and last kernel call that uses it.
    """

    name: str
    kind: str
    level: str
    offset: int | None
    bytes: int
    shape: tuple[int, ...]
    dtype: str
    first: int
    last: int


@dataclass(frozen=True)
class Call:
    """A kernel call: the kernel's name, its arguments in the kernel's order, the layer it comes from."""

    kernel: str
    arguments: tuple[Buffer, ...]
    layer: str


@dataclass(frozen=True)
class Transfer:
    """A transfer of a whole tensor between L2 and L1 that the network function does, not a kernel.

    Attributes
    ----------
    tensor : Buffer
        Its place in L2.
    l1_offset : int
        Its place in L1.
    to_l1 : bool
        The direction.
    start, ready : int
        It is started before call `start`, with no kernel at work, and complete before call `ready`: the same,
        or up to six later. The number of calls stands for the end of the function.
    """

    tensor: Buffer
    l1_offset: int
    to_l1: bool
    start: int
    ready: int


@dataclass(frozen=True)
class Stay:
    """A tensor's time in L1: from before call `first` to the end of call `last`, at the buffer's offset."""

    buffer: Buffer
    first: int
    last: int


@dataclass(frozen=True)
class ExternalRows:
    """Rows of a tensor in L3 that core 0 copies to L2, or from there: row ``slots[i]`` and row i.

    Attributes
    ----------
    tensor : Buffer
        In L3.
    rows, slots : Buffer
        In L2, the latter int32.
    count : int
        Rows to copy.
    to_l2 : bool
        The direction.
    start, ready : int
        Copies to L2 start before call `start` and are complete before call `ready`; those to L3 are done at
        the end of the function.
    """

    tensor: Buffer
    rows: Buffer
    slots: Buffer
    count: int
    to_l2: bool
    start: int
    ready: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.tensor.bytes // self.tensor.shape[0]


@dataclass(frozen=True)
class FunctionPlan:
    """A network function: "train_step", "gradient_step", "update_step", "infer" or "store_replays".

    Attributes
    ----------
    name : str
        Of the function.
    calls : tuple of Call
        In order.
    arena_bytes : int
        What its activations and gradients take of the arena in L2.
    stays : tuple of Stay
        Tensors in L1, beside the kernels' scratch.
    transfers : tuple of Transfer
        That bring them there and take them out.
    external : ExternalRows or None
        Rows of a tensor in L3 that it reads or writes.
    """

    name: str
    calls: tuple[Call, ...]
    arena_bytes: int
    stays: tuple[Stay, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    external: ExternalRows | None = None


@dataclass(frozen=True)
class MemoryPlan:
    """A whole program.

    Attributes
    ----------
    functions : tuple of FunctionPlan
        They run one at a time and share the arena.
    buffers : tuple of Buffer
        The named tensors, each once, in the largest shape that a function uses.
    arena_bytes : int
        Size of the arena in L2.
    l1_bytes : int
        L1: the kernels' scratch, and the tensors that stay there meanwhile.
    """

    functions: tuple[FunctionPlan, ...]
    buffers: tuple[Buffer, ...]
    arena_bytes: int
    l1_bytes: int

    def named_bytes(self, level: str = "L2") -> int:
        """Bytes of the named tensors in a level of memory."""
        return sum(buffer.bytes for buffer in self.buffers if buffer.level == level)


def check_memory(plan: MemoryPlan, features: Features, advice: Sequence[str] = ()) -> None:
    """Refuse a plan that exceeds L1 or L2; code is counted by the linker, on top of this.

    Parameters
    ----------
    plan : MemoryPlan
        Of the whole program.
    features : Features
        Memory sizes.
    advice : sequence of str
        What would save L2, best first; a larger L2 is added.

    Raises
    ------
    UserError
        With the missing bytes and what would help.
    """
    missing = plan.l1_bytes - features.kernel_l1_bytes
    if missing > 0:
        raise UserError(
            f"L1 is {missing} bytes short: a kernel needs {plan.l1_bytes}, stacks and runtime leave "
            f"{features.kernel_l1_bytes} of {features.l1_bytes}; use a target with more L1, e.g. "
            f"-l1-bytes={-(-(features.l1_bytes + missing) // 4096) * 4096}"
        )
    external = plan.named_bytes("L3") + L3_RESERVED_BYTES
    if external > max(features.l3_bytes, L3_RESERVED_BYTES):
        row_bytes = plan.named_bytes("L3") // next(b for b in plan.buffers if b.level == "L3").shape[0]
        fitting = max(features.l3_bytes - L3_RESERVED_BYTES, 0) // row_bytes
        fewer = [f"--replays {fitting}"] if fitting else []
        larger = f"-l3-bytes={1 << (external - 1).bit_length()}"
        raise UserError(
            f"L3 is {external - features.l3_bytes} bytes short: the stored replays need {external}, there "
            f"are {features.l3_bytes}; what would help: {', '.join([*fewer, larger])}"
        )
    named = plan.named_bytes()
    replays = sum(b.bytes for b in plan.buffers if b.kind == "replays" and b.level == "L2")
    stored = f", {replays} for stored replays" if replays else ""
    needed = plan.arena_bytes + named
    if needed > features.l2_bytes:
        larger = f"-l2-bytes={1 << (needed - 1).bit_length()}"
        raise UserError(
            f"L2 is {needed - features.l2_bytes} bytes short: the tensors need {needed} "
            f"({plan.arena_bytes} for activations and gradients, {named - replays} for parameters, optimiser "
            f"state, inputs and outputs{stored}), there are {features.l2_bytes}; "
            f"what would help: {', '.join([*advice, larger])}"
        )
