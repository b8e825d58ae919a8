import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from tvm import relax

from tests.passes.single_operator import check_operator, normal
from tvm_pulp.target.tvm_names import PrimFunc

CASES = {
    "plain": ((2, 3, 6, 7), (4, 3, 3, 3), 1, (0, 0, 0, 0), 1, 1),
    "padded": ((2, 3, 6, 7), (4, 3, 3, 3), 1, (1, 1, 1, 1), 1, 1),
    "asymmetric padding": ((2, 3, 8, 8), (4, 3, 3, 3), 2, (0, 0, 1, 1), 1, 1),
    "more padding than kernel": ((1, 2, 3, 3), (2, 2, 2, 2), 1, (2, 3, 1, 2), 1, 1),
    "stride 2": ((2, 3, 9, 8), (4, 3, 3, 3), 2, (1, 1, 1, 1), 1, 1),
    "stride 2 and 3": ((2, 3, 10, 11), (4, 3, 3, 2), (2, 3), (1, 0, 1, 1), 1, 1),
    "stride above kernel": ((1, 2, 9, 9), (3, 2, 2, 2), 3, (0, 0, 0, 0), 1, 1),
    "pointwise": ((3, 5, 4, 6), (7, 5, 1, 1), 1, (0, 0, 0, 0), 1, 1),
    "pointwise of one image": ((1, 5, 4, 6), (7, 5, 1, 1), 1, (0, 0, 0, 0), 1, 1),
    "pointwise of one pixel": ((3, 5, 1, 1), (7, 5, 1, 1), 1, (0, 0, 0, 0), 1, 1),
    "pointwise stride 2": ((2, 5, 7, 6), (4, 5, 1, 1), 2, (0, 0, 0, 0), 1, 1),
    "pointwise groups": ((2, 4, 5, 5), (6, 2, 1, 1), 1, (0, 0, 0, 0), 1, 2),
    "dilated": ((2, 3, 9, 9), (4, 3, 3, 3), 1, (2, 2, 2, 2), 2, 1),
    "dilated and strided": ((2, 3, 11, 12), (4, 3, 3, 3), 2, (2, 1, 2, 2), (2, 3), 1),
    "groups": ((2, 6, 6, 6), (8, 3, 3, 3), 1, (1, 1, 1, 1), 1, 2),
    "groups stride 2": ((2, 6, 7, 7), (4, 3, 3, 3), 2, (1, 1, 1, 1), 1, 2),
    "depthwise": ((2, 5, 7, 7), (5, 1, 3, 3), 1, (1, 1, 1, 1), 1, 5),
    "depthwise stride 2": ((2, 5, 8, 8), (5, 1, 3, 3), 2, (0, 0, 1, 1), 1, 5),
    "depthwise multiplier 2": ((2, 3, 6, 6), (6, 1, 3, 3), 1, (1, 1, 1, 1), 1, 3),
    "depthwise 5x5 stride 2": ((1, 4, 9, 9), (4, 1, 5, 5), 2, (2, 2, 2, 2), 1, 4),
    "long sum over images": ((8, 2, 32, 32), (3, 2, 3, 3), 1, (1, 1, 1, 1), 1, 1),
    "long sum over rows": ((2, 2, 80, 72), (3, 2, 3, 3), 1, (1, 1, 1, 1), 1, 1),
    "long sum over rows of one image": ((1, 1, 80, 72), (2, 1, 3, 3), 1, (1, 1, 1, 1), 1, 1),
}


def check(data, weight, strides, padding, dilation, groups):
    def build(builder, x, w):
        return relax.op.nn.conv2d(x, w, strides, padding, dilation, groups)

    def reference(x, w):
        top, left, bottom, right = padding
        x = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(x, w, stride=strides, dilation=dilation, groups=groups)

    return check_operator(build, reference, {"data": normal(*data), "conv.weight": normal(*weight, seed=2)})


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_pytorch(case):
    check(*CASES[case])


def kernels(module):
    return {v.name_hint: f for v, f in module.functions.items() if isinstance(f, PrimFunc)}


@pytest.mark.parametrize("case", ["padded", "stride 2", "depthwise stride 2", "dilated and strided"])
def test_gradients_are_single_blocks_without_copies(case):
    found = kernels(check(*CASES[case]))
    names = {n for n in found if not n.startswith("loss")}
    assert names == {"conv_forward", "conv_data_gradient", "conv_weight_gradient"}
    for name in names:
        assert "alloc_buffer" not in found[name].script()
        assert int(found[name].attrs["pulp.macs"]) > 0
        assert "pulp.conv2d" in found[name].attrs


def test_macs_are_those_of_the_forward_computation():
    found = kernels(check(*CASES["groups"]))
    for name in ("conv_forward", "conv_data_gradient", "conv_weight_gradient"):
        assert int(found[name].attrs["pulp.macs"]) == 2 * 8 * 6 * 6 * 3 * 3 * 3


def test_pointwise_is_a_matmul_forward_and_backward():
    found = kernels(check(*CASES["pointwise"]))
    common = {"batch": 3, "batch_b": 1}
    sizes = {
        "conv_forward": {"m": 7, "n": 24, "k": 5, "transpose_a": 0, "transpose_b": 0},
        "conv_data_gradient": {"m": 5, "n": 24, "k": 7, "transpose_a": 1, "transpose_b": 0},
        "conv_weight_gradient": {"m": 7, "n": 5, "k": 24, "transpose_a": 0, "transpose_b": 1},
    }
    for expected in sizes.values():
        expected.update(common, batch_a=0, reduce_batch=0)
    sizes["conv_weight_gradient"].update(batch_a=1, reduce_batch=1)
    for name, expected in sizes.items():
        assert str(found[name].attrs["pulp.operator"]) == "matmul"
        assert {key: int(value) for key, value in found[name].attrs["pulp.matmul"].items()} == expected
        assert int(found[name].attrs["pulp.macs"]) == 3 * 7 * 5 * 24


def test_long_weight_gradients_are_partial_sums():
    found = kernels(check(*CASES["long sum over images"]))
    partial = found["conv_weight_gradient"].params[-1]
    assert [int(extent) for extent in partial.ty.shape] == [2, 3, 2, 3, 3]
    assert "conv_weight_gradient_sum" in found


@st.composite
def convolutions(draw):
    groups = draw(st.integers(1, 3))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    extents = [
        max(span - before - after, 1) + draw(st.integers(0, 6))
        for span, before, after in zip(spans, padding[:2], padding[2:], strict=True)
    ]
    channels = groups * draw(st.integers(1, 2))
    outputs = groups * draw(st.integers(1, 2))
    data = (draw(st.integers(1, 2)), channels, *extents)
    return data, (outputs, channels // groups, *kernel), strides, padding, dilation, groups


@given(convolutions())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_convolution_agrees_with_pytorch(case):
    assert math.prod(case[0]) > 0
    check(*case)


def test_zero_gradient_outside_all_windows():
    """Data that no window covers (stride above the kernel) has the gradient 0, not what was in memory."""
    data = normal(1, 1, 5, 5)

    def build(builder, x, w):
        return relax.op.nn.conv2d(x, w, 3)

    def reference(x, w):
        return functional.conv2d(x, w, stride=3)

    check_operator(build, reference, {"data": data, "conv.weight": normal(1, 1, 1, 1)})
    x = torch.tensor(data, requires_grad=True)
    functional.conv2d(x, torch.ones(1, 1, 1, 1), stride=3).sum().backward()
    assert np.count_nonzero(x.grad.numpy()) == 4
