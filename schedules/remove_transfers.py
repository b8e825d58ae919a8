"""Put tensors that live in L1 in the place of their L1 copies, and drop the transfers between the two.

Where a tensor's tile is the whole tensor, its L1 buffer is the tensor itself, element by element.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from tvm_pulp.schedules.dialect import ALIGNMENT, TO_L2, as_int, ceil_div, parallel, parts_of, sequence
from tvm_pulp.schedules.expressions import rewrite
from tvm_pulp.target.expressions import call_name
from tvm_pulp.target.tvm_names import (
    AllocBuffer,
    AttrStmt,
    Bind,
    Buffer,
    BufferLoad,
    BufferStore,
    Call,
    Evaluate,
    Expr,
    For,
    IfThenElse,
    PrimFunc,
    SeqStmt,
    Stmt,
    Var,
    address_of,
    buffer_dtype,
    buffer_shape,
    dtype_bytes,
    load,
)

_STARTS = ("dma_start_1d", "dma_start_2d")


def tensor_bytes(parameter: Buffer) -> int:
    """Return the bytes of a tensor."""
    return math.prod(buffer_shape(parameter)) * dtype_bytes(buffer_dtype(parameter))


def remove_transfers(function: PrimFunc, resident: Collection[int]) -> PrimFunc | None:
    """Put tensors in the place of their L1 copies.

    A tensor that is only read keeps its values: an L1 buffer that another tensor leaves from cannot stand for
    it. Where a result's L1 buffer holds more than the result (partial sums), workers copy the result.

    Parameters
    ----------
    function
        In the cluster dialect.
    resident
        Numbers of the parameters that live in L1.

    Returns
    -------
    PrimFunc or None
        None where a transfer moves only a part of such a tensor, or a kernel works in place on the L1 copy of
        one for the results of another.
    """
    tensors = [function.params[number] for number in resident]
    copies: dict[Buffer, Buffer] = {}  # L1 buffer → tensor
    stores: list[tuple[Buffer, Buffer]] = []  # L1 buffer, tensor
    for call in _calls(function.body, _STARTS):
        l1, l2 = (argument.args[0] for argument in call.args[2:4])
        if as_int(call.args[-1]) == TO_L2:
            stores.append((l1.source, l2.source))
        tensor = next((t for t in tensors if t.same_as(l2.source)), None)
        if tensor is None:
            continue
        if _aligned_bytes(l1.source) > _aligned_bytes(tensor):
            if not _moves_all(call, l1, l2, tensor) or as_int(call.args[-1]) != TO_L2:
                return None
            continue
        if not _moves_all(call, l1, l2, tensor) or not copies.get(l1.source, tensor).same_as(tensor):
            return None
        copies[l1.source] = tensor
    if any(l1 in copies and not copies[l1].same_as(tensor) for l1, tensor in stores):
        return None
    body = _Remover(copies, tensors).statement(function.body)
    used = {_slot(call) for call in _calls(body, _STARTS)}
    if None not in used:
        body = _without_waits(body, used)
    body = _without_outer_barriers(body)
    offsets = {str(name): int(offset) for name, offset in function.attrs["pulp.l1_offsets"].items()}
    placed, peak = _compact(_allocations(function.body), offsets, {str(b.name) for b in copies})
    return PrimFunc(list(function.params), body).with_attrs(
        {
            **dict(function.attrs.items()),
            "pulp.l1_offsets": placed,
            "pulp.l1_bytes": peak,
            "pulp.notes": [*function.attrs.get("pulp.notes", ()), in_l1_note(tensors)],
        }
    )


def in_l1_note(tensors: Sequence[Buffer]) -> str:
    """Return what the comment of a kernel says of the tensors that live in L1."""
    return f"in L1 before and after: {', '.join(str(tensor.name) for tensor in tensors)}"


def transferred(function: PrimFunc) -> list[int]:
    """Return the numbers of the parameters that a function in the cluster dialect transfers.

    Workers access the others where they are.
    """
    moved = [call.args[3].args[0].source for call in _calls(function.body, _STARTS)]
    return [n for n, parameter in enumerate(function.params) if any(b.same_as(parameter) for b in moved)]


def _moves_all(call: Expr, l1: Expr, l2: Expr, tensor: Buffer) -> bool:
    """Tell whether a transfer moves a whole tensor from or to the start of its L1 buffer."""
    starts = [as_int(place.indices[0]) for place in (l1, l2)]
    one_line = _extern_name(call) == "dma_start_1d"
    return one_line and starts == [0, 0] and as_int(call.args[4]) == tensor_bytes(tensor)


def _aligned_bytes(buffer: Buffer) -> int:
    return ceil_div(tensor_bytes(buffer), ALIGNMENT) * ALIGNMENT


def _extern_name(value: Expr) -> str | None:
    if isinstance(value, Call) and call_name(value) in ("call_extern", "call_pure_extern"):
        return str(value.args[0].value)
    return None


def _calls(node: Stmt, names: Sequence[str]) -> Iterator[Expr]:
    if isinstance(node, Evaluate) and _extern_name(node.value) in names:
        yield node.value
    for part in parts_of(node):
        yield from _calls(part, names)


def _slot(call: Expr) -> int | None:
    return as_int(call.args[1])


def _is_nothing(node: Stmt) -> bool:
    return isinstance(node, Evaluate) and as_int(node.value) is not None


class _Remover:
    """Rebuilds statements without the transfers of some L1 buffers, which tensors stand for.

    Other transfers of the ``tensors`` become copies by the workers.
    """

    def __init__(self, copies: dict[Buffer, Buffer], tensors: Sequence[Buffer]) -> None:
        self.copies = copies
        self.tensors = tensors

    def expression(self, node: Expr) -> Expr:
        def replace(part: Expr) -> Expr | None:
            if isinstance(part, Call) and call_name(part) == "address_of":
                return address_of(self.expression(part.args[0]))
            if isinstance(part, BufferLoad) and part.source in self.copies:
                return load(self.copies[part.source], [self.expression(i) for i in part.indices])
            return None

        return rewrite(node, replace)

    def statement(self, node: Stmt) -> Stmt:
        if isinstance(node, SeqStmt):
            steps = [self.statement(step) for step in node.seq]
            return sequence([step for step in steps if not _is_nothing(step)])
        if isinstance(node, For):
            body = self.statement(node.body)
            if _is_nothing(body):
                return body
            return For(node.loop_var, node.min, node.extent, node.kind, body, annotations=node.annotations)
        if isinstance(node, AttrStmt):
            return AttrStmt(node.node, node.attr_key, node.value, self.statement(node.body))
        if isinstance(node, IfThenElse):
            then_case = self.statement(node.then_case)
            else_case = None if node.else_case is None else self.statement(node.else_case)
            if _is_nothing(then_case) and else_case is None:
                return then_case
            return IfThenElse(node.condition, then_case, else_case)
        if isinstance(node, AllocBuffer):
            return sequence() if node.buffer in self.copies else node
        if isinstance(node, BufferStore):
            buffer = self.copies.get(node.buffer, node.buffer)
            return BufferStore(
                buffer, self.expression(node.value), [self.expression(i) for i in node.indices]
            )
        if isinstance(node, Bind):
            return Bind(node.var, self.expression(node.value))
        if isinstance(node, Evaluate):
            if _extern_name(node.value) in _STARTS:
                l1, l2 = (node.value.args[n].args[0].source for n in (2, 3))
                if l1 in self.copies:
                    return sequence()
                if any(tensor.same_as(l2) for tensor in self.tensors):
                    return _copy(l1, l2)
            return Evaluate(self.expression(node.value))
        raise ValueError(f"no statement of the cluster dialect: {type(node).__name__}")


def _copy(source: Buffer, tensor: Buffer) -> Stmt:
    """Return a loop in which the workers copy the first elements of a buffer to a tensor."""
    element = Var("element", "int32")
    body = BufferStore(tensor, load(source, [element]), [element])
    return parallel(element, math.prod(buffer_shape(tensor)), body)


def _without_waits(node: Stmt, used: Collection[Any]) -> Stmt:
    """Drop the waits for slots that carry nothing."""
    if isinstance(node, SeqStmt):
        steps = [_without_waits(step, used) for step in node.seq]
        return sequence([step for step in steps if not _is_nothing(step)])
    if isinstance(node, AttrStmt):
        return AttrStmt(node.node, node.attr_key, node.value, _without_waits(node.body, used))
    if isinstance(node, For):
        body = _without_waits(node.body, used)
        return For(node.loop_var, node.min, node.extent, node.kind, body, annotations=node.annotations)
    if isinstance(node, Evaluate) and _extern_name(node.value) == "dma_wait":
        slot = _slot(node.value)
        return sequence() if (slot is not None and slot not in used) or not used else node
    return node


def _without_outer_barriers(node: Stmt) -> Stmt:
    """Drop the barriers at the start and the end: workers are in step on entry and a barrier follows."""
    if isinstance(node, AttrStmt):
        return AttrStmt(node.node, node.attr_key, node.value, _without_outer_barriers(node.body))
    if not isinstance(node, SeqStmt):
        return node
    steps = list(node.seq)
    first = next((i for i, step in enumerate(steps) if not isinstance(step, AllocBuffer)), len(steps))
    while first < len(steps) and _is_barrier(steps[first]):
        del steps[first]
    while steps and _is_barrier(steps[-1]):
        del steps[-1]
    return sequence(steps)


def _is_barrier(node: Stmt) -> bool:
    return isinstance(node, Evaluate) and _extern_name(node.value) == "cluster_barrier"


def _allocations(node: Stmt) -> Iterator[Buffer]:
    if isinstance(node, AllocBuffer):
        yield node.buffer
    for part in parts_of(node):
        yield from _allocations(part)


def _compact(
    buffers: Iterable[Buffer], offsets: dict[str, int], removed: Collection[str]
) -> tuple[dict[str, int], int]:
    """Close the gaps that buffers leave; buffers may share memory one after the other.

    Returns
    -------
    offsets
        Of the buffers that stay.
    bytes
        That they need in all.
    """
    kept: list[list[int]] = []
    intervals = []
    for buffer in buffers:
        if str(buffer.name) in offsets and str(buffer.name) not in removed:
            start = offsets[str(buffer.name)]
            intervals.append((start, start + _aligned_bytes(buffer)))
    for start, end in sorted(intervals):
        if kept and start <= kept[-1][1]:
            kept[-1][1] = max(kept[-1][1], end)
        else:
            kept.append([start, end])

    def below(offset: int) -> int:
        return sum(min(end, offset) - start for start, end in kept if start < offset)

    return {n: below(at) for n, at in offsets.items() if n not in removed}, sum(
        end - start for start, end in kept
    )
