"""Two streams in one loop."""

from __future__ import annotations

import pytest

from tvm_pulp.schedules.microkernels.batch_norm_streams import NormSizes, both_sweeps
from tvm_pulp.schedules.microkernels.joined_stream import join_streams
from tvm_pulp.schedules.microkernels.stream import stream_assembly, stream_c
from tvm_pulp.schedules.microkernels.stream_definition import Step, Stream, instructions

SUM = Stream(
    "sum",
    ("x",),
    (),
    ("total",),
    (Step("load", "value", ("x",)), Step("add", "total", ("total", "value"))),
)
SCALE = Stream(
    "scale",
    ("x",),
    ("factor",),
    (),
    (
        Step("load", "value", ("x",)),
        Step("multiply", "product", ("value", "factor")),
        Step("store", "", ("x", "product")),
    ),
)


def test_names_stay_apart() -> None:
    """Pointers and values of the second stream are its own; scalars and sums keep their names."""
    joined = join_streams("both", SUM, SCALE)
    assert joined.pointers == ("x", "other_x")
    assert (joined.scalars, joined.sums) == (("factor",), ("total",))
    assert instructions(joined) == instructions(SUM) + instructions(SCALE)
    assert [step.operation for step in joined.body] == ["load", "load", "add", "multiply", "store"]
    assert "other_x[i] = other_product;" in stream_c(joined)


def test_shared_scalars_are_refused() -> None:
    with pytest.raises(ValueError, match="scale and scale share factor"):
        join_streams("both", SCALE, SCALE)


@pytest.mark.parametrize("activation", [0, 1, 2])
def test_both_sweeps_of_a_batch_norm_keep_the_sums_short(activation: int) -> None:
    """There are registers for four chains of either sum, as in the sweep for sums alone."""
    sizes = NormSizes(4, 4, 64, activation, 6.0 if activation == 2 else 0.0, 1e-5, False, False)
    zeroed = [line for line in stream_assembly(both_sweeps(sizes)).splitlines() if ", zero\\n" in line]
    assert sum(line.strip().startswith('"mv ') for line in zeroed) == 8
