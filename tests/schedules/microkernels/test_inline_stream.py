"""Inline streams: registers; test_stream has what they compute."""

from __future__ import annotations

import re

import pytest

from tvm_pulp.schedules.microkernels.batch_norm_streams import CLIP, NONE, RELU, Kept, NormSizes, streams
from tvm_pulp.schedules.microkernels.inline_stream import fits_inline, inline_stream
from tvm_pulp.schedules.microkernels.stream_definition import Step, Stream

MOST_REGISTERS = 25


@pytest.mark.parametrize("activation", [NONE, RELU, CLIP])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("kept", list(Kept))
@pytest.mark.parametrize("separate", [False, True])
def test_registers_are_left_for_the_compiler(
    activation: int, backward: bool, kept: Kept, separate: bool
) -> None:
    """Sums that are short of registers for two chains each are left to functions of assembly alone."""
    sizes = NormSizes(2, 2, 64, activation, 6.0, 1e-5, backward, False)
    for stream in filter(fits_inline, streams(sizes, kept, separate).all()):
        source = inline_stream(stream)
        statement = source[source.index('".option pop') :]
        operands = re.findall(r'\[\w+\] "[+=&]*r"', statement)
        clobbered = re.findall(r'"[tas]\d+"', statement)
        assert len(operands) + len(clobbered) <= MOST_REGISTERS
        for total in stream.sums:
            assert f"[{total}1]" in statement


def test_one_segment_needs_no_outer_loop() -> None:
    body = (Step("load", "value", ("x",)), Step("add", "total", ("total", "value")))
    for single in (False, True):
        source = inline_stream(Stream("sum", ("x",), (), ("total",), body, single=single))
        assert ("LP_SETUP(1," in source) is not single
        assert ("s->skip" in source) is not single


def test_too_many_values_do_not_fit() -> None:
    loads = tuple(Step("load", f"v{n}", ("x",)) for n in range(8))
    stores = tuple(Step("store", "", ("x", f"v{n}")) for n in range(8))
    wide = Stream("wide", ("x",), (), (), loads + stores)
    assert not fits_inline(wide)
    with pytest.raises(ValueError, match="more registers"):
        inline_stream(wide)
