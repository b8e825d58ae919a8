"""The memory plan: what the planner fills in and the network printer prints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Buffer:
    """A tensor with a place in memory.

    Attributes
    ----------
    name : str
        Name in the model or in the graph, e.g. "features.0.weight", "momentum:features.0.weight".
    kind : str
        "input", "labels", "loss", "output", "parameter", "state", "gradient" or "activation".
        All but activations have a symbol of their own.
    level : str
        Memory level, "L2".
    offset : int or None
        Bytes from the start of the arena for an activation, None for a named tensor.
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
class FunctionPlan:
    """A network function: "train_step", "gradient_step", "update_step" or "infer"."""

    name: str
    calls: tuple[Call, ...]
    arena_bytes: int


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
        Scratch in L1 of the largest kernel.
    """

    functions: tuple[FunctionPlan, ...]
    buffers: tuple[Buffer, ...]
    arena_bytes: int
    l1_bytes: int
