"""The generic lowering against TVM on LLVM: kernels of training graphs, and any shapes by hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tvm import te

from tests.schedules.host_harness import (
    HostKernel,
    check,
    run_reference,
    run_with_sanitizer,
)
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.passes.operators.avg_pool2d import avg_pool2d, avg_pool2d_gradient
from tvm_pulp.passes.operators.batch_norm import (
    Activation,
    batch_norm_factors,
    batch_norm_inference,
    batch_norm_running,
    batch_norm_training,
)
from tvm_pulp.passes.operators.batch_norm_gradient import batch_norm_gradient
from tvm_pulp.passes.operators.conv2d import Conv2d, conv2d
from tvm_pulp.passes.operators.conv2d_data_gradient import conv2d_data_gradient
from tvm_pulp.passes.operators.conv2d_weight_gradient import conv2d_weight_gradient
from tvm_pulp.passes.operators.cross_entropy import cross_entropy, cross_entropy_gradient
from tvm_pulp.passes.operators.max_pool2d import max_pool2d, max_pool2d_gradient, max_pool2d_indices
from tvm_pulp.passes.operators.pooling import Pool2d
from tvm_pulp.passes.operators.update import accumulate, sgd
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.target import Features
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc, tirx

Shape = tuple[int, ...]
CONVOLUTIONS: dict[str, Callable[..., PrimFunc]] = {
    "forward": conv2d,
    "data gradient": conv2d_data_gradient,
    "weight gradient": conv2d_weight_gradient,
}


def generic(function: PrimFunc) -> PrimFunc:
    """Take away what templates look at."""
    for name in ("pulp.matmul", "pulp.conv2d", "pulp.batch_norm"):
        function = function.without_attr(name)
    return function


@pytest.mark.parametrize("work", CONVOLUTIONS)
@pytest.mark.parametrize(
    "attributes,data,weight",
    [
        (Conv2d((1, 1), (1, 1, 1, 1)), (2, 8, 16, 16), (16, 8, 3, 3)),
        (Conv2d((2, 2), (1, 1, 1, 1)), (2, 8, 17, 15), (12, 8, 3, 3)),
        (Conv2d((1, 1), (1, 1, 1, 1), groups=16), (2, 16, 32, 32), (16, 1, 3, 3)),
        (Conv2d((2, 2), (0, 0, 1, 1), groups=16), (2, 16, 32, 32), (16, 1, 3, 3)),
        (Conv2d((1, 1), (1, 1, 1, 1)), (1, 64, 16, 16), (64, 64, 3, 3)),
    ],
)
def test_convolutions(
    work: str, attributes: Conv2d, data: Shape, weight: Shape, chip: Features, kernels: Path
) -> None:
    function = CONVOLUTIONS[work]("conv", "work", attributes, data, weight)
    check(generic(function), chip, kernels, rtol=5e-5)


NETWORK = (4, 16, 24, 24)
KERNELS: dict[str, Callable[[], PrimFunc]] = {
    "batch norm training": lambda: generic(
        batch_norm_training("bn", "work", NETWORK, 1e-5, Activation(True, 6.0), True)
    ),
    "batch norm running": lambda: batch_norm_running("bn", "work", NETWORK, 0.1),
    "batch norm parameter gradients": lambda: batch_norm_gradient(
        "bn", "work", NETWORK, Activation(True), biased=False, data_gradient=False
    ),
    "batch norm factors": lambda: batch_norm_factors("bn", "work", NETWORK[1], 1e-5),
    "batch norm inference": lambda: batch_norm_inference("bn", "work", NETWORK),
    "batch norm gradient": lambda: generic(
        batch_norm_gradient("bn", "work", NETWORK, Activation(True, 0.5), biased=True, data_gradient=True)
    ),
    "cross entropy": lambda: cross_entropy("loss", "work", (8, 10), 0.125),
    "cross entropy gradient": lambda: cross_entropy_gradient("loss", "work", (8, 10), 0.125),
    "sgd": lambda: sgd("w", "work", (64, 33, 3, 3), 0.9, 5e-4, True),
    "accumulate": lambda: accumulate("w", "work", (100003,)),
    "max pool": lambda: max_pool2d("p", "work", Pool2d((3, 3), (2, 2), (1, 1, 1, 1)), NETWORK),
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_of_training_graphs(name: str, chip: Features, kernels: Path) -> None:
    check(KERNELS[name](), chip, kernels, rtol=5e-5)


def test_max_pool_gradient(chip: Features, kernels: Path) -> None:
    """The indices are those of a real maximum, so that each gradient goes somewhere."""
    attributes, shape = Pool2d((2, 3), (2, 1), (0, 1, 0, 1)), (2, 5, 12, 9)
    forward = max_pool2d("p", "forward", attributes, shape)
    data, output = random_arguments(forward)
    output = run_reference(forward, [data, output])[1]
    find = max_pool2d_indices("p", "indices", attributes, shape)
    arrays = [data, output, np.zeros(output.shape, np.int32)]
    check(find, chip, kernels, arrays=arrays)
    indices = run_reference(find, arrays)[2]
    gradient = max_pool2d_gradient("p", "gradient", attributes, shape)
    check(gradient, chip, kernels, arrays=[random_arguments(gradient)[0], indices, np.zeros_like(data)])


def broadcast_shapes(draw: st.DrawFn) -> tuple[Shape, list[Shape]]:
    """Draw a shape and some that broadcast to it."""
    shape = tuple(draw(st.lists(st.integers(1, 12), min_size=1, max_size=4)))
    operands = []
    for _ in range(draw(st.integers(1, 3))):
        kept = draw(st.integers(0, len(shape)))
        operands.append(
            tuple(extent if draw(st.booleans()) else 1 for extent in shape[len(shape) - kept :]) or (1,)
        )
    return shape, operands


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_elementwise_with_broadcasting(data: st.DataObject, chip: Features, kernels: Path) -> None:
    shape, operands = data.draw(st.composite(broadcast_shapes)())
    scale = data.draw(st.sampled_from([1, 37]), label="scale of the first axis")
    shape = (shape[0] * scale, *shape[1:])
    operands = [(s[0] * scale, *s[1:]) if len(s) == len(shape) and s[0] != 1 else s for s in operands]
    tensors = [te.placeholder(s, name=f"x{i}") for i, s in enumerate(operands)]

    def value(*indices: object) -> object:
        total: object = tirx.const(0.5, "float32")
        for tensor in tensors:
            own = indices[len(indices) - len(tensor.shape) :]
            element = tensor(*(0 if int(e) == 1 else i for e, i in zip(tensor.shape, own, strict=True)))
            total = te.max(element, total * tirx.const(-0.7, "float32")) + element  # type: ignore[operator]
        return total

    check(te.create_prim_func([*tensors, te.compute(shape, value, name="out")]), chip, kernels)


COMBINERS = {"sum": te.sum, "max": te.max, "min": te.min}


@example(shape=[1, 1, 17, 2], axes={2}, combiner="max")
@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.sampled_from([1, 2, 3, 5, 8, 17, 40]), min_size=1, max_size=4),
    axes=st.sets(st.integers(0, 3), min_size=1),
    combiner=st.sampled_from(sorted(COMBINERS)),
)
def test_reductions(shape: list[int], axes: set[int], combiner: str, chip: Features, kernels: Path) -> None:
    summed = sorted(axis for axis in axes if axis < len(shape))
    if not summed:
        return
    x, y = te.placeholder(tuple(shape), name="x"), te.placeholder((shape[-1],), name="y")
    along = {axis: te.reduce_axis((0, shape[axis]), name=f"k{axis}") for axis in summed}
    left = [axis for axis in range(len(shape)) if axis not in summed]

    def value(*indices: object) -> object:
        where = {**dict(zip(left, indices, strict=False)), **along}
        position = [where[axis] for axis in range(len(shape))]
        return COMBINERS[combiner](x(*position) * y[position[-1]], axis=list(along.values()))

    result = te.compute(tuple(shape[axis] for axis in left) or (1,), value, name="out")
    check(te.create_prim_func([x, y, result]), chip, kernels, rtol=5e-5)


@settings(max_examples=20, deadline=None)
@given(
    work=st.sampled_from(sorted(CONVOLUTIONS)),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    groups=st.integers(1, 3),
    extents=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    taps=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
)
def test_any_convolution(
    work: str, channels: tuple[int, int], groups: int, extents: tuple[int, int], taps: tuple[int, int],
    strides: tuple[int, int], padding: tuple[int, int, int, int], dilation: tuple[int, int],
    chip: Features, kernels: Path,
) -> None:  # fmt: skip
    attributes = Conv2d(strides, padding, dilation, groups)
    data = (2, channels[0] * groups, *extents)
    weight = (channels[1] * groups, channels[0], *taps)
    if min(attributes.output_shape(data, weight)) < 1:
        return
    function = CONVOLUTIONS[work]("conv", "work", attributes, data, weight)
    check(generic(function), chip, kernels, rtol=5e-5)


POOLS: dict[str, Callable[..., PrimFunc]] = {
    "max": max_pool2d,
    "average": avg_pool2d,
    "average gradient": avg_pool2d_gradient,
}


@settings(max_examples=20, deadline=None)
@given(
    pool=st.sampled_from(sorted(POOLS)),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(2, 14), st.integers(2, 14)),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padded=st.booleans(),
)
def test_any_pooling(
    pool: str, shape: Shape, window: tuple[int, int], strides: tuple[int, int], padded: bool,
    chip: Features, kernels: Path,
) -> None:  # fmt: skip
    border = (window[0] // 2, window[1] // 2) * 2 if padded else (0, 0, 0, 0)
    attributes = Pool2d(window, strides, border)
    if min(attributes.output_shape(shape)) < 1:
        return
    check(POOLS[pool]("pool", "work", attributes, shape), chip, kernels)


def test_unpredictable_index_of_a_large_table_reads_l2(chip: Features, kernels: Path) -> None:
    table, which = te.placeholder((20000,), name="table"), te.placeholder((50,), dtype="int32", name="which")
    out = te.compute((50,), lambda i: table[which[i]], name="out")
    random = np.random.default_rng(0)
    arrays = [
        random.standard_normal(20000).astype("float32"),
        random.integers(0, 20000, 50).astype("int32"),
        np.zeros(50, "float32"),
    ]
    kernel = check(te.create_prim_func([table, which, out]), chip, kernels, arrays=arrays)
    assert "'table' does not fit L1 and is read from L2 directly" in kernel.source


def test_results_between_stages_stay_in_l1(chip: Features, kernels: Path) -> None:
    x = te.placeholder((6, 50), name="x")
    k, q = te.reduce_axis((0, 50), name="k"), te.reduce_axis((0, 50), name="q")
    top = te.compute((6,), lambda i: te.max(x[i, k], axis=k), name="top")
    total = te.compute((6,), lambda i: te.sum(te.exp(x[i, q] - top[i]), axis=q), name="total")
    out = te.compute((6, 50), lambda i, j: te.exp(x[i, j] - top[i]) / total[i], name="out")
    kernel = check(te.create_prim_func([x, out]), chip, kernels)
    assert [str(p.name) for p in kernel.function.params] == ["x", "out"]


def test_a_large_result_between_stages_is_refused(chip: Features) -> None:
    x = te.placeholder((200, 100, 3), name="x")
    k, q = te.reduce_axis((0, 3), name="k"), te.reduce_axis((0, 100), name="q")
    partial = te.compute((200, 100), lambda i, j: te.sum(x[i, j, k], axis=k), name="partial_sums")
    out = te.compute((200,), lambda i: te.sum(partial[i, q] * partial[i, 99 - q], axis=q), name="out")
    with pytest.raises(UserError, match="'partial_sums' must be kept whole"):
        lower_generic(te.create_prim_func([x, out]), chip)


def test_types_that_the_cluster_lacks_are_refused(chip: Features) -> None:
    x = te.placeholder((4,), dtype="int64", name="counts")
    function = te.create_prim_func([x, te.compute((4,), lambda i: x[i] + x[i], name="out")])
    with pytest.raises(UserError, match="'counts' has type int64"):
        lower_generic(function, chip)


def test_reading_what_is_overwritten_is_refused(chip: Features) -> None:
    x = te.placeholder((8,), name="x")
    function = te.create_prim_func([x, te.compute((8,), lambda i: x[7 - i] * 2.0, name="out")])
    source, out = function.params
    with pytest.raises(UserError, match="overwrites 'x' and reads it at other positions"):
        lower_generic(function.specialize({out: source}), chip)


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str, chip: Features, tmp_path: Path) -> None:
    small = Features(**{**chip.__dict__, "l1_bytes": chip.l1_bytes - 48 * 1024})
    work = [
        conv2d("c", "w", Conv2d((2, 1), (1, 2, 0, 1)), (2, 6, 19, 13), (7, 6, 3, 3)),
        batch_norm_gradient("b", "w", (3, 5, 20, 20), Activation(), biased=False, data_gradient=False),
    ]
    for number, function in enumerate(work):
        run_with_sanitizer(lower_generic(function, small), tmp_path / str(number), sanitizer)


@pytest.mark.parametrize("work", CONVOLUTIONS)
def test_on_the_simulator(work: str, chip: Features, tmp_path: Path) -> None:
    attributes, data, weight = Conv2d((1, 1), (1, 1, 1, 1)), (2, 16, 16, 16), (16, 16, 3, 3)
    function = generic(CONVOLUTIONS[work]("conv", "work", attributes, data, weight))
    arrays = random_arguments(function)
    expected = run_reference(function, [a.copy() for a in arrays])[2]
    measured = measure_kernel(lower_generic(function, chip), arrays, chip, tmp_path)
    np.testing.assert_allclose(arrays[2], expected, atol=3e-5 * np.abs(expected).max())
    assert attributes.macs(data, weight) / measured.cycles[-1] >= 1.5


def test_tiles_change_nothing(chip: Features, kernels: Path) -> None:
    """The same sums in much less L1: many tiles of the reduction as well."""
    function = generic(conv2d("c", "w", Conv2d((1, 1), (1, 1, 1, 1)), (1, 24, 12, 12), (8, 24, 3, 3)))
    small = Features(**{**chip.__dict__, "l1_bytes": chip.l1_bytes - 52 * 1024})
    arrays = random_arguments(function)
    expected = run_reference(function, [a.copy() for a in arrays])[2]
    lowered = lower_generic(function, small)
    assert int(lowered.attrs["pulp.l1_bytes"]) <= small.kernel_l1_bytes
    HostKernel(lowered, kernels)(arrays)
    np.testing.assert_allclose(arrays[2], expected, atol=3e-5 * np.abs(expected).max())
