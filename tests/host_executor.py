"""Run kernels and whole functions of a training graph on the host by LLVM, with NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tvm
from tvm import IRModule, relax
from tvm.ir import GlobalVar

from tvm_pulp.target.tvm_names import PrimFunc


def compile_kernels(kernels: Mapping[str, PrimFunc], optimize: bool = False) -> tvm.runtime.Module:
    """Compile unscheduled PrimFuncs for the host, by name; small nets are quicker without optimisation."""
    functions = {GlobalVar(name): kernel.with_attr("global_symbol", name) for name, kernel in kernels.items()}
    return tvm.compile(IRModule(functions), target={"kind": "llvm", "opt-level": 3 if optimize else 0})


def run_kernel(kernel: PrimFunc, arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run one kernel.

    Parameters
    ----------
    kernel
        As the operator classes make it.
    arguments
        Arrays for the first buffers; those written in place are copied first.

    Returns
    -------
    list of ndarray
        The kernel's buffers after the run, arguments first.
    """
    module = compile_kernels({"kernel": kernel})
    buffers = [tvm.runtime.tensor(np.ascontiguousarray(array)) for array in arguments]
    for buffer in kernel.params[len(arguments) :]:
        shape = tuple(int(extent) for extent in buffer.ty.shape)
        buffers.append(tvm.runtime.tensor(np.full(shape, 77, str(buffer.ty.dtype))))
    module["kernel"](*buffers)
    return [buffer.numpy() for buffer in buffers]


class HostExecutor:
    """Run the Relax functions of a module whose bodies are `call_tir`, `call_tir_inplace` and `reshape`.

    Parameters
    ----------
    module
        Of a `TrainingGraph`.
    optimize
        Compile for speed of the run.
    """

    def __init__(self, module: IRModule, optimize: bool = False) -> None:
        self._module = module
        kernels = {v.name_hint: f for v, f in module.functions.items() if isinstance(f, PrimFunc)}
        self._kernels = compile_kernels(kernels, optimize) if kernels else None

    def run(
        self, name: str, arguments: Mapping[str, np.ndarray]
    ) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """Run one function.

        Parameters
        ----------
        name
            Of the Relax function.
        arguments
            An array for each of the function's arguments, by name; further ones are left alone.

        Returns
        -------
        results : list of ndarray
            What the function returns, in order.
        updated : dict of str to ndarray
            All `arguments`, those written in place with their new values. The arrays given are not changed.
        """
        function = self._module[name]
        memory = {}
        for parameter in function.params:
            array = arguments[parameter.name]
            shape = tuple(int(extent) for extent in parameter.ty.shape.values)
            if array.shape != shape or str(array.dtype) != str(parameter.ty.dtype.dtype):
                raise ValueError(
                    f"{name}: {parameter.name} is {array.dtype} {array.shape}, expected {parameter.ty}"
                )
            memory[parameter] = _aligned(shape, str(array.dtype))
            memory[parameter][...] = array
        for block in function.body.blocks:
            for binding in block.bindings:
                memory[binding.var] = self._evaluate(binding.value, memory)
        results = self._evaluate(function.body.body, memory)
        updated = dict(arguments)
        updated.update({parameter.name: memory[parameter] for parameter in function.params})
        return list(results) if isinstance(results, tuple) else [results], updated

    def _evaluate(self, value: relax.Expr, memory: dict[relax.Var, object]) -> object:
        if isinstance(value, relax.Var):
            return memory[value]
        if isinstance(value, relax.Tuple):
            return tuple(self._evaluate(field, memory) for field in value.fields)
        if isinstance(value, relax.TupleGetItem):
            return self._evaluate(value.tuple_value, memory)[value.index]  # type: ignore[index]
        operator = value.op.name
        if operator == "relax.reshape":
            return self._evaluate(value.args[0], memory).reshape(_shape(value.args[1].values))  # type: ignore[attr-defined]
        if operator not in ("relax.call_tir", "relax.call_tir_inplace"):
            raise ValueError(f"{operator} is no kernel")
        inputs = list(self._evaluate(value.args[1], memory))  # type: ignore[call-overload]
        types = list(value.ty.fields) if isinstance(value.ty, relax.TupleType) else [value.ty]
        overwritten = [-1] * len(types)
        if operator == "relax.call_tir_inplace":
            overwritten = [int(index) for index in value.attrs.inplace_indices]
        fresh = [
            _aligned(_shape(kind.shape.values), str(kind.dtype.dtype))
            for kind, index in zip(types, overwritten, strict=True)
            if index < 0
        ]
        # DLPack shares the memory, so that what a kernel writes in place is in the array
        self._kernels[value.args[0].name_hint](*(tvm.runtime.from_dlpack(a) for a in (*inputs, *fresh)))
        remaining = iter(fresh)
        results = tuple(inputs[index] if index >= 0 else next(remaining) for index in overwritten)
        return results if isinstance(value.ty, relax.TupleType) else results[0]


def _shape(extents: Iterable[object]) -> tuple[int, ...]:
    return tuple(int(extent) for extent in extents)  # type: ignore[call-overload]


def _aligned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Array at an address that TVM takes; filled with junk, as memory is."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.full(size + 64, 0x7F, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)
