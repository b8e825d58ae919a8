"""Elementwise work fused into products and convolutions: the same bits as by two kernels, in any tiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel, run_with_sanitizer
from tests.schedules.matmul_functions import matmul_function
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.passes.fuse_epilogue import fused_kernel
from tvm_pulp.passes.operators.conv2d import Conv2d, conv2d
from tvm_pulp.passes.operators.conv2d_data_gradient import conv2d_data_gradient
from tvm_pulp.passes.operators.conv2d_weight_gradient import conv2d_weight_gradient
from tvm_pulp.passes.operators.elementwise import elementwise
from tvm_pulp.passes.operators.kernel import number
from tvm_pulp.passes.operators.update import accumulate, sgd
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.conv2d import Conv2dTemplate
from tvm_pulp.schedules.epilogue import read_epilogue
from tvm_pulp.schedules.matmul import MatmulTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc, Select, buffer_shape, tirx

Shape = tuple[int, ...]
Run = Callable[[PrimFunc, list[np.ndarray]], None]


def _residual(shape: Shape) -> PrimFunc:
    operands = [("skip", shape), ("data", shape)]
    return elementwise("layer", "add", operands, lambda a, b: tirx.max(a + b, number(0.0)))


def _mask(shape: Shape) -> PrimFunc:
    """The gradients of two branches, added up and passed back through a rectifier."""
    operands = [("left", shape), ("right", shape), ("output", shape)]
    zero = number(0.0)
    return elementwise("layer", "mask", operands, lambda a, b, y: Select(y > zero, a + b, zero))


def _normalise(shape: Shape) -> PrimFunc:
    """A multiply-add and a rectifier, by channel: axis 1."""
    channels = (shape[1], *[1] * (len(shape) - 2))
    operands = [("data", shape), ("factor", channels), ("shift", channels)]
    return elementwise("layer", "norm", operands, lambda x, f, s: tirx.max(x * f + s, number(0.0)))


CONSUMERS: dict[str, tuple[Callable[[Shape], PrimFunc], int]] = {
    "sgd": (lambda shape: sgd("layer", "update", shape, 0.0, 0.0, False), 1),
    "sgd with decay": (lambda shape: sgd("layer", "update", shape, 0.0, 1e-2, False), 1),
    "sgd with momentum": (lambda shape: sgd("layer", "update", shape, 0.9, 1e-2, False), 1),
    "accumulate": (lambda shape: accumulate("layer", "accumulate", shape), 1),
    "relu": (
        lambda shape: elementwise("layer", "relu", [("x", shape)], lambda x: tirx.max(x, number(0.0))),
        0,
    ),
    "residual": (_residual, 1),
    "mask": (_mask, 0),
    "normalise": (_normalise, 0),
}
"""Elementwise kernels, and the number of the argument that is the producer's result."""

SAME, HALF = Conv2d((1, 1), (1, 1, 1, 1)), Conv2d((2, 2), (1, 1, 1, 1))
PRODUCERS: dict[str, PrimFunc] = {
    "linear weight gradient": matmul_function(40, 64, 8, transpose_a=True),
    "outer product": matmul_function(48, 100, 1, transpose_a=True),
    "pointwise forward": matmul_function(24, 144, 30, batch=4, batch_b=True),
    "pointwise data gradient": matmul_function(30, 144, 24, transpose_a=True, batch=4, batch_b=True),
    "pointwise weight gradient": matmul_function(
        24, 33, 200, transpose_b=True, batch=3, batch_a=True, batch_b=True, reduce_batch=True
    ),
    "forward": conv2d("conv", "forward", HALF, (2, 8, 17, 15), (12, 8, 3, 3)),
    "data gradient": conv2d_data_gradient("conv", "gradient", SAME, (2, 11, 16, 16), (16, 11, 3, 3)),
    "weight gradient": conv2d_weight_gradient("conv", "gradient", SAME, (3, 8, 12, 12), (14, 8, 3, 3)),
    "depthwise forward": conv2d(
        "conv", "forward", Conv2d((1, 1), (1, 1, 1, 1), groups=12), (2, 12, 16, 16), (12, 1, 3, 3)
    ),
    "depthwise data gradient": conv2d_data_gradient(
        "conv", "gradient", Conv2d((2, 2), (1, 1, 1, 1), groups=12), (2, 12, 16, 16), (12, 1, 3, 3)
    ),
    "depthwise weight gradient": conv2d_weight_gradient(
        "conv", "gradient", Conv2d((1, 1), (1, 1, 1, 1), groups=12), (2, 12, 16, 16), (12, 1, 3, 3)
    ),
}


def _template(producer: PrimFunc) -> MatmulTemplate | Conv2dTemplate:
    return MatmulTemplate() if "pulp.matmul" in producer.attrs else Conv2dTemplate()


def check(
    producer: PrimFunc,
    consumer: tuple[Callable[[Shape], PrimFunc], int],
    knobs: dict[str, int] | None,
    chip: Features,
    run: Run,
) -> None:
    """Compare a fused kernel with its two parts, of the same tiles; with the default knobs for None."""
    make, position = consumer
    elementwise_kernel = make(buffer_shape(producer.params[-1]))
    fused = fused_kernel(producer, elementwise_kernel, position)
    template = _template(producer)
    workload = template.match(fused)
    assert workload is not None
    if knobs is None or not template.is_valid(workload, knobs, chip.kernel_l1_bytes):
        knobs = template.default(workload, chip)
    assert knobs is not None
    lowered = template.build(workload, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(workload, knobs) <= chip.kernel_l1_bytes

    arrays = random_arguments(fused, seed=3)
    a, b, *others = (array.copy() for array in arrays)
    result = np.zeros(buffer_shape(producer.params[-1]), np.float32)
    run(template.build(template.match(producer), knobs, chip), [a, b, result])
    others.insert(position, result)
    run(lower(elementwise_kernel, chip), others)
    others.pop(position)
    run(lowered, arrays)
    for got, want in zip(arrays[2:], others, strict=True):
        np.testing.assert_array_equal(got, want)
    assert any(np.abs(array).max() > 0 for array in arrays[2:])


PAIRS = [
    ("linear weight gradient", "sgd"),
    ("linear weight gradient", "sgd with momentum"),
    ("outer product", "sgd with momentum"),
    ("outer product", "accumulate"),
    ("pointwise weight gradient", "sgd with decay"),
    ("pointwise weight gradient", "sgd with momentum"),
    ("weight gradient", "sgd"),
    ("weight gradient", "sgd with momentum"),
    ("depthwise weight gradient", "accumulate"),
    ("depthwise weight gradient", "sgd with momentum"),
    ("pointwise forward", "relu"),
    ("pointwise forward", "residual"),
    ("forward", "residual"),
    ("depthwise forward", "relu"),
    ("pointwise data gradient", "mask"),
    ("data gradient", "mask"),
    ("data gradient", "residual"),
    ("depthwise data gradient", "mask"),
    ("pointwise forward", "normalise"),
    ("forward", "normalise"),
    ("depthwise forward", "normalise"),
    ("data gradient", "normalise"),
]
"""What comes together in networks."""


def _on_host(kernels: Path) -> Run:
    def run(lowered: PrimFunc, arrays: list[np.ndarray]) -> None:
        HostKernel(lowered, kernels)(arrays)

    return run


@pytest.mark.parametrize("producer,consumer", PAIRS)
def test_same_bits_as_two_kernels(producer: str, consumer: str, chip: Features, kernels: Path) -> None:
    check(PRODUCERS[producer], CONSUMERS[consumer], None, chip, _on_host(kernels))


@settings(max_examples=20, deadline=None)
@given(pair=st.sampled_from(PAIRS), data=st.data())
def test_any_tiles(pair: tuple[str, str], data: st.DataObject, chip: Features, kernels: Path) -> None:
    producer = PRODUCERS[pair[0]]
    template = _template(producer)
    choices = template.knobs(template.match(producer), chip)
    knobs = {name: data.draw(st.sampled_from(values), label=name) for name, values in choices.items()}
    check(producer, CONSUMERS[pair[1]], knobs, chip, _on_host(kernels))


@pytest.mark.parametrize(
    "producer,consumer",
    [
        ("outer product", "sgd with momentum"),
        ("pointwise weight gradient", "sgd with momentum"),
        ("weight gradient", "sgd with momentum"),
        ("depthwise weight gradient", "sgd with decay"),
        ("pointwise forward", "normalise"),
        ("data gradient", "mask"),
        ("depthwise forward", "normalise"),
        ("depthwise data gradient", "mask"),
    ],
)
def test_on_the_cluster(producer: str, consumer: str, chip: Features, tmp_path: Path) -> None:
    """With the simulator's checks for races, bounds and memory that nobody wrote."""
    folders = iter([tmp_path / "producer", tmp_path / "consumer", tmp_path / "fused"])

    def run(lowered: PrimFunc, arrays: list[np.ndarray]) -> None:
        folder = next(folders)
        folder.mkdir()
        measure_kernel(lowered, arrays, chip, folder, runs=1)

    check(PRODUCERS[producer], CONSUMERS[consumer], None, chip, run)


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str, chip: Features, tmp_path: Path) -> None:
    producer = PRODUCERS["pointwise weight gradient"]
    update = CONSUMERS["sgd with momentum"][0](buffer_shape(producer.params[-1]))
    template = MatmulTemplate()
    workload = template.match(fused_kernel(producer, update, 1))
    assert workload is not None
    knobs = {"tile_m": 8, "tile_n": 12, "tile_k": 64, "tile_batch": 2, "block_rows": 4, "block_columns": 4}
    run_with_sanitizer(template.build(workload, {**knobs, "order": 0}, chip), tmp_path, sanitizer)


def test_what_is_no_stream_over_the_result_is_no_epilogue() -> None:
    """Here the result is spread out over the channels of a larger tensor."""
    producer = matmul_function(8, 12, 5)
    spread = elementwise(
        "layer", "spread", [("x", (8, 12)), ("y", (3, 8, 12))], lambda x, y: x * y, (3, 8, 12)
    )
    fused = fused_kernel(producer, spread, 0)
    assert read_epilogue(fused, 8) is None
    assert MatmulTemplate().match(fused) is None
