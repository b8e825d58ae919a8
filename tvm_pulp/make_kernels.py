"""Schedule and print all kernels of a graph, on all processors of the host."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable

from tvm import IRModule

from tvm_pulp.schedules.base import lower
from tvm_pulp.target.features import Features
from tvm_pulp.target.kernel import Kernel
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.tvm_names import PrimFunc

FEW = 16  # kernels that are not worth another process

# What the workers work on: they inherit it when they are forked, so that no TVM object is sent around.
_work: tuple[dict[str, PrimFunc], Features] | None = None


def make_kernels(
    module: IRModule, features: Features, on_kernel: Callable[[], object] = lambda: None
) -> dict[str, Kernel]:
    """Schedule and print every PrimFunc of a module.

    Parameters
    ----------
    module : IRModule
        Of a `TrainingGraph`.
    features : Features
        Of the target.
    on_kernel : callable
        Called after each kernel, to show progress.

    Returns
    -------
    dict of str to Kernel
        By name, in the module's order.

    Raises
    ------
    UserError
        If a kernel does not fit L1.
    """
    global _work
    functions = {v.name_hint: f for v, f in module.functions.items() if isinstance(f, PrimFunc)}
    _work = (functions, features)
    kernels = {}
    for kernel in _made(list(functions)):
        kernels[kernel.name] = kernel
        on_kernel()
    _work = None
    return kernels


def _made(names: list[str]) -> Iterable[Kernel]:
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    if processors == 1 or len(names) <= FEW or multiprocessing.current_process().daemon:
        yield from map(_make, names)
        return
    with multiprocessing.get_context("fork").Pool(processors) as pool:
        yield from pool.imap(_make, names, chunksize=4)


def _make(name: str) -> Kernel:
    assert _work is not None
    functions, features = _work
    lowered = lower(functions[name], features)
    return Kernel(
        name=name,
        layer=str(lowered.attrs["pulp.layer"]),
        macs=int(lowered.attrs["pulp.macs"]),
        l1_bytes=int(lowered.attrs["pulp.l1_bytes"]),
        source=print_kernel(lowered, name),
        text=lowered.script(),
    )
