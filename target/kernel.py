"""A finished kernel: what is left of a PrimFunc when it has been scheduled and printed."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    name: str
    layer: str
    macs: int
    l1_bytes: int
    source: str
    text: str
