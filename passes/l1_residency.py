"""What `keep_in_l1` is told of tensors and calls, and what it decides."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TensorUse:
    """A call's use of a tensor.

    Attributes
    ----------
    call : int
        Number of the call.
    read, written : bool
        What the kernel does with it; a tensor that is only written is written in full.
    moved : bool
        Whether the kernel transfers it if it is in L2; the workers access others where they are.
    """

    call: int
    read: bool
    written: bool
    moved: bool


@dataclass(frozen=True)
class Tensor:
    """A tensor and its uses, in order; `named`: it is in L2 before and after the function."""

    bytes: int
    named: bool
    uses: tuple[TensorUse, ...]


@dataclass(frozen=True)
class CallCost:
    """What a call needs of L1.

    Attributes
    ----------
    scratch : int
        Bytes with its tensors in L2.
    tiles : int
        Rounds of transfers and work then, the one beside the other.
    scratch_in_l1 : int or None
        Bytes beside the tensors where all of them are in L1; None if the kernel cannot work so.
    cycles : float
        About what the call takes on tensors in L1: what it hides of transfers.
    """

    scratch: int
    tiles: int
    scratch_in_l1: int | None
    cycles: float = 1000.0


@dataclass(frozen=True)
class Move:
    """A transfer of a whole tensor, started before call `start`, complete before call `ready`.

    Where the two are the same, nothing hides it; `waiting` is the cycles for which nothing does.
    """

    start: int
    ready: int
    waiting: float = field(default=0.0, compare=False)

    @property
    def exposed(self) -> bool:
        """Whether all wait for it."""
        return self.start == self.ready


@dataclass
class Stay:
    """A tensor's time in L1.

    Attributes
    ----------
    tensor : int
        Number of the tensor.
    uses : list of TensorUse
        The calls that find it there.
    fetch, store : Move or None
        From and to L2.
    offset : int
        Bytes from the start of the kernels' scratch.
    """

    tensor: int
    uses: list[TensorUse]
    fetch: Move | None = None
    store: Move | None = None
    offset: int = 0

    @property
    def first(self) -> int:
        """First call during which it takes up L1."""
        call = self.uses[0].call
        return call if self.fetch is None else min(call, self.fetch.start)

    @property
    def last(self) -> int:
        """Last call during which it takes up L1."""
        call = self.uses[-1].call
        return call if self.store is None else max(call, self.store.ready - 1)


@dataclass(frozen=True)
class Residency:
    """The calls that work on tensors in L1, the tensors' stays there, and the bytes of L1 in all."""

    calls: frozenset[int]
    stays: tuple[Stay, ...]
    l1_bytes: int
