"""What an elementwise kernel does to its flat tensors: a stream, and what its pointers and scalars are."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.stream_definition import Stream, instructions
from tvm_pulp.target.tvm_names import Buffer

_FLOAT_OPERATIONS = ("add", "subtract", "multiply_add", "multiply")


@dataclass(frozen=True)
class RowScalar:
    """A tensor of one element a row; from its end it starts again."""

    tensor: Buffer


@dataclass(frozen=True)
class FlatStream:
    """A stream, and what its pointers and scalars are.

    Attributes
    ----------
    stream : Stream
        Named ``pulp_elementwise``, which no kernel of a layer is.
    tensors : tuple of Buffer
        Parameters of the function, one a pointer.
    read, written : tuple of bool
        Whether the stream reads and writes each of them.
    repeated : tuple of bool
        Whether each of them has one row only, which is read again for each row.
    scalars : tuple of float, Buffer or RowScalar
        Constants, parameters of one element, and operands of one element a row.
    elements : int
        Of the tensors that are not repeated.
    row : int
        Elements of a row; all elements where nothing is broadcast.
    masks : tuple of Buffer
        Masks of one bit an element, uint32; then nothing is broadcast and the elements fill whole groups.
    """

    stream: Stream
    tensors: tuple[Buffer, ...]
    read: tuple[bool, ...]
    written: tuple[bool, ...]
    repeated: tuple[bool, ...]
    scalars: tuple[float | Buffer | RowScalar, ...]
    elements: int
    row: int
    masks: tuple[Buffer, ...] = ()

    @property
    def masks_written(self) -> tuple[bool, ...]:
        """Whether the stream makes each mask, rather than reads it."""
        return tuple(self.stream.packs(mask) for mask in self.stream.masks)

    @property
    def row_scalars(self) -> tuple[Buffer, ...]:
        """Tensors of one element a row."""
        return tuple(scalar.tensor for scalar in self.scalars if isinstance(scalar, RowScalar))

    @property
    def cycles_an_element(self) -> int:
        """Cycles that an element takes one worker: its instructions, or the FPU that two workers share."""
        floats = sum(step.operation in _FLOAT_OPERATIONS for step in self.stream.body)
        return max(instructions(self.stream), 2 * floats)
