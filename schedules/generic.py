"""Lower any function of TE blocks: tiled to fit L1, double-buffered, shared out over the workers.

A stage (see ``computation``) is a pipeline over tiles, one barrier a tile::

    start loads of tile 0
    for tile:
        wait for the loads of this tile and for the stores of the tile before the last one
        barrier
        start loads of the next tile and stores of the last one
        compute
    barrier, store the last tile, wait
"""

from __future__ import annotations

import math
from collections.abc import Collection

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.computation import Program
from tvm_pulp.schedules.dialect import barrier, flat_argument, kernel_function, sequence
from tvm_pulp.schedules.resident import resident_bytes
from tvm_pulp.schedules.stage_lowering import KernelContext, StageLowering
from tvm_pulp.schedules.stages import read_program
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc, Stmt, buffer_dtype, buffer_shape


def lower_generic(function: PrimFunc, features: ClusterFeatures, resident: Collection[int] = ()) -> PrimFunc:
    """Lower a function that no template takes.

    Parameters
    ----------
    function
        A PrimFunc of TE blocks, of any shape.
    features
        The target's features.
    resident
        Numbers of the parameters that live in L1, before and after.

    Raises
    ------
    UserError
        Where an intermediate result that must be kept whole does not fit L1, or a block is no TE compute.
    """
    program = read_program(function)
    kernel = KernelContext(
        name=str(function.attrs.get("global_symbol", "kernel")),
        features=features,
        flat={p: flat_argument(p) for p in program.parameters},
        l1_limit=features.kernel_l1_bytes - resident_bytes(function, resident),
    )
    kernel.in_l1 = {program.parameters[n]: kernel.flat[program.parameters[n]] for n in resident}
    body = sequence(_place_intermediates(program, kernel), _lower_stages(program, kernel))
    return kernel_function(
        function,
        [kernel.flat[p] for p in program.parameters],
        body,
        kernel.l1,
        features.cores,
        {"pulp.schedule": "generic", "pulp.tile": "; ".join(kernel.tile_texts), "pulp.notes": kernel.notes},
    )


def _lower_stages(program: Program, kernel: KernelContext) -> list[Stmt]:
    parts: list[Stmt] = []
    for number, stage in enumerate(program.stages):
        if number:
            parts.append(barrier())
        with kernel.l1.reuse():
            parts.append(StageLowering(kernel, stage).build())
    return parts


def _place_intermediates(program: Program, kernel: KernelContext) -> list[Stmt]:
    """Results that pass from stage to stage stay in L1 for the whole kernel."""
    declarations = []
    for buffer in program.intermediates:
        elements = math.prod(buffer_shape(buffer))
        kernel.in_l1[buffer], declaration = kernel.l1.allocate(
            str(buffer.name), elements, buffer_dtype(buffer)
        )
        declarations.append(declaration)
    limit = kernel.l1_limit
    if kernel.l1.peak > limit:
        largest = max(program.intermediates, key=lambda buffer: math.prod(buffer_shape(buffer)))
        raise UserError(
            f"kernel '{kernel.name}': the intermediate result '{largest.name}' must be kept whole and does "
            f"not fit L1 ({kernel.l1.peak} of {limit} bytes): split the computation in two kernels"
        )
    return declarations
