"""Sums over axes in stages, and the kernels that are nothing but such a sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, broadcast_element, make_kernel, number
from tvm_pulp.target.tvm_names import PrimFunc

LONGEST_SUM = 512
"""Terms that one chain of FP32 additions may have where it can be split.

Partial sums are at least an image row shorter than the data, so that they cost little; the rounding error of
statistics over a batch falls with the root of the chain's length."""
SHORT_SUM = 256
"""Terms up to which a sum is not worth a stage of its own."""
WORKERS = 8
"""Results that a stage should have at least, to be shared out over the cores of a cluster."""


def sum_stages(shape: Sequence[int], axes: Sequence[int]) -> list[list[int]]:
    """Split the axes of a sum into stages, innermost first.

    A stage sums neighbouring axes, at most `LONGEST_SUM` terms of them (one axis is never split), and leaves
    at least `WORKERS` results where possible; a sum of at most `SHORT_SUM` terms is one stage.

    Parameters
    ----------
    shape
        Extents of all axes.
    axes
        The axes to sum over.

    Returns
    -------
    list of list of int
        Axes of each stage, numbered as in `shape`, less axes of extent 1; at least one stage.
    """
    remaining = sorted(axis for axis in axes if shape[axis] > 1)
    if math.prod(shape[axis] for axis in remaining) <= SHORT_SUM:
        return [remaining]
    kept = math.prod(extent for axis, extent in enumerate(shape) if axis not in axes)
    stages = []
    while remaining:
        stage = [remaining.pop()]
        while remaining and all(shape[axis] == 1 for axis in range(remaining[-1] + 1, stage[0])):
            terms = math.prod(shape[axis] for axis in (remaining[-1], *stage))
            results = kept * math.prod(shape[axis] for axis in remaining[:-1])
            if terms > LONGEST_SUM or results < WORKERS:
                break
            stage.insert(0, remaining.pop())
        stages.append(stage)
    return stages


def staged_sum(
    expression: Callable[..., Scalar],
    shape: Sequence[int],
    axes: Sequence[int],
    name: str,
    result_axes: Sequence[int] | None = None,
) -> te.Tensor:
    """Sum an expression over axes, by partial sums where the sum is long.

    Parameters
    ----------
    expression
        Called with an index for each axis of `shape`; yields the term.
    shape
        Extents of the terms.
    axes
        Axes to sum over.
    name
        Of the result; partial sums are named after it.
    result_axes
        Axes of the result, in order: all that are left and any summed ones, which get extent 1. By default
        those that are left.

    Returns
    -------
    te.Tensor
        float32.
    """
    everything = range(len(shape))
    left = [axis for axis in everything if axis not in axes]
    stages = sum_stages(shape, axes)
    pending = [axis for stage in stages for axis in stage]

    term: Callable[[dict[int, Scalar]], Scalar] = _reader(expression, everything)
    for position, stage in enumerate(stages):
        pending = [axis for axis in pending if axis not in stage]
        if pending:
            stage_axes, stage_name = sorted([*left, *pending]), f"{name}_partial{position}"
        else:
            stage_axes, stage_name = list(left if result_axes is None else result_axes), name
        tensor = _sum_stage(term, shape, stage, stage_axes, [*left, *pending], stage_name)
        term = _reader(tensor, stage_axes)
    return tensor


def _sum_stage(
    term: Callable[[dict[int, Scalar]], Scalar],
    shape: Sequence[int],
    summed: Sequence[int],
    result_axes: Sequence[int],
    kept: Sequence[int],
    name: str,
) -> te.Tensor:
    def compute(*indices: Scalar) -> Scalar:
        chain = {axis: te.reduce_axis((0, shape[axis]), name=f"k{axis}") for axis in summed}
        where = {axis: 0 for axis in range(len(shape))} | dict(zip(result_axes, indices, strict=True)) | chain
        return te.sum(term(where), axis=list(chain.values())) if chain else term(where)

    return te.compute(tuple(shape[axis] if axis in kept else 1 for axis in result_axes), compute, name=name)


def _reader(element: Callable[..., Scalar], axes: Sequence[int]) -> Callable[[dict[int, Scalar]], Scalar]:
    return lambda where: element(*(where[axis] for axis in axes))


def sum_kernel(
    layer: str,
    work: str,
    operands: Sequence[tuple[str, Shape]],
    expression: Callable[..., Scalar],
    axes: Sequence[int],
    result_axes: Sequence[int] | None = None,
    shape: Shape | None = None,
    scale: float = 1.0,
) -> PrimFunc:
    """Make the kernel of ``output = scale * sum(expression(operands), axes)``.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    operands
        Name and shape of each argument; broadcast to `shape` by NumPy's rule.
    expression
        Called with the operands' elements; yields the term.
    axes
        Axes to sum over.
    result_axes
        Axes of the result, see `staged_sum`.
    shape
        Extents of the terms; by default those of the first operand.
    scale
        Factor of the sum.

    Returns
    -------
    PrimFunc
        Operator class ``"reduction"``; the operands, then the output.
    """
    tensors = [argument(name, extents) for name, extents in operands]

    def term(*indices: Scalar) -> Scalar:
        return expression(*(broadcast_element(tensor, indices) for tensor in tensors))

    name = "output" if scale == 1.0 else "total"
    result = staged_sum(term, operands[0][1] if shape is None else shape, axes, name, result_axes)
    if scale != 1.0:
        total = result
        result = te.compute(total.shape, lambda *i: total(*i) * number(scale), name="output")
    return make_kernel(tensors, [result], operator="reduction", layer=layer, work=work)
