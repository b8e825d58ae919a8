"""Masks of one bit an element: whether a rectifier's result is inside its range.

A *group* of 128 elements has 4 words, one for each lane of a stream (`microkernels.stream`): element ``e`` of
a group is in word ``e % 4``, and ``e // 4`` counts bits from the highest one on, so that a lane shifts its
word by one from element to element.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm_pulp.schedules.computation import Stage
from tvm_pulp.schedules.expressions import loads, rewrite, same, walk
from tvm_pulp.schedules.microkernels.stream_definition import LANES
from tvm_pulp.target.tvm_names import (
    GT,
    LT,
    NE,
    Add,
    And,
    Buffer,
    Call,
    Cast,
    Expr,
    FloatImm,
    Range,
    Select,
    arith,
    buffer_dtype,
    const,
    decl_buffer,
    load,
    tirx,
)

WORD_BITS = 32
GROUP = LANES * WORD_BITS
"""Elements of a group."""


@dataclass(frozen=True)
class MaskRead:
    """A value that is `inside` where a mask's bit is set, else 0."""

    mask: Buffer
    inside: float


def conjunction(node: Expr) -> list[Expr]:
    """Return the conditions that an expression joins by "and"."""
    if isinstance(node, And):
        return [*conjunction(node.a), *conjunction(node.b)]
    if isinstance(node, Call) and str(node.op.name).rsplit(".", 1)[-1] in ("all", "bitwise_and"):
        return [part for argument in node.args for part in conjunction(argument)]
    return [node]


def passed_range(condition: Expr) -> tuple[Expr, float | None] | None:
    """Return x and the limit of ``0 < x`` and ``0 < x and x < limit``, None for any other condition."""
    sides = [_less(part) for part in conjunction(condition)]
    if len(sides) > 2 or any(side is None for side in sides):
        return None
    (low, value), *rest = [side for side in sides if side is not None]
    if not (isinstance(low, FloatImm) and float(low.value) == 0.0):
        return None
    if not rest:
        return value, None
    below, high = rest[0]
    if not (isinstance(high, FloatImm) and float(high.value) > 0.0 and same(below, value)):
        return None
    return value, float(high.value)


def _less(node: Expr) -> tuple[Expr, Expr] | None:
    """Return a and b of ``a < b`` or ``b > a``."""
    if isinstance(node, LT):
        return node.a, node.b
    return (node.b, node.a) if isinstance(node, GT) else None


def bit_is_set(word: Callable[[Expr, Expr], Expr], element: Expr) -> Expr:
    """Return the condition that an element's bit is set.

    Parameters
    ----------
    word
        Reads the mask: the group's number and the lane.
    element
        Position in the flat tensor.
    """
    group, lane, place = _place(element)
    return _bit(word(group, lane), place)


def _place(element: Expr) -> tuple[Expr, Expr, Expr]:
    """Return the group, the lane and the bit, counted from the lowest one, of an element."""
    bit = const(WORD_BITS - 1, "int32") - tirx.floordiv(tirx.floormod(element, GROUP), LANES)
    return tirx.floordiv(element, GROUP), tirx.floormod(element, LANES), bit


def _bit(word: Expr, bit: Expr) -> Expr:
    shifted = tirx.shift_right(word, bit.astype("uint32"))
    return NE(tirx.bitwise_and(shifted, const(1, "uint32")), const(0, "uint32"))


def word_bit(position: Expr) -> Expr:
    """Return a word with one bit set, that of an element's position in its lane."""
    place = const(WORD_BITS - 1, "int32") - position
    return tirx.shift_left(const(1, "uint32"), place.astype("uint32"))


def _mask_read(node: Expr, axes: list[tuple[Expr, int]]) -> MaskRead | None:
    """Take apart ``Select(bit_is_set(mask, element), inside, 0)`` at a stage's element, else None."""
    if not isinstance(node, Select) or not isinstance(node.true_value, FloatImm):
        return None
    found = list(loads(node.condition))
    places = [part.value for part in walk(node.condition) if isinstance(part, Cast)]
    if len(found) != 1 or len(places) != 1 or buffer_dtype(found[0].source) != "uint32":
        return None
    analyzer = arith.Analyzer()
    for axis, extent in axes:
        analyzer.bind(axis, Range(0, extent))
    # TVM has simplified the indices
    expected = _place(flat_element([axis for axis, _ in axes], [extent for _, extent in axes]))
    read = (*found[0].indices, places[0])
    if not all(analyzer.can_prove_equal(a, b) for a, b in zip(read, expected, strict=True)):
        return None
    zero = same(node.false_value, const(0.0, "float32"))
    if not zero or not same(node.condition, _bit(found[0], places[0])):
        return None
    return MaskRead(found[0].source, float(node.true_value.value))


def read_masks(stage: Stage) -> tuple[Stage, dict[Buffer, MaskRead]]:
    """Put float tensors in the place of masks that are read at the stage's own element.

    Returned are the stage and what those tensors stand for.
    """
    axes = [(axis.var, axis.extent) for axis in stage.spatial]
    found: dict[Buffer, MaskRead] = {}

    def replaced(node: Expr) -> Expr | None:
        read = _mask_read(node, axes)
        if read is None:
            return None
        shape = tuple(extent for _, extent in axes)
        known = [t for t, r in found.items() if r.mask.same_as(read.mask) and r.inside == read.inside]
        tensor = known[0] if known else None
        if tensor is None:
            tensor = decl_buffer(shape, "float32", name=f"{read.mask.name}_values")
            found[tensor] = read
        return load(tensor, [axis for axis, _ in axes])

    stores = tuple(replace(store, value=rewrite(store.value, replaced)) for store in stage.stores)
    return replace(stage, stores=stores), found


def flat_element(indices: list[Expr], extents: list[int]) -> Expr:
    """Return the position in the flat tensor of an element; axes of extent 1 are left out."""
    element: Expr = const(0, "int32")
    for index, extent in zip(indices, extents, strict=True):
        if extent != 1:
            element = element * extent + index
    return element


def packed_condition(stage: Stage) -> Expr | None:
    """Return the condition whose bits a stage packs, as `passes.operators.pack_mask` does; None for others.

    The condition reads a tensor ``[groups, 32, 4]`` at the stage's axes ``(group, lane)`` and its reduction
    axis.
    """
    if len(stage.reductions) != 1 or len(stage.reduction) != 1 or len(stage.stores) != 1:
        return None
    reduction, (store,) = stage.reductions[0], stage.stores
    update = reduction.update
    if buffer_dtype(store.out) != "uint32" or stage.reduction[0].extent != WORD_BITS:
        return None
    if not (isinstance(update, Add) and same(update.a, reduction.accumulator)):
        return None
    if not same(store.value, reduction.accumulator) or not isinstance(update.b, Select):
        return None
    chosen, zero = update.b, const(0, "uint32")
    bit = word_bit(stage.reduction[0].var)
    is_bit = same(chosen.true_value, bit) and same(chosen.false_value, zero)
    return chosen.condition if is_bit and same(reduction.init, zero) else None


def mask_shape(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the shape of a tensor's mask, None if its elements do not fill whole groups."""
    elements = math.prod(shape)
    return None if elements == 0 or elements % GROUP else (elements // GROUP, LANES)
