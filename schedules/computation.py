"""Read a PrimFunc of TE blocks as a list of stages, the form that the generic lowering works on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tvm_pulp.schedules.expressions import (
    children,
    is_heavy,
    loads,
    multiply_by_reciprocals,
    reads_buffer,
    rewrite,
    substitute,
)
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import (
    BlockRealize,
    Buffer,
    BufferLoad,
    BufferStore,
    Expr,
    For,
    IntImm,
    IterVar,
    PrimFunc,
    SeqStmt,
    Stmt,
    Var,
    arith,
    buffer_dtype,
    buffer_shape,
    const,
    expr_dtype,
)

_LARGEST_KEPT = 4096
"""Elements of an elementwise result that is kept rather than computed again at each use."""


_WIDE = ("int64", "uint64", "float64")


@dataclass(frozen=True)
class Axis:
    """One loop of a computation, from 0 to ``extent``."""

    var: Var
    extent: int


@dataclass(frozen=True)
class Computation:
    """One TE block: ``out[indices] = value`` for all spatial points, summed up over the reduction axes if
    any.

    In a reduction ``value`` reads ``out[indices]`` as the running result, and ``init`` is its first value.
    """

    name: str
    spatial: tuple[Axis, ...]
    reduction: tuple[Axis, ...]
    out: Buffer
    value: Expr
    init: Expr | None


@dataclass(frozen=True)
class Reduction:
    """A running result: starts as ``init``, becomes ``update`` (of ``accumulator``) at each point."""

    accumulator: Var
    init: Expr
    update: Expr


@dataclass(frozen=True)
class Store:
    """``out[indices of the spatial axes] = value``; later stores of the stage use the value as ``var``.

    ``kept`` is False where only later stores of the same stage read it.
    """

    out: Buffer
    var: Var
    value: Expr
    kept: bool = True


@dataclass(frozen=True)
class Stage:
    """Computations over the same spatial points, done together: reductions, then stores."""

    name: str
    spatial: tuple[Axis, ...]
    reduction: tuple[Axis, ...]
    reductions: tuple[Reduction, ...]
    stores: tuple[Store, ...]


@dataclass
class Program:
    """A PrimFunc as stages; ``intermediates`` are the buffers that pass from one stage to another."""

    parameters: tuple[Buffer, ...]
    stages: list[Stage]
    intermediates: list[Buffer] = field(default_factory=list)


def read_computations(function: PrimFunc) -> list[Computation]:
    """Read a PrimFunc made of TE blocks.

    Elementwise intermediate results are put into the expressions that use them.

    Raises
    ------
    UserError
        For a block that is not one store (an external or tuple-valued computation), or a type that the
        target lacks.
    """
    return inline_intermediates(read_blocks(function), tuple(function.params))


def read_blocks(function: PrimFunc) -> list[Computation]:
    """Read a PrimFunc made of TE blocks as it stands, a computation a block.

    Raises as `read_computations`.
    """
    for buffer in function.params:
        if buffer_dtype(buffer) in _WIDE:
            raise UserError(
                f"tensor '{buffer.name}' has type {buffer_dtype(buffer)}, which the cluster lacks: "
                "cast it to 32 bits"
            )
    return [_read_block(realize, function) for realize in _blocks(function.body)]


def _blocks(node: Stmt) -> list[BlockRealize]:
    if isinstance(node, BlockRealize):
        inner = _blocks(node.block.body)
        return inner or [node]
    if isinstance(node, For):
        return _blocks(node.body)
    if isinstance(node, SeqStmt):
        return [found for step in node.seq for found in _blocks(step)]
    return []


def _read_block(realize: BlockRealize, function: PrimFunc) -> Computation:
    block = realize.block
    name = str(block.name_hint)
    if not isinstance(block.body, BufferStore):
        raise UserError(
            f"kernel '{function.attrs.get('global_symbol', name)}': block '{name}' is not a single TE "
            "compute; write it as one"
        )
    analyzer = arith.Analyzer()
    variables: dict[Var, Expr] = {}
    spatial: list[Axis] = []
    reduction: list[Axis] = []
    for iteration in block.iter_vars:
        extent = int(iteration.dom.extent)
        if extent == 1:
            variables[iteration.var] = const(0, "int32")
            continue
        var = Var(_short(str(iteration.var.name)), "int32")
        variables[iteration.var] = var
        analyzer.update(var, arith.ConstIntBound(0, extent - 1), True)
        axis = Axis(var, extent)
        (reduction if iteration.iter_type == IterVar.CommReduce else spatial).append(axis)

    def narrow(node: Expr) -> Expr:
        node = rewrite(node, lambda part: variables.get(part) if isinstance(part, Var) else None)
        return simplify_indices(multiply_by_reciprocals(node), analyzer)

    store = block.body
    for part in (store.value, *([] if block.init is None else [block.init.value])):
        _refuse_wide(part, name, function)
    out = store.buffer
    indices = [narrow(index) for index in store.indices]
    _check_store(name, out, indices, spatial)
    init = narrow(block.init.value) if block.init is not None else None
    value = narrow(store.value)
    if init is not None and not reduction:  # all axes of the sum have extent 1: one update of the first value
        value = rewrite(value, lambda part: init if _reads(part, out) else None)
        init = None
    return Computation(name, tuple(spatial), tuple(reduction), out, value, init)


def _refuse_wide(node: Expr, name: str, function: PrimFunc) -> None:
    """Refuse data computed in 64 bits. Index arithmetic in 64 bits is narrowed, which changes nothing."""
    wide = expr_dtype(node)
    if wide in _WIDE and (loads(node) or (isinstance(node, IntImm) and not -(2**31) <= node.value < 2**31)):
        raise UserError(
            f"kernel '{function.attrs.get('global_symbol', name)}': block '{name}' computes in {wide}, which "
            "the cluster lacks: compute in 32 bits, or call a function of pulp_math.h (pulp_requantize, say)"
        )
    if not isinstance(node, BufferLoad):
        for child in children(node):
            _refuse_wide(child, name, function)


def _reads(part: Expr, buffer: Buffer) -> bool:
    return isinstance(part, BufferLoad) and bool(part.source.same_as(buffer))


def _short(name: str) -> str:
    """Drop the ``v_`` that TE puts before an axis's name."""
    return name[2:] if name.startswith("v_") and len(name) > 2 else name


def _check_store(name: str, out: Buffer, indices: list[Expr], spatial: list[Axis]) -> None:
    """TE stores to its axes in order; an axis of extent 1 has become the index 0."""
    variables = [axis.var for axis in spatial]
    used = [index for index in indices if not isinstance(index, IntImm)]
    extents = tuple(axis.extent for axis in spatial)
    if tuple(e for e in buffer_shape(out) if e != 1) != extents or not all(
        isinstance(index, Var) and index.same_as(var) for index, var in zip(used, variables, strict=True)
    ):
        raise UserError(f"block '{name}' does not store to '{out.name}' in the order of its axes")


def simplify_indices(node: Expr, analyzer: arith.Analyzer) -> Expr:
    """Simplify index arithmetic and conditions, leaving float arithmetic as it is written."""

    def replace(part: Expr) -> Expr | None:
        if isinstance(part, BufferLoad):
            return None
        if expr_dtype(part) in ("int32", "bool") and not loads(part):
            return analyzer.simplify(part)
        return None

    return rewrite(node, replace)


def inline_intermediates(
    computations: list[Computation], parameters: tuple[Buffer, ...]
) -> list[Computation]:
    """Put elementwise intermediate results into the expressions that use them."""
    result: list[Computation] = []
    pending = list(computations)
    while pending:
        first = pending.pop(0)
        is_parameter = any(first.out.same_as(buffer) for buffer in parameters)
        kept = first.reduction or _is_worth_keeping(first, pending)
        if is_parameter or kept or not _sources_stay(first, pending):
            result.append(first)
            continue
        axes = iter(first.spatial)
        names = [next(axes).var if extent != 1 else None for extent in buffer_shape(first.out)]
        pending = [_inline_into(consumer, first, names) for consumer in pending]
    return result


def _is_worth_keeping(computation: Computation, later: list[Computation]) -> bool:
    """Tell whether a result is dear and used often: a quotient a channel, say, that all pixels use."""
    if not is_heavy(computation.value):
        return False
    points = _points(computation)
    uses = sum(_points(consumer) for consumer in later if reads_buffer(consumer.value, computation.out))
    return points <= _LARGEST_KEPT and uses >= 2 * points


def _points(computation: Computation) -> int:
    return math.prod(axis.extent for axis in computation.spatial + computation.reduction)


def _sources_stay(computation: Computation, later: list[Computation]) -> bool:
    """Tell whether nothing that a computation reads is overwritten while it is still used."""
    sources = [access.source for access in loads(computation.value)]
    last_use = max((i for i, c in enumerate(later) if reads_buffer(c.value, computation.out)), default=-1)
    return not any(c.out.same_as(source) for c in later[: last_use + 1] for source in sources)


def _inline_into(consumer: Computation, producer: Computation, names: list[Var | None]) -> Computation:
    if not reads_buffer(consumer.value, producer.out):
        return consumer
    analyzer = arith.Analyzer()
    for axis in consumer.spatial + consumer.reduction:
        analyzer.update(axis.var, arith.ConstIntBound(0, axis.extent - 1), True)

    def replace(part: Expr) -> Expr | None:
        if isinstance(part, BufferLoad) and part.source.same_as(producer.out):
            indices = [rewrite(index, replace) for index in part.indices]
            values = {var: index for var, index in zip(names, indices, strict=True) if var is not None}
            return substitute(producer.value, values)
        return None

    value = simplify_indices(rewrite(consumer.value, replace), analyzer)
    return Computation(
        consumer.name, consumer.spatial, consumer.reduction, consumer.out, value, consumer.init
    )
