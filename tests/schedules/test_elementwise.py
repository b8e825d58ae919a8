"""The elementwise template against TVM on LLVM, and its speed on the simulator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel, run_reference, run_with_sanitizer
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.passes.compose_kernels import compose_kernels
from tvm_pulp.passes.operators.elementwise import elementwise
from tvm_pulp.passes.operators.kernel import number
from tvm_pulp.passes.operators.update import accumulate, sgd
from tvm_pulp.schedules.elementwise import ElementwiseTemplate
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc, Select, tirx

ZERO = number(0.0)
Shape = tuple[int, ...]


def pointwise(shape: Shape, expression: Callable[..., object], operands: int) -> PrimFunc:
    return elementwise("layer", "work", [(f"x{n}", shape) for n in range(operands)], expression)


KERNELS: dict[str, Callable[[Shape], PrimFunc]] = {
    "relu": lambda s: pointwise(s, lambda x: tirx.max(x, ZERO), 1),
    "relu6": lambda s: pointwise(s, lambda x: tirx.min(tirx.max(x, ZERO), number(0.4)), 1),
    "relu gradient": lambda s: pointwise(s, lambda g, y: Select(y > ZERO, g, ZERO), 2),
    "relu6 gradient": lambda s: pointwise(
        s, lambda g, y: Select(tirx.all(y > ZERO, y < number(0.5)), g, ZERO), 2
    ),
    "add": lambda s: pointwise(s, lambda a, b: a + b, 2),
    "other": lambda s: pointwise(s, lambda a, b: tirx.max(a * number(2.0) - b, b - a * b), 2),
    "sgd": lambda s: sgd("w", "update", s, 0.9, 5e-4, False),
    "plain sgd": lambda s: sgd("w", "update", s, 0.0, 0.0, False),
    "sgd from an accumulator": lambda s: sgd("w", "update", s, 0.9, 5e-4, True),
    "accumulate": lambda s: accumulate("w", "accumulate", s),
}


def compare(function: PrimFunc, results: list[np.ndarray], arrays: list[np.ndarray]) -> None:
    expected = run_reference(function, [array.copy() for array in arrays])
    for parameter, want, got in zip(function.params, expected, results, strict=True):
        np.testing.assert_allclose(got, want, atol=5e-7, err_msg=str(parameter.name))


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(KERNELS)),
    shape=st.lists(st.integers(1, 23), min_size=1, max_size=3),
    data=st.data(),
)
def test_any_knobs(name: str, shape: list[int], data: st.DataObject, chip: Features, kernels: Path) -> None:
    function = KERNELS[name]((*shape, 2))
    template = ElementwiseTemplate()
    workload = template.match(function)
    assert workload is not None
    sizes = template.knobs(workload, chip)["tile_elements"]
    knobs = {"tile_elements": data.draw(st.sampled_from(sizes))}
    lowered = template.build(workload, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(workload, knobs)
    arrays = random_arguments(function)
    results = [array.copy() for array in arrays]
    HostKernel(lowered, kernels)(results)
    compare(function, results, arrays)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("elements", [3, 1000, 20011])
def test_on_the_simulator(name: str, elements: int, chip: Features, tmp_path: Path) -> None:
    """In assembly, without a report of a race, of bounds or of reading what nobody wrote."""
    function = KERNELS[name]((elements,))
    template = ElementwiseTemplate()
    workload = template.match(function)
    arrays = random_arguments(function)
    results = [array.copy() for array in arrays]
    lowered = template.build(workload, template.default(workload, chip), chip)
    measure_kernel(lowered, results, chip, tmp_path, runs=1)
    compare(function, results, arrays)


def bias(shape: Shape, bias_shape: Shape) -> PrimFunc:
    return elementwise("l", "w", [("x", shape), ("b", bias_shape)], lambda x, b: tirx.max(x + b, ZERO))


def share(shape: Shape) -> PrimFunc:
    """Gradient of a mean over rows, and of a rectifier before it."""
    operands = [("g", (*shape[:-1], 1)), ("y", shape)]
    return elementwise("l", "w", operands, lambda g, y: Select(y > ZERO, g * number(0.2), ZERO), shape)


BROADCASTS: dict[str, PrimFunc] = {
    "a channel": bias((2, 5, 37), (5, 1)),
    "a feature": bias((7, 40), (40,)),
    "a row": share((3, 4, 25)),
    "one tile": bias((2, 3, 16), (3, 1)),
    "without a tensor of the result's size": elementwise(
        "l", "w", [("g", (4, 6, 1))], lambda g: g * number(0.5), (4, 6, 29)
    ),
    "rows and features": elementwise(
        "l", "w", [("x", (6, 50)), ("a", (6, 1)), ("b", (50,))], lambda x, a, b: x * a + b
    ),
    "large": bias((8, 16, 400), (16, 1)),
}


@pytest.mark.parametrize("name", BROADCASTS)
def test_broadcast_operands(name: str, chip: Features, kernels: Path, tmp_path: Path) -> None:
    function = BROADCASTS[name]
    template = ElementwiseTemplate()
    workload = template.match(function)
    assert workload is not None and workload.broadcast
    arrays = random_arguments(function)
    sizes = template.knobs(workload, chip)["tile_elements"]
    for size in (sizes[0], sizes[len(sizes) // 2], sizes[-1]):
        lowered = template.build(workload, {"tile_elements": size}, chip)
        assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(workload, {"tile_elements": size})
        results = [array.copy() for array in arrays]
        HostKernel(lowered, kernels)(results)
        compare(function, results, arrays)
    results = [array.copy() for array in arrays]
    lowered = template.build(workload, template.default(workload, chip), chip)
    measure_kernel(lowered, results, chip, tmp_path, runs=1)
    compare(function, results, arrays)


def test_joined_kernels_round_as_separate_ones(chip: Features, tmp_path: Path) -> None:
    """Sum of gradients, momentum and step: bit by bit, on the simulator."""
    shape = (1003,)
    chain = [
        (KERNELS["add"](shape), ["a", "b", "gradient"]),
        (KERNELS["sgd"](shape), ["w", "gradient", "rate", "momentum"]),
    ]
    names = ["a", "b", "w", "rate", "momentum"]
    joined = compose_kernels(chain, names, {"pulp.operator": "elementwise"})
    template = ElementwiseTemplate()
    workload = template.match(joined)
    assert workload is not None

    def run(function: PrimFunc, arrays: list[np.ndarray]) -> None:
        found = template.match(function)
        lowered = template.build(found, template.default(found, chip), chip)
        measure_kernel(lowered, arrays, chip, tmp_path / str(len(arrays)), runs=1)

    tensors = dict(zip(names, random_arguments(joined), strict=True))
    tensors["gradient"] = np.zeros(shape, np.float32)
    together = [tensors[name].copy() for name in names]
    run(joined, together)
    for function, used in chain:
        run(function, [tensors[name] for name in used])
    for name, got in zip(names, together, strict=True):
        np.testing.assert_array_equal(got, tensors[name], err_msg=name)


def test_what_does_not_apply() -> None:
    template = ElementwiseTemplate()
    for function in (
        bias((4, 3, 5), (3, 1)),  # short rows
        elementwise("l", "w", [("x", (4, 3, 20)), ("b", (4, 1, 20))], lambda x, b: x + b),
        pointwise((8, 4), lambda x: tirx.exp(x), 1),
        pointwise((8, 4), lambda x: Select(x > number(1.0), x, ZERO), 1),
        pointwise((8, 4), lambda a, b, c, d, e, f: a + b + c + d + e + f, 6),
    ):
        assert template.match(function) is None


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str, chip: Features, tmp_path: Path) -> None:
    template = ElementwiseTemplate()
    workload = template.match(KERNELS["sgd"]((1003,)))
    run_with_sanitizer(template.build(workload, {"tile_elements": 128}, chip), tmp_path, sanitizer)


@pytest.mark.parametrize(
    "name,bytes_in", [("sgd", 12), ("relu", 4), ("add", 8), ("relu gradient", 8), ("accumulate", 8)]
)
def test_speed(name: str, bytes_in: int, chip: Features, tmp_path: Path) -> None:
    """At 85% of what the DMA brings in, 8 bytes a cycle."""
    elements = 8 * 16 * 24 * 24
    function = KERNELS[name]((elements,))
    template = ElementwiseTemplate()
    workload = template.match(function)
    lowered = template.build(workload, template.default(workload, chip), chip)
    measured = measure_kernel(lowered, random_arguments(function), chip, tmp_path)
    assert elements * bytes_in / 8 / measured.cycles[-1] >= 0.85


@pytest.mark.parametrize(
    "function", [bias((8, 16, 1024), (16, 1)), bias((8, 64, 64), (64, 1)), share((8, 64, 256))]
)
def test_speed_of_broadcasts(function: PrimFunc, chip: Features, tmp_path: Path) -> None:
    """Against the generic lowering."""
    template = ElementwiseTemplate()
    workload = template.match(function)
    lowered = template.build(workload, template.default(workload, chip), chip)
    arrays = random_arguments(function)
    ours, generic = (
        measure_kernel(kernel, arrays, chip, tmp_path / str(n)).cycles[-1]
        for n, kernel in enumerate((lowered, lower_generic(function, chip)))
    )
    assert ours < generic
