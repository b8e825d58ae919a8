"""Put kernels into one PrimFunc: the blocks of the first, then those of the next that reads its results."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from tvm import ir

from tvm_pulp.target.tvm_names import (
    Block,
    BlockRealize,
    Buffer,
    PrimFunc,
    SeqStmt,
    Stmt,
    buffer_dtype,
    buffer_shape,
    const,
    decl_buffer,
)


def compose_kernels(
    kernels: Sequence[tuple[PrimFunc, Sequence[Hashable]]],
    parameters: Sequence[Hashable],
    attributes: Mapping[str, Any],
) -> PrimFunc:
    """Make one kernel of several that run one after the other.

    Parameters
    ----------
    kernels
        PrimFuncs as `make_kernel` yields them, in order, and for each the tensors that its buffers hold: keys
        of any kind. Buffers of one tensor become one buffer, so they must have the same shape.
    parameters
        The tensors that are arguments and results of the new kernel, in order. The others are intermediate
        results, which exist inside it only.
    attributes
        To be set beside those of the last kernel.

    Returns
    -------
    PrimFunc
        The blocks of all kernels in order. Its buffers bear the names that they had, made unique.
    """
    made: dict[Hashable, Buffer] = {}
    old: dict[Buffer, Buffer] = {}
    inside: list[Buffer] = []
    steps: list[Stmt] = []
    taken: set[str] = set()
    for function, tensors in kernels:
        if any(buffer in old for buffer in function.params):  # the same kernel again
            function = ir.load_json(ir.save_json(function))
        for buffer, tensor in zip(function.params, tensors, strict=True):
            if tensor not in made:
                name = _unused(str(buffer.name), taken)
                made[tensor] = decl_buffer(buffer_shape(buffer), buffer_dtype(buffer), name=name)
            old[buffer] = made[tensor]
        root = function.body.block
        inside += list(root.alloc_buffers)
        steps += list(root.body.seq) if isinstance(root.body, SeqStmt) else [root.body]
    # `specialize` puts one parameter in the place of another, so all are parameters for a moment
    joined = PrimFunc([*made.values(), *old], _root(steps, inside)).specialize(old)
    root = joined.body.block
    inside = [*root.alloc_buffers, *(b for tensor, b in made.items() if tensor not in parameters)]
    last = dict(kernels[-1][0].attrs.items())
    body = _root(list(root.body.seq), inside)
    return PrimFunc([made[tensor] for tensor in parameters], body).with_attrs({**last, **attributes})


def _root(steps: Sequence[Stmt], inside: Sequence[Buffer]) -> BlockRealize:
    block = Block([], [], [], "root", SeqStmt(list(steps)), alloc_buffers=list(inside))
    return BlockRealize([], const(True, "bool"), block)


def _unused(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate
