"""Elementwise work on the tile of a result while it is in L1: what follows a product or a convolution.

A function with the attribute ``"pulp.epilogue"`` has the producer's block first, then blocks that read its
result element by element: a residual sum, a rectifier or its gradient, the optimiser's step. The template of
the producer makes its tiles as ever. A tile that is complete goes through a stream of ``elementwise_stream``
before it leaves, beside the tiles of the other tensors that the stream reads or overwrites.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tvm_pulp.schedules.computation import inline_intermediates, read_blocks
from tvm_pulp.schedules.elementwise_stream import flat_stream
from tvm_pulp.schedules.expressions import reads_buffer
from tvm_pulp.schedules.flat_stream import FlatStream
from tvm_pulp.schedules.stages import make_program
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import Buffer, PrimFunc, buffer_dtype, buffer_shape

INPUTS = 2
"""Operands of a producer: the first parameters of the function."""

_CYCLES_A_TILE = 150.0
_CYCLES_A_TRANSFER = 40.0
_CYCLES_A_ROW = 70.0
ESTIMATES_ERROR = 0.02
"""Of the estimates, as a share: how well they tell one choice of tiles from another."""


def is_about(cycles: float, best: float) -> bool:
    """Tell whether an estimate is the best one but for the error of the estimates."""
    return cycles <= (1 + ESTIMATES_ERROR) * best


@dataclass(frozen=True)
class EpilogueSizes:
    """An epilogue in numbers, which the search for tile sizes looks at.

    Attributes
    ----------
    read, overwritten : int
        Tensors beside the producer's result: those that are only read, and those that are read and written.
    keeps_result : bool
        Whether the tile of the result is stored, else it is used up.
    cycles : float
        Of one worker, for an element.
    by_channel : bool
        Whether an operand has one element a channel.
    """

    read: int
    overwritten: int
    keeps_result: bool
    cycles: float
    by_channel: bool = False

    def copies(self, results: int, reduced: int) -> tuple[int, int]:
        """Return the copies in L1 of the result's tile, and of what is overwritten; of what is read one does.

        Parameters
        ----------
        results
            Tiles of the result.
        reduced
            Tiles of the tile loop that make up one of the result. The other tensors are loaded beside the
            work on the last of them; what leaves L1 has done so two tiles later (see `TileLoop.run`).
        """
        return min(results, 2 if self.keeps_result else 1), min(results, 2 if reduced == 1 else 1)

    def l1_bytes(self, tile_bytes: int, result_bytes: int, results: int, reduced: int) -> int:
        """Return the L1 of the result's tiles of ``result_bytes`` and of the other tensors' tiles."""
        result, overwritten = self.copies(results, reduced)
        return result_bytes * result + tile_bytes * (self.read + self.overwritten * overwritten)

    @property
    def loads(self) -> int:
        """Tiles that are loaded for a tile of the result."""
        return self.read + self.overwritten

    @property
    def stores(self) -> int:
        """Tiles that are stored for a tile of the result."""
        return self.overwritten + self.keeps_result

    def compute_cycles(self, elements: float, row: float, cores: int) -> float:
        """Estimate the work on a tile of the result, in rows of ``row`` elements of one channel."""
        rows = _CYCLES_A_ROW * (elements / cores / row + 1) if self.by_channel else 0.0
        moves = _CYCLES_A_TRANSFER * (self.loads + self.stores)
        return self.cycles * elements / cores + rows + moves + _CYCLES_A_TILE


@dataclass(frozen=True)
class Epilogue:
    """What is done to each tile of a producer's result.

    Attributes
    ----------
    flat : FlatStream
        Over the result and other tensors of its size.
    result : Buffer
        The producer's result, one of the stream's tensors; the stream leaves in it what is to be stored.
    output : Buffer or None
        The parameter that the tile of the result is stored to; None where it is used up.
    """

    flat: FlatStream
    result: Buffer
    output: Buffer | None

    @property
    def others(self) -> list[int]:
        """Numbers of the stream's tensors that have tiles of their own."""
        return [n for n, tensor in enumerate(self.flat.tensors) if not tensor.same_as(self.result)]

    @property
    def sizes(self) -> EpilogueSizes:
        """The numbers that the search for tiles needs."""
        flat = self.flat
        overwritten = sum(flat.written[n] for n in self.others)
        return EpilogueSizes(
            len(self.others) - overwritten,
            overwritten,
            self.output is not None,
            flat.cycles_an_element,
            bool(flat.row_scalars),
        )


def read_epilogue(function: PrimFunc, channels: int) -> Epilogue | None:
    """Read what follows the first block of a function.

    Parameters
    ----------
    function
        With the attribute ``"pulp.epilogue"``.
    channels
        Of the result: an operand may have one element a channel.

    Returns
    -------
    Epilogue or None
        None where that is not one elementwise stage over float32 tensors of the result's size, or where it
        has more than one result beside the tensors that it overwrites.
    """
    producer, *following = read_blocks(function)
    result = producer.out
    if not following or any(parameter.same_as(result) for parameter in function.params):
        return None
    if any(c.reduction for c in following):
        return None
    # intermediate results first: afterwards the result's tile holds a value before and one after
    computations = inline_intermediates(following, (*function.params, result))
    fresh = [c for c in computations if not any(reads_buffer(other.value, c.out) for other in computations)]
    outputs = [c.out for c in fresh if not c.out.same_as(result)]
    if len(outputs) > 1 or not any(reads_buffer(c.value, result) for c in computations):
        return None
    output = outputs[0] if outputs else None
    if output is not None:
        computations = [replace(c, out=result) if c.out.same_as(output) else c for c in computations]
    parameters = (result, *(p for p in function.params[INPUTS:] if not p.same_as(output)))
    try:
        flat = flat_stream(make_program(computations, parameters))
    except UserError:  # the result is read at other positions
        return None
    if flat is None or any(flat.repeated) or flat.masks or buffer_dtype(result) != "float32":
        return None
    if any(math.prod(buffer_shape(tensor)) != channels for tensor in flat.row_scalars):
        return None
    written = [flat.written[n] for n, tensor in enumerate(flat.tensors) if tensor.same_as(result)]
    return Epilogue(flat, result, output) if written == [output is not None] else None
