"""Run one operator forward and backward through the lowering, TVM's Gradient and our rules; and PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from tvm import IRModule, relax

from tests.host_executor import HostExecutor
from tvm_pulp.passes.differentiate import differentiate
from tvm_pulp.passes.finish_graph import finish_function, resolve
from tvm_pulp.passes.layer_names import layer_names
from tvm_pulp.passes.lower_forward import lower_forward
from tvm_pulp.passes.lowerings.lowering import Lowering
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.operators.mse import mse
from tvm_pulp.passes.rewrite import static_shape

TOLERANCE = 1e-5
"""Largest error of a tensor, relative to its largest value."""

Build = Callable[..., relax.Expr]


def variables(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, relax.Var]:
    return {name: relax.Var(name, relax.TensorType(shape, "float32")) for name, shape in shapes.items()}


def operator_model(build: Build, arrays: Mapping[str, np.ndarray]) -> Model:
    """Model of one operator: arguments with a dot in their names are parameters, those before them inputs."""
    arguments = variables({name: array.shape for name, array in arrays.items()})
    builder = relax.BlockBuilder()
    with builder.function("main", list(arguments.values())):
        with builder.dataflow():
            result = builder.emit_output(build(builder, *arguments.values()))
        builder.emit_func_output(result)
    inputs = tuple(name for name in arrays if "." not in name)
    parameters = {name: array for name, array in arrays.items() if "." in name}
    return Model("operator", builder.get(), inputs, parameters)


def training_module(model: Model, trained: tuple[str, ...], training_batch_norms: set[str]) -> IRModule:
    """Function "step" of arguments and labels that returns output and gradients of half the squared error."""
    builder = relax.BlockBuilder()
    arguments = {v.name: relax.Var(v.name, v.ty) for v in model.function.params}
    output = model.function.ret_ty
    labels = relax.Var("labels", relax.TensorType(output.shape, "float32"))
    lowering = Lowering(
        builder,
        layer_names(model),
        "forward",
        training_batch_norms,
        {arguments[name] for name in trained},
    )
    with builder.function("forward", [labels, *arguments.values()]):
        with builder.dataflow():
            (result,) = lower_forward(lowering, model.function, list(arguments.values()))
            kernel = mse("loss", "forward", static_shape(result), 0.5)
            loss = lowering.kernel(kernel, [result, labels], "mse", {"scale": 0.5})
            outputs = [builder.emit_output(v) for v in (builder.emit(relax.op.reshape(loss, ())), result)]
        builder.emit_func_output(outputs)
    forward = builder.get()
    parameters = {v.name: v for v in forward["forward"].params}
    module, name = differentiate(forward, "forward", [parameters[name] for name in trained])
    bound, results = resolve(module[name])
    finished = relax.BlockBuilder()
    finish_function(finished, "step", list(module[name].params), bound, module, results[1:])
    return finished.get()


def check_operator(
    build: Build,
    reference: Callable[..., torch.Tensor],
    arrays: Mapping[str, np.ndarray],
    trained: tuple[str, ...] | None = None,
    training_batch_norms: set[str] | None = None,
) -> IRModule:
    """Compare output and gradients with those of PyTorch in float64; returns the module for further looks."""
    trained = tuple(arrays) if trained is None else trained
    module = training_module(operator_model(build, arrays), trained, training_batch_norms or set())
    tensors = {n: torch.tensor(a.astype(np.float64), requires_grad=n in trained) for n, a in arrays.items()}
    expected = reference(*tensors.values())
    labels = np.random.default_rng(1).standard_normal(tuple(expected.shape)).astype(np.float32)
    (0.5 * (expected - torch.tensor(labels.astype(np.float64))) ** 2).sum().backward()
    results, _ = HostExecutor(module).run("step", {"labels": labels, **arrays})
    assert_close(results[0], expected.detach().numpy(), "output")
    for name, gradient in zip(trained, results[1:], strict=True):
        assert_close(gradient, tensors[name].grad.numpy(), f"gradient by {name}")
    return module


def assert_close(actual: np.ndarray, expected: np.ndarray, name: str, tolerance: float = TOLERANCE) -> None:
    assert actual.shape == expected.shape, name
    scale = np.abs(expected).max(initial=0.0)
    error = np.abs(actual.astype(np.float64) - expected).max(initial=0.0)
    assert error <= tolerance * scale, f"{name}: error {error} of values up to {scale}"


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)
