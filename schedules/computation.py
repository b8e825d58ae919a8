"""Read a PrimFunc of TE blocks as a list of stages, the form that the generic lowering works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tvm_pulp.schedules.expressions import (
    is_identity_access,
    loads,
    multiply_by_reciprocals,
    reads_buffer,
    rewrite,
    same,
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


@dataclass(frozen=True)
class Axis:
    """One loop of a computation, from 0 to ``extent``."""

    var: Var
    extent: int


@dataclass(frozen=True)
class Computation:
    """One TE block: ``out[indices] = value`` for all spatial points, summed up over the reduction axes if any.

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
    """A running result: starts as ``init``, becomes ``update`` (which uses ``accumulator``) for each point."""

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


def read_program(function: PrimFunc) -> Program:
    """Read a PrimFunc made of TE blocks.

    Elementwise intermediate results are computed again where they are used; what remains between stages is in
    ``intermediates``.

    Raises
    ------
    UserError
        For a block that is not one store (an external or tuple-valued computation), or a type that the target lacks.
    """
    parameters = tuple(function.params)
    for buffer in parameters:
        if buffer_dtype(buffer) in ("int64", "float64", "uint64"):
            raise UserError(
                f"tensor '{buffer.name}' has type {buffer_dtype(buffer)}, which the cluster lacks: cast it to 32 bits"
            )
    computations = [_read_block(realize, function) for realize in _blocks(function.body)]
    computations = _inline(computations, parameters)
    stages = _group(computations, parameters)
    return _drop_private_stores(Program(parameters, stages))


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
            f"kernel '{function.attrs.get('global_symbol', name)}': block '{name}' is not a single TE compute; "
            "write it as one"
        )
    analyzer = arith.Analyzer()
    variables: dict[Var, Expr] = {}
    spatial, reduction = [], []
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
    out = store.buffer
    indices = [narrow(index) for index in store.indices]
    _check_store(name, out, indices, spatial)
    init = narrow(block.init.value) if block.init is not None else None
    return Computation(name, tuple(spatial), tuple(reduction), out, narrow(store.value), init)


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


def _inline(computations: list[Computation], parameters: tuple[Buffer, ...]) -> list[Computation]:
    """Put elementwise intermediate results into the expressions that use them."""
    result: list[Computation] = []
    pending = list(computations)
    while pending:
        first = pending.pop(0)
        is_parameter = any(first.out.same_as(buffer) for buffer in parameters)
        if is_parameter or first.reduction or not _sources_stay(first, pending):
            result.append(first)
            continue
        axes = iter(first.spatial)
        names = [next(axes).var if extent != 1 else None for extent in buffer_shape(first.out)]
        pending = [_inline_into(consumer, first, names) for consumer in pending]
    return result


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


def _group(computations: list[Computation], parameters: tuple[Buffer, ...]) -> list[Stage]:
    stages: list[Stage] = []
    for computation in computations:
        joined = _join(stages[-1], computation) if stages else None
        if joined is not None:
            stages[-1] = joined
        else:
            stages.append(_start(computation))
    return stages


def _accumulate(computation: Computation) -> tuple[Reduction, Expr]:
    """Return a reduction with the reads of its own result replaced by a variable."""
    accumulator = Var("sum", buffer_dtype(computation.out))
    spatial = [axis.var for axis in computation.spatial]

    def replace(part: Expr) -> Expr | None:
        if isinstance(part, BufferLoad) and part.source.same_as(computation.out):
            if not _identity(part, spatial):
                raise UserError(f"block '{computation.name}' reads its own result at another position")
            return accumulator
        return None

    if computation.init is None:
        raise UserError(f"block '{computation.name}' is a reduction without a first value")
    return Reduction(accumulator, computation.init, rewrite(computation.value, replace)), accumulator


def _identity(access: Expr, axes: list[Var]) -> bool:
    """Tell whether a read is at the stage's own point; axes of extent 1 have index 0 and are skipped."""
    indices = [
        index
        for index, extent in zip(access.indices, buffer_shape(access.source), strict=True)
        if extent != 1
    ]
    return len(indices) == len(axes) and all(
        same(index, axis) for index, axis in zip(indices, axes, strict=True)
    )


def _start(computation: Computation) -> Stage:
    var = Var("result", buffer_dtype(computation.out))
    if computation.reduction:
        reduction, value = _accumulate(computation)
        reductions: tuple[Reduction, ...] = (reduction,)
    else:
        reductions, value = (), computation.value
        _check_in_place(computation)
    stores = (Store(computation.out, var, value),)
    return Stage(computation.name, computation.spatial, computation.reduction, reductions, stores)


def _check_in_place(computation: Computation) -> None:
    spatial = [axis.var for axis in computation.spatial]
    for access in loads(computation.value):
        if access.source.same_as(computation.out) and not _identity(access, spatial):
            raise UserError(
                f"block '{computation.name}' overwrites '{computation.out.name}' and reads it at other positions: "
                "give the result its own tensor"
            )


def _join(stage: Stage, computation: Computation) -> Stage | None:
    """Add a computation to the stage before it, or return None where that would change the result."""
    extents = tuple(axis.extent for axis in stage.spatial)
    if tuple(axis.extent for axis in computation.spatial) != extents:
        return None
    if any(store.out.same_as(computation.out) for store in stage.stores):
        return None
    spatial = [axis.var for axis in stage.spatial]
    renamed: dict[Var, Expr] = {axis.var: var for axis, var in zip(computation.spatial, spatial, strict=True)}
    # what the stage still reads at other positions must not be overwritten
    for expression in [r.update for r in stage.reductions] + [s.value for s in stage.stores]:
        for access in loads(expression):
            if access.source.same_as(computation.out) and (not _identity(access, spatial) or stage.reduction):
                return None
    if computation.reduction:
        return _join_reduction(stage, computation, renamed)
    value = substitute(computation.value, renamed)
    forwarded = _forward(stage, value, spatial)
    if forwarded is None:
        return None
    if any(a.source.same_as(computation.out) and not _identity(a, spatial) for a in loads(forwarded)):
        return None
    store = Store(computation.out, Var("result", buffer_dtype(computation.out)), forwarded)
    name = stage.name if stage.reduction else computation.name
    return Stage(name, stage.spatial, stage.reduction, stage.reductions, (*stage.stores, store))


def _forward(stage: Stage, value: Expr, spatial: list[Var]) -> Expr | None:
    """Replace reads of the stage's results by their values; None where one is read at another position."""
    failed = False

    def replace(part: Expr) -> Expr | None:
        nonlocal failed
        if isinstance(part, BufferLoad):
            for store in reversed(stage.stores):
                if store.out.same_as(part.source):
                    failed = failed or not _identity(part, spatial)
                    return store.var
        return None

    result = rewrite(value, replace)
    return None if failed else result


def _join_reduction(stage: Stage, computation: Computation, renamed: Mapping[Var, Expr]) -> Stage | None:
    """Two reductions over the same points share one pass over the data."""
    extents = tuple(axis.extent for axis in computation.reduction)
    if not stage.reduction or tuple(axis.extent for axis in stage.reduction) != extents:
        return None
    if any(reads_buffer(computation.value, store.out) for store in stage.stores):
        return None
    values = dict(renamed)
    for mine, theirs in zip(stage.reduction, computation.reduction, strict=True):
        values[theirs.var] = mine.var
    reduction, accumulator = _accumulate(computation)
    reduction = Reduction(reduction.accumulator, reduction.init, substitute(reduction.update, values))
    store = Store(computation.out, Var("result", buffer_dtype(computation.out)), accumulator)
    return Stage(
        stage.name, stage.spatial, stage.reduction, (*stage.reductions, reduction), (*stage.stores, store)
    )


def _drop_private_stores(program: Program) -> Program:
    """Find the results that no other stage reads, and those that must be kept between stages."""
    stages = []
    for position, stage in enumerate(program.stages):
        stores = []
        for store in stage.stores:
            if any(store.out.same_as(parameter) for parameter in program.parameters):
                stores.append(store)
                continue
            later = [
                expression
                for other in program.stages[position + 1 :]
                for expression in [r.update for r in other.reductions] + [s.value for s in other.stores]
            ]
            kept = any(reads_buffer(expression, store.out) for expression in later)
            stores.append(Store(store.out, store.var, store.value, kept))
            if kept:
                program.intermediates.append(store.out)
        stages.append(Stage(stage.name, stage.spatial, stage.reduction, stage.reductions, tuple(stores)))
    program.stages = stages
    return program


__all__ = ["Axis", "Computation", "Program", "Reduction", "Stage", "Store", "is_identity_access", "read_program",
           "simplify_indices"]  # fmt: skip
