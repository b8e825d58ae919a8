import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch.nn import functional
from tvm import relax

from tests.passes.small_models import build_model, call, operators, random_input, run
from tvm_pulp.oracle.operators import evaluate
from tvm_pulp.passes.canonical_pool import canonical_pool
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.target.errors import UserError


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: relax.op.mean(x, [-1, -2], keepdims=True),
        lambda x: relax.op.nn.adaptive_avg_pool2d(x, (1, 1)),
        lambda x: relax.op.nn.avg_pool2d(x, (6, 6)),
        lambda x: relax.op.nn.avg_pool2d(x, (6, 6), strides=(2, 2)),
    ],
)
def test_an_average_over_the_whole_map_is_a_mean(pool):
    model = build_model(lambda b, x: b.emit(pool(x)))
    after = canonical_pool(model)
    assert operators(after) == ["mean"]
    attributes = call(after, "mean").attrs
    assert [int(axis) for axis in attributes.axis] == [2, 3] and attributes.keepdims
    x = random_input(2, 4, 6, 6)
    np.testing.assert_allclose(run(after, x), run(model, x), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("axes", [[1], [-1, 2], None])
def test_a_mean_keeps_its_axes_and_a_reshape_drops_them(axes):
    model = build_model(lambda b, x: b.emit(relax.op.mean(x, axes)))
    after = canonical_pool(model)
    assert operators(after) == ["mean", "reshape"]
    x = random_input(2, 4, 6, 6)
    np.testing.assert_allclose(run(after, x), run(model, x), rtol=1e-6, atol=1e-7)


def test_adaptive_pooling_with_equal_windows_is_average_pooling():
    after = canonical_pool(build_model(lambda b, x: b.emit(relax.op.nn.adaptive_avg_pool2d(x, (3, 2)))))
    pool = call(after, "nn.avg_pool2d")
    assert [int(e) for e in pool.attrs.pool_size] == [2, 3] == [int(e) for e in pool.attrs.strides]


def test_adaptive_pooling_with_unequal_windows_stays():
    model = build_model(lambda b, x: b.emit(relax.op.nn.adaptive_avg_pool2d(x, (4, 6))))
    assert operators(canonical_pool(model)) == ["nn.adaptive_avg_pool2d"]


@settings(max_examples=60, deadline=None)
@given(
    extent=st.integers(3, 12),
    window=st.integers(1, 4),
    stride=st.integers(1, 4),
    padding=st.integers(0, 2),
    is_max=st.booleans(),
    counts=st.booleans(),
)
@example(extent=6, window=3, stride=2, padding=1, is_max=True, counts=False)
@example(extent=5, window=2, stride=3, padding=1, is_max=False, counts=False)
def test_ceil_mode_is_padding_at_the_end(extent, window, stride, padding, is_max, counts):
    assume(2 * padding <= window <= extent)
    pool = relax.op.nn.max_pool2d if is_max else relax.op.nn.avg_pool2d
    settings_of_pool = {"strides": stride, "padding": padding, "ceil_mode": True}
    if not is_max:
        settings_of_pool["count_include_pad"] = counts
    model = build_model(
        lambda b, x: b.emit(pool(x, (window, window), **settings_of_pool)), {"x": (1, 2, extent, extent)}
    )
    x = torch.from_numpy(random_input(1, 2, extent, extent))
    if is_max:
        expected = functional.max_pool2d(x, window, stride, padding, ceil_mode=True)
    else:
        expected = functional.avg_pool2d(x, window, stride, padding, True, counts)
    try:
        after = canonical_pool(model)
    except UserError as error:
        assert not is_max and counts and padding and "ceil_mode" in str(error)
        return
    (value,) = [v.value for v in after.function.body.blocks[0].bindings]
    assert static_shape(after.function.body.body) == tuple(expected.shape)
    if "pool" in operators(after)[0]:
        assert not value.attrs.ceil_mode
    torch.testing.assert_close(evaluate(value, [x]), expected)


def test_an_average_that_counts_padding_and_rounds_up_is_refused_with_its_layer():
    model = build_model(
        lambda b, x: b.emit(
            relax.op.nn.avg_pool2d(x, (3, 3), 2, 1, ceil_mode=True, count_include_pad=True), "layer4"
        )
    )
    with pytest.raises(UserError, match=r"layer4.*count_include_pad=False"):
        canonical_pool(model)
