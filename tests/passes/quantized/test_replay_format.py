"""The replay format of a frozen stage: its bytes as they are with 8 bits, its range with fewer."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_pulp.oracle.latents import dequantize, requantize
from tvm_pulp.passes.quantized.graph import FloatTensor, QuantizedGraph, QuantizedTensor
from tvm_pulp.passes.quantized.replay_format import replay_format
from tvm_pulp.target.errors import UserError

BYTES = np.arange(256, dtype=np.uint8)


def stage(scale: float, zero_point: int) -> QuantizedGraph:
    return QuantizedGraph("net", ("x",), (), QuantizedTensor("latents", (1, 3, 5, 2), scale, zero_point))


@pytest.mark.parametrize("scale", [0.0235, 1 / 3, 117.0])
@pytest.mark.parametrize("zero_point", [0, 11, 128])
def test_eight_bits_keep_the_bytes(scale: float, zero_point: int) -> None:
    form = replay_format(stage(scale, zero_point), 8)
    assert form.latents.zero_point == zero_point
    np.testing.assert_array_equal(requantize(BYTES, form.requantization), BYTES)
    assert (form.shape, form.bytes) == ((3, 5, 2), 30)


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("zero_point", [0, 100])
def test_fewer_bits_cover_the_range(bits: int, zero_point: int) -> None:
    graph = stage(0.05, zero_point)
    form = replay_format(graph, bits)
    assert form.bytes == -(-30 * bits // 8)
    values = graph.output.values(np.float32)
    kept = dequantize(requantize(BYTES, form.requantization), form.latents)
    # a zero point that is rounded moves what is at the ends beyond the range, by half a step at most
    worst = 0.5 if zero_point == 0 else 1.0
    assert np.abs(kept - values).max() <= (worst + 1e-4) * form.latents.scale
    assert kept[zero_point] == 0


def test_latents_in_float_are_refused() -> None:
    graph = QuantizedGraph("net", ("x",), (), FloatTensor("gate", (1, 3)))
    with pytest.raises(UserError, match=r"net: the latents 'gate' are float32 .* choose a latent layer"):
        replay_format(graph, 8)
