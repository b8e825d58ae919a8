"""Chains of elementwise kernels that are joined, those that must not be, and that results stay equal."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest
from tvm import IRModule, relax

from tests.host_executor import HostExecutor
from tests.passes.small_models import random_input
from tests.passes.torch_training import Residual, assert_same_step, batches, seeded
from tvm_pulp.frontends.load import load_model
from tvm_pulp.passes.fuse_elementwise import fuse_elementwise
from tvm_pulp.passes.kernel_steps import KernelStep, read_steps
from tvm_pulp.passes.operators.elementwise import elementwise
from tvm_pulp.passes.operators.kernel import Scalar, number
from tvm_pulp.passes.operators.update import accumulate, sgd
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.training_graph import TrainingGraph, build_training
from tvm_pulp.target.tvm_names import PrimFunc, Select, tirx

SHAPE = (2, 4, 5, 8)
ZERO = number(0.0)


def pointwise(name: str, expression: Callable[..., Scalar], operands: int) -> PrimFunc:
    return elementwise(name, "forward", [(f"x{n}", SHAPE) for n in range(operands)], expression)


ADD = pointwise("add", lambda x, y: x + y, 2)
RELU = pointwise("relu", lambda x: tirx.max(x, ZERO), 1)
DOUBLE = pointwise("double", lambda x: x * number(2.0), 1)
MASK = elementwise("relu", "gradient", [("g", SHAPE), ("y", SHAPE)], lambda g, y: Select(y > ZERO, g, ZERO))


class Chain:
    """Builds a function "main" of kernel calls on arguments x, y, z of one shape."""

    def __init__(self, **further: tuple[int, ...]) -> None:
        self.builder = relax.BlockBuilder()
        shapes = {"x": SHAPE, "y": SHAPE, "z": SHAPE, **further}
        self.arguments = {n: relax.Var(n, relax.TensorType(s, "float32")) for n, s in shapes.items()}

    def build(self, body: Callable[[Chain], list[relax.Var]]) -> IRModule:
        with self.builder.function("main", list(self.arguments.values())):
            with self.builder.dataflow():
                results = [self.builder.emit_output(variable) for variable in body(self)]
            self.builder.emit_func_output(results)
        return self.builder.get()

    def __getitem__(self, name: str) -> relax.Var:
        return self.arguments[name]

    def call(self, kernel: PrimFunc, *arguments: relax.Var) -> relax.Var:
        function = self.builder.add_func(kernel, str(kernel.attrs["global_symbol"]))
        kind = relax.TensorType(SHAPE, "float32")
        return self.builder.emit(relax.call_tir(function, relax.Tuple(list(arguments)), kind))

    def update(self, kernel: PrimFunc, arguments: list[relax.Var], overwritten: list[int]) -> None:
        function = self.builder.add_func(kernel, str(kernel.attrs["global_symbol"]))
        kinds = [arguments[number].ty for number in overwritten]
        self.builder.emit(
            relax.op.call_tir_inplace(function, relax.Tuple(arguments), overwritten, kinds), "updated"
        )


def names(module: IRModule) -> list[str]:
    steps = read_steps(module, "main").steps
    return [str(step.kernel.attrs["global_symbol"]) for step in steps if isinstance(step, KernelStep)]


def check(module: IRModule, expected: list[str]) -> IRModule:
    """Join, compare the kernels' names and, bit by bit, what they compute and overwrite."""
    joined = fuse_elementwise(module)
    assert names(joined) == expected
    arrays = {
        argument.name: random_input(*(int(n) for n in argument.ty.shape.values), seed=seed)
        for seed, argument in enumerate(module["main"].params)
    }
    (before, memory_before), (after, memory_after) = (
        HostExecutor(m).run("main", arrays) for m in (module, joined)
    )
    for want, got in zip(before, after, strict=True):
        np.testing.assert_array_equal(got, want)
    for name, want in memory_before.items():
        np.testing.assert_array_equal(memory_after[name], want, err_msg=name)
    return joined


def test_a_chain_becomes_one_kernel() -> None:
    def body(c: Chain) -> list[relax.Var]:
        return [c.call(MASK, c.call(RELU, c.call(ADD, c["x"], c["y"])), c["z"])]

    joined = check(Chain().build(body), ["add_relu_relu_gradient_forward"])
    (step,) = read_steps(joined, "main").steps
    assert isinstance(step, KernelStep)
    assert str(step.kernel.attrs["pulp.layer"]) == "add + relu"
    assert str(step.kernel.attrs["pulp.operator"]) == "elementwise"
    assert len([f for f in joined.functions.values() if isinstance(f, PrimFunc)]) == 1


def test_what_is_read_later_too_is_stored_besides() -> None:
    def body(c: Chain) -> list[relax.Var]:
        total = c.call(ADD, c["x"], c["y"])
        return [c.call(RELU, total), total]

    check(Chain().build(body), ["add_relu_forward"])


def test_what_is_read_in_between_stays() -> None:
    """The second addition needs the sum before the rectifier has all it reads."""

    def body(c: Chain) -> list[relax.Var]:
        total = c.call(ADD, c["x"], c["y"])
        view = c.builder.emit(relax.op.reshape(total, SHAPE))
        return [c.call(MASK, total, c["z"]), view]

    check(Chain().build(body), ["add_forward", "relu_gradient"])


def test_both_operands_of_a_sum() -> None:
    def body(c: Chain) -> list[relax.Var]:
        return [c.call(ADD, c.call(RELU, c["x"]), c.call(MASK, c["y"], c["z"]))]

    check(Chain().build(body), ["relu_add_forward"])


def test_a_product_is_not_joined_with_a_sum() -> None:
    """It would be rounded once instead of twice."""

    def body(c: Chain) -> list[relax.Var]:
        return [c.call(ADD, c.call(DOUBLE, c["x"]), c["y"]), c.call(RELU, c.call(DOUBLE, c["z"]))]

    check(Chain().build(body), ["double_forward", "add_forward", "double_relu_forward"])


def test_gradient_sum_and_update_in_place() -> None:
    update = sgd("w", "weight_update", SHAPE, 0.9, 1e-3, clear_gradient=False)

    def body(c: Chain) -> list[relax.Var]:
        gradient = c.call(ADD, c["x"], c["y"])
        c.update(update, [c["w"], gradient, c["rate"], c["momentum"]], [3, 0])
        return [c["z"]]

    joined = check(Chain(w=SHAPE, rate=(1,), momentum=SHAPE).build(body), ["add_update_forward"])
    (step,) = read_steps(joined, "main").steps
    assert isinstance(step, KernelStep)
    assert [step.arguments[number].name for number in step.overwritten] == ["momentum", "w"]


def test_what_is_overwritten_in_between_is_read_before() -> None:
    step = accumulate("w", "accumulate", SHAPE)

    def body(c: Chain) -> list[relax.Var]:
        total = c.call(ADD, c["x"], c["y"])
        c.update(step, [c["x"], c["y"]], [0])
        return [c.call(MASK, total, c["z"])]

    check(Chain().build(body), ["add_forward", "w_accumulate", "relu_gradient"])


def test_what_the_consumer_overwrites_is_read_before() -> None:
    def body(c: Chain) -> list[relax.Var]:
        total = c.call(ADD, c["x"], c["y"])
        c.update(accumulate("w", "accumulate", SHAPE), [c["x"], total], [0])
        return [c["z"]]

    check(Chain().build(body), ["add_forward", "w_accumulate"])


def test_a_result_that_is_broadcast_is_not_joined() -> None:
    row = elementwise("row", "forward", [("a", (4, 1, 1))], lambda a: a + number(1.0), (4, 1, 1))
    scale = elementwise("scale", "forward", [("x", SHAPE), ("a", (4, 1, 1))], lambda x, a: x * a)

    def body(c: Chain) -> list[relax.Var]:
        function = c.builder.add_func(row, "row_forward")
        kind = relax.TensorType((4, 1, 1), "float32")
        factor = c.builder.emit(relax.call_tir(function, relax.Tuple([c["a"]]), kind))
        return [c.call(scale, c["x"], factor)]

    check(Chain(a=(4, 1, 1)).build(body), ["row_forward", "scale_forward"])


def test_more_tensors_than_a_stream_has_are_not_joined() -> None:
    def body(c: Chain) -> list[relax.Var]:
        first = c.call(pointwise("three", lambda x, y, z: x + y + z, 3), c["x"], c["y"], c["z"])
        last = pointwise("four", lambda x, a, b, d: x + a + b + d, 4)
        return [c.call(last, first, c["a"], c["b"], c["d"])]

    check(Chain(a=SHAPE, b=SHAPE, d=SHAPE).build(body), ["three_forward", "four_forward"])


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_a_training_step_stays_equal(micro_batch: int | None) -> None:
    config = TrainConfig(
        batch_size=4, micro_batch=micro_batch, momentum=0.9, weight_decay=1e-3, keep_gradients=True
    )

    def build() -> TrainingGraph:
        return build_training(load_model(seeded(Residual), input_shapes={"x": [1, 3, 8, 8]}), config)

    joined = build()
    with mock.patch("tvm_pulp.passes.training_graph.fuse_elementwise", lambda module: module):
        plain = build()
    (x, labels), *_ = batches(1, 4, (3, 8, 8), 4)
    assert_same_step(plain, joined, x, labels)
    calls = [len(read_steps(graph.module, "infer").steps) for graph in (plain, joined)]
    assert calls[1] <= calls[0] - 5
