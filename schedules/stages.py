"""Join computations that can be done together into stages."""

from __future__ import annotations

from collections.abc import Mapping

from tvm_pulp.schedules.computation import (
    Computation,
    Program,
    Reduction,
    Stage,
    Store,
    read_computations,
)
from tvm_pulp.schedules.expressions import loads, reads_buffer, rewrite, same, substitute
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import Buffer, BufferLoad, Expr, PrimFunc, Var, buffer_dtype, buffer_shape


def read_program(function: PrimFunc) -> Program:
    """Read a PrimFunc made of TE blocks as stages, see `read_computations`."""
    return make_program(read_computations(function), tuple(function.params))


def make_program(computations: list[Computation], parameters: tuple[Buffer, ...]) -> Program:
    """Group computations into stages and find the results that pass from one stage to another."""
    return _drop_private_stores(Program(parameters, _group(computations)))


def _group(computations: list[Computation]) -> list[Stage]:
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
                f"block '{computation.name}' overwrites '{computation.out.name}' and reads it at other "
                "positions: give the result its own tensor"
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
