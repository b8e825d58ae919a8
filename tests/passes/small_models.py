"""Models of a few operators, and what they compute when TVM compiles them for the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tvm
from tvm import IRModule, relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import bindings, operator_name

Body = Callable[..., relax.Expr]


def build_model(
    body: Body,
    inputs: Mapping[str, tuple[int, ...]] | None = None,
    parameters: Mapping[str, np.ndarray] | None = None,
    buffers: frozenset[str] = frozenset(),
) -> Model:
    """Model named "net" whose body is ``body(builder, inputs..., parameters...)``; one input x by default."""
    inputs = inputs or {"x": (2, 4, 6, 6)}
    parameters = dict(parameters or {})
    arguments = [relax.Var(name, relax.TensorType(shape, "float32")) for name, shape in inputs.items()]
    arguments += [relax.Var(n, relax.TensorType(v.shape, str(v.dtype))) for n, v in parameters.items()]
    builder = relax.BlockBuilder()
    with builder.function("main", arguments):
        with builder.dataflow():
            result = builder.emit_output(body(builder, *arguments))
        builder.emit_func_output(result)
    return Model("net", builder.finalize(), tuple(inputs), parameters, buffers)


def operators(model: Model) -> list[str]:
    """Names of the operators of a model, in order."""
    return [operator_name(value) for _, value in bindings(model.function) if isinstance(value, relax.Call)]


def names(model: Model) -> list[str]:
    """Names of the variables of a model, in order."""
    return [variable.name for variable, _ in bindings(model.function)]


def call(model: Model, operator: str) -> relax.Call:
    """The only call of an operator."""
    (found,) = [value for _, value in bindings(model.function) if operator_name(value) == operator]
    return found


def run(model: Model, *inputs: np.ndarray) -> np.ndarray:
    """Output of a model on the host by LLVM and Relax's virtual machine."""
    module = IRModule({"main": model.function})
    module = relax.transform.DecomposeOpsForInference("main")(module)
    executable = relax.build(relax.transform.LegalizeOps()(module), "llvm")
    machine = relax.VirtualMachine(executable, tvm.cpu())
    return machine["main"](*[tvm.runtime.tensor(a) for a in (*inputs, *model.parameters.values())]).numpy()


def random_input(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
