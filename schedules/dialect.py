"""Constructors for the cluster dialect: loops, L1 buffers, DMA transfers and barriers as TIR statements."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tvm_pulp.target.tvm_names import (
    AllocBuffer,
    AttrStmt,
    Bind,
    Buffer,
    BufferStore,
    Evaluate,
    Expr,
    For,
    ForKind,
    IfThenElse,
    IntImm,
    PrimFunc,
    SeqStmt,
    Stmt,
    StringImm,
    Var,
    address_of,
    buffer_dtype,
    buffer_shape,
    call_extern,
    const,
    decl_buffer,
    dtype_bytes,
    load,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ALIGNMENT = 16
"""L1 buffers start at multiples of this many bytes."""

TO_L1, TO_L2 = 1, 0
"""Directions of a transfer."""


def index(value: int | Expr) -> Expr:
    """Return an int32 expression for an integer."""
    return const(value, "int32") if isinstance(value, int) else value


def sequence(*steps: Stmt | Iterable[Stmt] | None) -> Stmt:
    """Join statements; None is left out."""
    flat: list[Stmt] = []
    for step in steps:
        if step is None:
            continue
        if isinstance(step, Stmt):
            flat.append(step)
        else:
            flat.extend(step)
    if not flat:
        return Evaluate(const(0, "int32"))
    return flat[0] if len(flat) == 1 else SeqStmt(flat)


def parts_of(node: Stmt) -> list[Stmt]:
    """Return the statements inside a statement."""
    if isinstance(node, SeqStmt):
        return list(node.seq)
    if isinstance(node, For | AttrStmt):
        return [node.body]
    if isinstance(node, IfThenElse):
        return [node.then_case] if node.else_case is None else [node.then_case, node.else_case]
    return []


def serial(variable: Var, extent: int | Expr, body: Stmt) -> Stmt:
    """Return a loop that every worker that reaches it runs in full."""
    return For(variable, index(0), index(extent), ForKind.SERIAL, body)


def parallel(variable: Var, extent: int | Expr, body: Stmt) -> Stmt:
    """Return a loop whose iterations are shared out over the workers."""
    return For(variable, index(0), index(extent), ForKind.PARALLEL, body)


def when(condition: Expr, body: Stmt, otherwise: Stmt | None = None) -> Stmt:
    """Return a branch."""
    return IfThenElse(condition, body, otherwise)


def bind(name: str, value: Expr, dtype: str = "int32") -> tuple[Var, Stmt]:
    """Return a new variable and the statement that gives it its value."""
    variable = Var(name, dtype)
    return variable, Bind(variable, value)


def store(buffer: Buffer, value: Expr, indices: Sequence[int | Expr]) -> Stmt:
    """Return a store of one element."""
    return BufferStore(buffer, value, [index(i) for i in indices])


def element(buffer: Buffer, offset: int | Expr) -> Expr:
    """Return a read of one element of a buffer of one dimension."""
    return load(buffer, [index(offset)])


def barrier() -> Stmt:
    """Return a barrier of all workers."""
    return Evaluate(call_extern("int32", "cluster_barrier"))


def dma_wait(slot: int | Expr) -> Stmt:
    """Return a wait for all transfers of a slot."""
    return Evaluate(call_extern("int32", "dma_wait", index(slot)))


def dma_1d(
    slot: int | Expr,
    l1: Buffer,
    l1_offset: int | Expr,
    l2: Buffer,
    l2_offset: int | Expr,
    size: int | Expr,
    direction: int,
) -> Stmt:
    """Return the start of a transfer of ``size`` contiguous bytes; offsets count elements of flat buffers."""
    return Evaluate(
        call_extern(
            "int32", "dma_start_1d", index(slot), address_of(element(l1, l1_offset)),
            address_of(element(l2, l2_offset)), index(size), index(direction),
        )
    )  # fmt: skip


def dma_2d(
    slot: int | Expr, l1: Buffer, l1_offset: int | Expr, l2: Buffer, l2_offset: int | Expr, size: int | Expr,
    stride: int | Expr, line: int | Expr, direction: int,
) -> Stmt:  # fmt: skip
    """Return the start of a transfer of ``size`` bytes, L2 in lines of ``line`` bytes ``stride`` apart."""
    return Evaluate(
        call_extern(
            "int32", "dma_start_2d", index(slot), address_of(element(l1, l1_offset)),
            address_of(element(l2, l2_offset)), index(size), index(stride), index(line), index(direction),
        )
    )  # fmt: skip


def scope(comment: str, body: Stmt) -> Stmt:
    """Return a named scope: printed as a comment and braces."""
    return AttrStmt(const(0, "int32"), "pulp.scope", StringImm(comment), body)


def flat_argument(parameter: Buffer) -> Buffer:
    """Return a buffer of one dimension for a parameter of the original function."""
    return decl_buffer(
        (math.prod(buffer_shape(parameter)),), buffer_dtype(parameter), name=str(parameter.name)
    )


def kernel_function(
    function: PrimFunc,
    arguments: list[Buffer],
    body: Stmt,
    l1: L1Allocator,
    cores: int,
    attributes: Mapping[str, Any],
) -> PrimFunc:
    """Return the lowered form of ``function``, with its attributes and those that the printer reads."""
    kept = {str(key): value for key, value in function.attrs.items() if str(key).startswith("pulp.")}
    shapes = [
        f"{p.name} {'x'.join(map(str, buffer_shape(p))) or 'scalar'} {buffer_dtype(p)}"
        for p in function.params
    ]
    own = {
        "global_symbol": str(function.attrs.get("global_symbol", "kernel")),
        "pulp.l1_bytes": l1.peak,
        "pulp.l1_offsets": l1.offsets,
        "pulp.l1_sizes": l1.sizes,
        "pulp.cores": cores,
        "pulp.arguments": shapes,
    }
    return PrimFunc(arguments, body).with_attrs({**kept, **own, **attributes})


def ceil_div(value: int, divisor: int) -> int:
    """Divide and round up."""
    return -(-value // divisor)


def aligned(elements: int, item: int = 1) -> int:
    """Round elements of ``item`` bytes up to where the next copy of a buffer may start."""
    return ceil_div(elements * item, ALIGNMENT) * ALIGNMENT // item


def as_int(value: int | Expr) -> int | None:
    """Return the value of a constant, None for anything else."""
    if isinstance(value, int):
        return value
    return int(value.value) if isinstance(value, IntImm) else None


class L1Allocator:
    """Places L1 buffers at fixed offsets; what is allocated inside ``reuse()`` is given back at its end."""

    def __init__(self) -> None:
        self.offsets: dict[str, int] = {}
        self.sizes: dict[str, int] = {}  # in bytes
        self.top = 0
        self.peak = 0

    def allocate(self, name: str, elements: int, dtype: str) -> tuple[Buffer, Stmt]:
        """Return a flat L1 buffer and the statement that declares it.

        Parameters
        ----------
        name
            The wished name; a number is added where it is taken.
        elements
            Number of elements.
        dtype
            Their type.
        """
        unique, number = name, 1
        while unique in self.offsets:
            unique, number = f"{name}_{number}", number + 1
        self.offsets[unique] = self.top
        self.sizes[unique] = elements * dtype_bytes(dtype)
        self.top += ceil_div(self.sizes[unique], ALIGNMENT) * ALIGNMENT
        self.peak = max(self.peak, self.top)
        buffer = decl_buffer((elements,), dtype, name=unique, scope="global.l1")
        return buffer, AllocBuffer(buffer)

    @contextmanager
    def reuse(self) -> Iterator[None]:
        """Give back at the end what was allocated inside."""
        top = self.top
        yield
        self.top = top
