"""How the latents of a frozen stage in integers are kept for replay: few bits a value, from its own scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.uint_q import UintQ, UintQRequantization
from tvm_pulp.target.errors import UserError


@dataclass(frozen=True)
class ReplayFormat:
    """How a sample's latents are kept.

    Attributes
    ----------
    shape : tuple of int
        Of a sample, without the batch; the store has its elements in the model's order.
    latents : UintQ
        Their integers in the store.
    requantization : UintQRequantization
        The way there from the frozen stage's bytes.
    """

    shape: tuple[int, ...]
    latents: UintQ
    requantization: UintQRequantization

    @property
    def bytes(self) -> int:
        """Bytes of a sample in the store."""
        return self.latents.packed_bytes(math.prod(self.shape))


def replay_format(graph: g.QuantizedGraph, bits: int) -> ReplayFormat:
    """Choose the format for a frozen stage's latents: their range is what its bytes can stand for.

    After a ReLU that is 0 to the calibrated maximum. With 8 bits the bytes are kept as they are.

    Parameters
    ----------
    graph : QuantizedGraph
        The frozen stage, of any batch size.
    bits : int
        Q, 1 to 8.

    Raises
    ------
    UserError
        Where the stage ends in float32, or the bits are no 1 to 8.
    """
    output = graph.output
    if not isinstance(output, g.QuantizedTensor):
        raise UserError(
            f"{graph.name}: the latents '{output.name}' are float32 and have no scale to be stored by: "
            "choose a latent layer that computes in integers"
        )
    low, high = (output.scale * (byte - output.zero_point) for byte in (0, 255))
    latents = UintQ.from_range(low, high, bits)
    way = UintQRequantization.of(output.scale, output.zero_point, latents)
    return ReplayFormat(output.shape[1:], latents, way)
