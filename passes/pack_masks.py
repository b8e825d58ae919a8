"""Keep of a rectifier's result one bit an element where the backward pass needs no more.

The gradient of ReLU or ReLU6 asks only whether the result is inside its range. Where nothing else reads the
result after the forward pass, its mask is made while it is there, and read in its place: 1/32 of the memory
until then. The operations on the gradient stay the same, so the results are equal bit by bit.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from tvm import IRModule, relax

from tvm_pulp.passes.compose_kernels import compose_kernels
from tvm_pulp.passes.fuse_elementwise import OPERATORS
from tvm_pulp.passes.kernel_steps import KernelStep, Step, StepFunction, ViewStep, read_steps, write_steps
from tvm_pulp.passes.operators.pack_mask import pack_mask, unpack_mask
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.schedules.bit_mask import WORD_BITS, mask_shape, passed_range
from tvm_pulp.schedules.computation import read_computations
from tvm_pulp.schedules.elementwise import ElementwiseTemplate
from tvm_pulp.schedules.expressions import reads_buffer, rewrite
from tvm_pulp.target.tvm_names import Buffer, BufferLoad, Expr, FloatImm, Select


def pack_masks(module: IRModule) -> IRModule:
    """Replace rectifiers' results that are kept for their own gradients by masks.

    Parameters
    ----------
    module : IRModule
        Finished: functions of `call_tir`, `call_tir_inplace` and views on PrimFuncs.

    Returns
    -------
    IRModule
        With a kernel of operator class ``"pack_mask"`` behind each such rectifier, which makes a mask of
        uint32 ``[elements / 128, 4]``, and gradients that read it. The module itself if there are none: a
        result that is returned, overwritten, read through a view or of which the elements are no multiple of
        128 stays, as one does that is there for most of the time anyway.
    """
    names = [v.name_hint for v, f in module.functions.items() if isinstance(f, relax.Function)]
    functions = [read_steps(module, name) for name in names]
    changed = False
    for function in functions:
        candidates = [r for s in function.steps if isinstance(s, KernelStep) for r in s.fresh]
        for tensor in candidates:
            changed = _pack(function, tensor) or changed
    return write_steps(functions) if changed else module


def _pack(function: StepFunction, tensor: relax.Var) -> bool:
    """Let the gradients after the last other reader of a tensor read its mask; tell whether there are any."""
    shape = static_shape(tensor)
    words = mask_shape(shape)
    if words is None or str(tensor.ty.dtype) != "float32" or tensor in function.results:
        return False
    memory = function.memory()
    if tensor in memory.values():  # it has views, or is overwritten
        return False
    made = next(n for n, step in enumerate(function.steps) if tensor in _results(step))
    readers = [n for n, step in enumerate(function.steps) if tensor in _arguments(step)]
    limits = {n: _limit(function.steps[n], tensor) for n in readers}
    others = [n for n in readers if limits[n] is None]
    last = max(others, default=made)
    gradients = [n for n in readers if n > last]
    if not gradients or gradients[0] - last <= last - made or len({limits[n] for n in gradients}) != 1:
        return False
    limit = limits[gradients[0]]
    assert limit is not None
    producer = function.steps[made]
    assert isinstance(producer, KernelStep)
    layer = str(producer.kernel.attrs["pulp.layer"])
    mask = relax.Var(f"{tensor.name}_mask", relax.TensorType(words, "uint32"))
    masked = {n: _masked(function.steps[n], tensor, mask, limit) for n in gradients}
    if any(step is None for step in masked.values()):
        return False
    for number, step in masked.items():
        assert step is not None
        function.steps[number] = step
    groups, lanes = words
    view = relax.Var(f"{tensor.name}_groups", relax.TensorType((groups, WORD_BITS, lanes), "float32"))
    kernel = pack_mask(layer, "pack_mask", words, None if math.isinf(limit) else limit)
    function.steps[made + 1 : made + 1] = [
        ViewStep(tensor, view),
        KernelStep(kernel, (view,), (mask,), (-1,), mask.name),
    ]
    return True


def _arguments(step: Step) -> tuple[relax.Var, ...]:
    return (step.source,) if isinstance(step, ViewStep) else step.arguments


def _results(step: Step) -> tuple[relax.Var, ...]:
    return (step.result,) if isinstance(step, ViewStep) else step.results


def _limit(step: Step, tensor: relax.Var) -> float | None:
    """Return x of ``0 < tensor < x``, infinity without a limit, if a step asks only that of a tensor."""
    if not isinstance(step, KernelStep) or step.arguments.count(tensor) != 1:
        return None
    if str(step.kernel.attrs["pulp.operator"]) not in OPERATORS:
        return None
    buffer = step.kernel.params[step.arguments.index(tensor)]
    limits: set[float] = set()

    def passed(node: Expr) -> Expr | None:
        """Put the value that a condition on the tensor lets through in the place of its choice."""
        if not isinstance(node, Select) or not _is_zero(node.false_value):
            return None
        found = passed_range(node.condition)
        if found is None or not _is_load(found[0], buffer):
            return None
        limits.add(math.inf if found[1] is None else found[1])
        return rewrite(node.true_value, passed)

    values = [rewrite(computation.value, passed) for computation in read_computations(step.kernel)]
    if any(reads_buffer(value, buffer) for value in values) or len(limits) != 1:
        return None
    return limits.pop()


def _is_zero(node: Expr) -> bool:
    return isinstance(node, FloatImm) and float(node.value) == 0.0


def _is_load(node: Expr, buffer: Buffer) -> bool:
    return isinstance(node, BufferLoad) and bool(node.source.same_as(buffer))


def _masked(step: Step, tensor: relax.Var, mask: relax.Var, limit: float) -> KernelStep | None:
    """Return a gradient that reads a mask; None if the elementwise template would not take it any more."""
    assert isinstance(step, KernelStep)
    inside = 1.0 if math.isinf(limit) else float(np.float32(limit) / 2)
    layer = str(step.kernel.attrs["pulp.layer"])
    unpack = unpack_mask(layer, "unpack_mask", static_shape(tensor), inside)
    arguments = tuple(mask if argument == tensor else argument for argument in step.arguments)
    tensors = [mask if t == tensor else t for t in step.tensors]
    kernel = compose_kernels([(unpack, [mask, tensor]), (step.kernel, step.tensors)], tensors, {})
    template = ElementwiseTemplate()
    if template.match(step.kernel) is not None and template.match(kernel) is None:
        return None
    return replace(step, kernel=kernel, arguments=arguments)
