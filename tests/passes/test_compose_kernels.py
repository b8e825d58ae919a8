"""Kernels put into one, against one after the other."""

from __future__ import annotations

import numpy as np

from tests.host_executor import run_kernel
from tests.passes.small_models import random_input
from tvm_pulp.passes.compose_kernels import compose_kernels
from tvm_pulp.passes.operators.elementwise import elementwise
from tvm_pulp.passes.operators.kernel import number
from tvm_pulp.passes.operators.reduction import sum_kernel
from tvm_pulp.passes.operators.update import sgd
from tvm_pulp.schedules.stages import read_program
from tvm_pulp.target.tvm_names import tirx

SHAPE = (2, 3, 4)
ADD = elementwise("sum", "forward", [("left", SHAPE), ("right", SHAPE)], lambda x, y: x + y)
RELU = elementwise("relu", "forward", [("data", SHAPE)], lambda x: tirx.max(x, number(0.0)))
X, Y = random_input(*SHAPE), random_input(*SHAPE, seed=1)


def test_an_intermediate_result_exists_inside_only() -> None:
    both = compose_kernels(
        [(ADD, ["x", "y", "sum"]), (RELU, ["sum", "z"])], ["x", "y", "z"], {"pulp.layer": "net"}
    )
    assert [str(buffer.name) for buffer in both.params] == ["left", "right", "output_2"]
    assert (both.attrs["pulp.layer"], both.attrs["pulp.operator"]) == ("net", "elementwise")
    np.testing.assert_array_equal(run_kernel(both, [X, Y])[-1], np.maximum(X + Y, 0))
    (stage,) = read_program(both).stages
    assert len(stage.stores) == 1


def test_a_result_may_be_kept_and_an_argument_shared() -> None:
    both = compose_kernels([(ADD, ["x", "x", "twice"]), (RELU, ["twice", "z"])], ["x", "twice", "z"], {})
    _, twice, rectified = run_kernel(both, [X])
    np.testing.assert_array_equal(twice, X + X)
    np.testing.assert_array_equal(rectified, np.maximum(X + X, 0))


def test_the_same_kernel_twice() -> None:
    both = compose_kernels([(ADD, ["x", "y", "a"]), (ADD, ["a", "y", "b"])], ["x", "y", "b"], {})
    np.testing.assert_array_equal(run_kernel(both, [X, Y])[-1], X + Y + Y)


def test_what_is_overwritten_in_place() -> None:
    update = sgd("w", "update", SHAPE, 0.9, 0.0, clear_gradient=False)
    kernels = [(ADD, ["x", "y", "g"]), (update, ["w", "g", "rate", "v"])]
    both = compose_kernels(kernels, ["x", "y", "w", "rate", "v"], {})
    w, v, rate = random_input(*SHAPE, seed=2), random_input(*SHAPE, seed=3), np.array([0.5], np.float32)
    want = run_kernel(update, [w, X + Y, rate, v])
    got = run_kernel(both, [X, Y, w, rate, v])
    np.testing.assert_array_equal(got[2], want[0])
    np.testing.assert_array_equal(got[4], want[3])


def test_a_reduction_and_what_follows_it() -> None:
    total = sum_kernel("pool", "forward", [("data", SHAPE)], lambda x: x, [2], [0, 1, 2])
    relu = elementwise("pool", "relu", [("data", (2, 3, 1))], lambda x: tirx.max(x, number(0.0)))
    both = compose_kernels([(total, ["x", "sum"]), (relu, ["sum", "z"])], ["x", "z"], {})
    want = np.maximum(X.sum(axis=2, keepdims=True), 0)
    np.testing.assert_allclose(run_kernel(both, [X])[-1], want, rtol=1e-6, atol=1e-6)
