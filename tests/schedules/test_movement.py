"""Concatenation, padding and slices by DMA, against TVM on LLVM, and their speed on the simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel, run_reference, run_with_sanitizer
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.passes.operators.movement import concat, pad, part, permute_dims
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.schedules.movement import MovementTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc


@st.composite
def movements(draw: st.DrawFn) -> PrimFunc:
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    kind = draw(st.sampled_from(["concat", "pad", "slice"]))
    if kind == "concat":
        axis = draw(st.integers(0, len(shape) - 1))
        extents = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
        return concat("l", "w", [(*shape[:axis], n, *shape[axis + 1 :]) for n in extents], axis)
    before = [draw(st.integers(0, 3)) for _ in shape]
    after = [draw(st.integers(0, 3)) for _ in shape]
    if kind == "pad":
        return pad("l", "w", shape, before, after, -1.5)
    whole = [b + n + a for b, n, a in zip(before, shape, after, strict=True)]
    return part("l", "w", tuple(whole), before, shape)


@settings(max_examples=60, deadline=None)
@given(function=movements(), data=st.data())
def test_any_knobs(function: PrimFunc, data: st.DataObject, chip: Features, kernels: Path) -> None:
    template = MovementTemplate()
    workload = template.match(function)
    assert workload is not None
    sizes = template.knobs(workload, chip)["tile_elements"]
    knobs = {"tile_elements": data.draw(st.sampled_from(sizes))}
    lowered = template.build(workload, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(workload, knobs)
    arrays = random_arguments(function)
    expected = run_reference(function, [array.copy() for array in arrays])[-1]
    HostKernel(lowered, kernels)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)


SHAPE = (3, 5, 17, 9)
KERNELS = {
    "concat": concat("l", "w", [SHAPE, (3, 2, 17, 9)], 1),
    "concat of the last axis": concat("l", "w", [(40, 33), (40, 7), (40, 1)], 1),
    "pad": pad("l", "w", SHAPE, [0, 0, 1, 2], [0, 0, 1, 1], 0.0),
    "pad of the channels": pad("l", "w", SHAPE, [0, 1, 0, 0], [1, 2, 0, 0], 2.5),
    "slice": part("l", "w", SHAPE, [1, 0, 3, 2], [2, 5, 9, 5]),
    "large": pad("l", "w", (2, 8, 40, 40), [0, 0, 1, 1], [0, 0, 1, 1], 1.0),
}


@pytest.mark.parametrize("name", KERNELS)
def test_on_the_simulator(name: str, chip: Features, tmp_path: Path) -> None:
    """Without a report of a race, of bounds or of reading what nobody wrote."""
    function = KERNELS[name]
    lowered = lower(function, chip)
    assert str(lowered.attrs["pulp.schedule"]) == "movement"
    arrays = random_arguments(function)
    expected = run_reference(function, [array.copy() for array in arrays])[-1]
    measure_kernel(lowered, arrays, chip, tmp_path, runs=1)
    np.testing.assert_array_equal(arrays[-1], expected)


def test_what_does_not_apply() -> None:
    template = MovementTemplate()
    assert template.match(permute_dims("l", "w", SHAPE, [0, 2, 3, 1])) is None
    assert template.match(concat("l", "w", [(4, 4), (4, 4)], 0, "uint8")) is None


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str, chip: Features, tmp_path: Path) -> None:
    template = MovementTemplate()
    workload = template.match(KERNELS["pad"])
    run_with_sanitizer(template.build(workload, {"tile_elements": 64}, chip), tmp_path, sanitizer)


def test_speed_of_padding(chip: Features, tmp_path: Path) -> None:
    """At 80% of what the DMA writes, 8 bytes a cycle, and twice as fast as a loop over elements."""
    function = pad("l", "w", (8, 16, 32, 32), [0, 0, 1, 1], [0, 0, 1, 1], 0.0)
    ours, generic = (
        measure_kernel(lowered, random_arguments(function), chip, tmp_path / str(number)).cycles[-1]
        for number, lowered in enumerate((lower(function, chip), lower_generic(function, chip)))
    )
    assert 8 * 16 * 34 * 34 / 2 / ours >= 0.8
    assert ours * 2 < generic
