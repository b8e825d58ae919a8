"""Schedule and print all kernels of a graph, on all processors of the host."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from tvm import IRModule
from tvm_ffi import structural_equal, structural_hash

from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.remove_transfers import transferred
from tvm_pulp.schedules.resident import resident_bytes
from tvm_pulp.schedules.tile_loop import tile_count
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.features import Features
from tvm_pulp.target.kernel import Kernel
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.tvm_names import PrimFunc

FEW = 16  # kernels that are not worth another process
PERSONAL = ("global_symbol", "pulp.layer")  # attributes in which functions of one shape differ

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
    for made in _made(alike(functions)):
        for kernel in made:
            kernels[kernel.name] = kernel
            on_kernel()
    _work = None
    return {name: kernels[name] for name in functions}


def alike(functions: Mapping[str, PrimFunc]) -> list[list[str]]:
    """Group functions that differ in name and layer only: layers of one shape are scheduled once.

    Parameters
    ----------
    functions : mapping of str to PrimFunc
        By name.

    Returns
    -------
    list of list of str
        Names of each group.
    """
    groups: dict[int, list[tuple[PrimFunc, list[str]]]] = {}
    for name, function in functions.items():
        bare = function
        for attribute in PERSONAL:
            bare = bare.without_attr(attribute)
        candidates = groups.setdefault(structural_hash(bare), [])
        names = next((names for other, names in candidates if structural_equal(other, bare)), None)
        if names is None:
            candidates.append((bare, [name]))
        else:
            names.append(name)
    return [names for candidates in groups.values() for _, names in candidates]


def _made(groups: list[list[str]]) -> Iterable[list[Kernel]]:
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    if processors == 1 or len(groups) <= FEW or multiprocessing.current_process().daemon:
        yield from map(_make, groups)
        return
    with multiprocessing.get_context("fork").Pool(processors) as pool:
        yield from pool.imap(_make, groups, chunksize=2)


def _make(names: list[str]) -> list[Kernel]:
    """Schedule the first function and print it under the name and layer of each."""
    assert _work is not None
    functions, features = _work
    lowered = lower(functions[names[0]], features)
    in_l1 = _on_tensors_in_l1(functions[names[0]], lowered, features)
    kernels = []
    for name in names:
        attributes = {key: functions[name].attrs[key] for key in PERSONAL if key in functions[name].attrs}
        kernel = _kernel(name, lowered.with_attrs(attributes))
        if in_l1 is not None:
            kernel = replace(kernel, in_l1=_kernel(f"{name}_in_l1", in_l1.with_attrs(attributes)))
        kernels.append(kernel)
    return kernels


def _on_tensors_in_l1(function: PrimFunc, lowered: PrimFunc, features: Features) -> PrimFunc | None:
    """Return the function on tensors in L1 where it transfers them now; None where the schedule cannot."""
    moved = [str(function.params[number].name) for number in transferred(lowered)]
    bytes_ = resident_bytes(function, transferred(lowered))
    if not moved or bytes_ > features.kernel_l1_bytes:
        return None
    try:
        in_l1 = lower(function, features, moved)
    except UserError:  # nor can the generic lowering
        return None
    same = in_l1.attrs["pulp.schedule"] == lowered.attrs["pulp.schedule"]
    return in_l1 if same and not transferred(in_l1) else None


def l1_buffers(lowered: PrimFunc) -> dict[str, tuple[int, int]]:
    """Return the buffers in a lowered function's scratch: offset and size in bytes."""
    offsets, sizes = lowered.attrs["pulp.l1_offsets"], lowered.attrs["pulp.l1_sizes"]
    return {str(name): (int(offset), int(sizes[name])) for name, offset in offsets.items()}


def _kernel(name: str, lowered: PrimFunc) -> Kernel:
    moved = transferred(lowered)
    return Kernel(
        name=name,
        layer=str(lowered.attrs["pulp.layer"]),
        macs=int(lowered.attrs["pulp.macs"]),
        l1_bytes=int(lowered.attrs["pulp.l1_bytes"]),
        source=print_kernel(lowered, name),
        text=lowered.script(),
        l1_buffers=l1_buffers(lowered),
        moved=tuple(number in moved for number in range(len(lowered.params))),
        tiles=tile_count(lowered.body),
    )
