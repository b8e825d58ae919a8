"""What a stream does to each element, and the instructions that this takes; see `stream`."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.stream_operations import OPERATIONS, PACKS

LANES = 4
"""Elements of one pass of the assembly's loop."""


@dataclass(frozen=True)
class Step:
    """One operation on an element: ``result = operation(sources)``.

    ``load`` has a pointer as its source, ``store`` a pointer and a value; others read values, scalars, sums
    and ``zero``. A result named like a sum goes to the sum.
    """

    operation: str
    result: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Stream:
    """A loop over elements.

    Attributes
    ----------
    name : str
        Of the C function, ``void name(struct stream *)``.
    pointers, scalars, sums : tuple of str
        Names in the order of the fields of ``struct stream``.
    body : tuple of Step
        What is done to an element.
    masks : tuple of str
        Masks of one bit an element, see `schedules.bit_mask`; their pointers follow those of `pointers`. A
        segment is a group of 128 elements then, and nothing is skipped.
    length : int
        Elements of a segment where they are known, without masks: the assembly goes without branches then.
    whole_rounds : bool
        Whether the elements of a segment are a multiple of `LANES` where they are not known.
    single : bool
        Whether there is one segment only, after which nothing is skipped.
    """

    name: str
    pointers: tuple[str, ...]
    scalars: tuple[str, ...]
    sums: tuple[str, ...]
    body: tuple[Step, ...]
    masks: tuple[str, ...] = ()
    length: int = 0
    whole_rounds: bool = False
    single: bool = False

    def packs(self, mask: str) -> bool:
        """Tell whether the stream makes a mask, rather than reads it."""
        return any(step.operation in PACKS and step.sources[1] == mask for step in self.body)


def instructions(stream: Stream) -> int:
    """Return the instructions that an element takes in the assembly's loop."""
    return sum(
        1 if step.operation in ("load", "store") else len(form(stream, position)[0])
        for position, step in enumerate(stream.body)
    )


def form(stream: Stream, position: int) -> tuple[tuple[str, ...], bool]:
    """Return the instructions of a step other than an access, and whether they are those in place."""
    step = stream.body[position]
    operation = OPERATIONS[step.operation]
    if operation.in_place and step.result not in stream.sums:
        values = {earlier.result for earlier in stream.body[:position]} - set(stream.sums)
        needed = {source for later in stream.body[position + 1 :] for source in later.sources}
        overwritten = set(step.sources[:2])
        if len(overwritten) == 2 and overwritten <= values - needed - set(step.sources[2:]):
            return operation.in_place, True
    return operation.instructions, False
