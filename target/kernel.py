"""A finished kernel: what is left of a PrimFunc when it has been scheduled and printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kernel:
    """A kernel as C, with what plans and reports need to know of it.

    Attributes
    ----------
    name : str
        C function.
    layer : str
        Where it comes from in the model.
    macs : int
        Multiply-accumulates of a call.
    l1_bytes : int
        Scratch in L1.
    source : str
        The C file.
    text : str
        The scheduled TIR, for people.
    l1_buffers : mapping of str to tuple of int
        Buffers in the scratch: offset and size in bytes.
    moved : tuple of bool
        For each parameter whether the kernel transfers it; the workers access others where they are.
    tiles : int
        Rounds of transfers and work.
    in_l1 : Kernel or None
        The same on tensors that are in L1 where this one transfers them; None if there is no such.
    """

    name: str
    layer: str
    macs: int
    l1_bytes: int
    source: str
    text: str
    l1_buffers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    moved: tuple[bool, ...] = ()
    tiles: int = 1
    in_l1: Kernel | None = None
