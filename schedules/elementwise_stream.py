"""Turn an elementwise stage into a stream of `microkernels.stream`.

The tensors are flat; a *row* is a run of elements that a broadcast operand divides them into. An operand of
one element a row (a bias a channel) is a scalar of the stream that changes from row to row, one that repeats
in each row (a bias a feature) a pointer that starts anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tvm_pulp.schedules.bit_mask import MaskRead, packed_condition, passed_range, read_masks
from tvm_pulp.schedules.collapse import collapse
from tvm_pulp.schedules.computation import Program, Stage
from tvm_pulp.schedules.expressions import same
from tvm_pulp.schedules.flat_stream import FlatStream, RowScalar
from tvm_pulp.schedules.microkernels.stream import POINTERS, SCALARS
from tvm_pulp.schedules.microkernels.stream_definition import Step, Stream
from tvm_pulp.schedules.microkernels.stream_registers import fits_registers
from tvm_pulp.target.tvm_names import (
    Add,
    Buffer,
    BufferLoad,
    Expr,
    FloatImm,
    Max,
    Min,
    Mul,
    Select,
    Sub,
    Var,
    buffer_dtype,
    buffer_shape,
)

_SHORTEST_ROW = 16
"""Elements of a row for which setting up a stream pays."""
_NAME = "pulp_elementwise"


class _NotFlat(Exception):
    """The stage does something that a stream cannot."""


def flat_stream(program: Program) -> FlatStream | None:
    """Return the stream of a program of one elementwise stage.

    Returns
    -------
    FlatStream or None
        None where a tensor is permuted, not float32 or broadcast along other axes than the first or the last
        ones, rows are short, an operation is not known, or there are more tensors, constants or values than
        a stream has room for.
    """
    if len(program.stages) != 1:
        return None
    if any(buffer_dtype(p) not in ("float32", "uint32") for p in program.parameters):
        return None
    stage = program.stages[0]
    packed = packed_condition(stage)
    if stage.reduction and packed is None:
        return None
    try:
        if packed is not None:
            found = _Converter(stage, {}).pack(packed)
        else:
            stage, masks = read_masks(stage)
            stage, views = collapse(stage)
            found = _Converter(stage, {view.buffer: view.base for view in views.views}, masks).convert()
    except _NotFlat:
        return None
    return found if fits_registers(found.stream) else None


@dataclass
class _Converter:
    stage: Stage
    bases: dict[Buffer, Buffer]
    mask_of: dict[Buffer, MaskRead] = field(default_factory=dict)
    masks: dict[str, Buffer] = field(default_factory=dict)
    inside: dict[str, float] = field(default_factory=dict)
    tensors: list[Buffer] = field(default_factory=list)
    repeated: list[bool] = field(default_factory=list)
    loaded: dict[int, str] = field(default_factory=dict)
    scalars: list[float | Buffer | RowScalar] = field(default_factory=list)
    values: dict[Var, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    @property
    def elements(self) -> int:
        return math.prod(axis.extent for axis in self.stage.spatial)

    @property
    def row(self) -> int:
        return self.stage.spatial[-1].extent if self.stage.spatial else 1

    def convert(self) -> FlatStream:
        kept = []
        for store in self.stage.stores:
            self.values[store.var] = self.value(store.value)
            if store.kept:
                kept.append((self.tensor(store.out, False), self.values[store.var]))
        # all loads come before all stores, so that a tensor may be overwritten
        self.steps += [Step("store", "", (f"p{tensor}", value)) for tensor, value in kept]
        if len(self.tensors) + len(self.masks) > POINTERS or len(self.scalars) > SCALARS:
            raise _NotFlat
        if len(self.stage.spatial) > 1 and self.row < _SHORTEST_ROW:
            raise _NotFlat
        # the bits of a mask are used up one by one, as conditions
        uses = [source for step in self.steps for n, source in enumerate(step.sources)
                if source in self.masks and (step.operation, n) == ("where_bit", 0)]  # fmt: skip
        everywhere = [source for step in self.steps for source in step.sources if source in self.masks]
        if sorted(uses) != sorted(self.masks) or len(everywhere) != len(uses):
            raise _NotFlat
        if self.masks and len(self.stage.spatial) > 1:
            raise _NotFlat
        written = {tensor for tensor, _ in kept}
        numbers = range(len(self.tensors))
        return FlatStream(
            Stream(
                _NAME,
                tuple(f"p{n}" for n in numbers),
                tuple(f"s{n}" for n in range(len(self.scalars))),
                (),
                tuple(self.steps),
                tuple(self.masks),
            ),
            tuple(self.tensors),
            tuple(n in self.loaded for n in numbers),
            tuple(n in written for n in numbers),
            tuple(self.repeated),
            tuple(self.scalars),
            self.elements,
            self.row if len(self.stage.spatial) > 1 else self.elements,
            tuple(self.masks.values()),
        )

    def tensor(self, buffer: Buffer, repeated: bool) -> int:
        for number, known in enumerate(self.tensors):
            if known.same_as(buffer):
                return number
        if math.prod(buffer_shape(buffer)) != (self.row if repeated else self.elements):
            raise _NotFlat
        self.tensors.append(buffer)
        self.repeated.append(repeated)
        return len(self.tensors) - 1

    def scalar(self, value: float | Buffer | RowScalar) -> str:
        for number, known in enumerate(self.scalars):
            if _same_scalar(known, value):
                return f"s{number}"
        self.scalars.append(value)
        return f"s{len(self.scalars) - 1}"

    def step(self, operation: str, *sources: str) -> str:
        result = f"v{len(self.steps)}"
        self.steps.append(Step(operation, result, sources))
        return result

    def value(self, node: Expr) -> str:
        """Return the name of an expression's value."""
        if isinstance(node, Var) and node in self.values:
            return self.values[node]
        if isinstance(node, FloatImm):
            return "zero" if _is_zero(node) else self.scalar(float(node.value))
        if isinstance(node, BufferLoad):
            return self.load(node)
        if isinstance(node, Add):
            for product, other in ((node.a, node.b), (node.b, node.a)):
                if isinstance(product, Mul):
                    a, b, c = (self.value(part) for part in (product.a, product.b, other))
                    return self.step("multiply_add", a, b, c)
            return self.step("add", self.value(node.a), self.value(node.b))
        if isinstance(node, Sub):
            if isinstance(node.b, Mul):
                c, a, b = (self.value(part) for part in (node.a, node.b.a, node.b.b))
                return self.step("multiply_subtract", a, b, c)
            return self.step("subtract", self.value(node.a), self.value(node.b))
        if isinstance(node, Mul):
            return self.step("multiply", self.value(node.a), self.value(node.b))
        if isinstance(node, Max | Min):
            return self.bound(node)
        if isinstance(node, Select):
            return self.choose(node)
        raise _NotFlat

    def load(self, node: Expr) -> str:
        base = self.bases.get(node.source, node.source)
        if base in self.mask_of:
            return self.mask(self.mask_of[base])
        if math.prod(buffer_shape(base)) == 1 < self.elements:
            return self.scalar(base)
        indices = [i for i, n in zip(node.indices, buffer_shape(node.source), strict=True) if n != 1]
        axes = [axis.var for axis in self.stage.spatial]
        count = len(indices)
        if _alike(indices, axes[-count - 1 : -1]) and count < len(axes):
            return self.scalar(RowScalar(base))
        repeated = count == 1 < len(axes)
        if not _alike(indices, axes[-1:] if repeated else axes):
            raise _NotFlat
        tensor = self.tensor(base, repeated)
        if tensor not in self.loaded:
            self.loaded[tensor] = self.step("load", f"p{tensor}")
        return self.loaded[tensor]

    def mask(self, read: MaskRead) -> str:
        for name, known in self.masks.items():
            if known.same_as(read.mask) and self.inside[name] == read.inside:
                return name
        name = f"m{len(self.masks)}"
        self.masks[name], self.inside[name] = read.mask, read.inside
        return name

    def bound(self, node: Expr) -> str:
        positive = isinstance(node.b, FloatImm) and float(node.b.value) > 0.0
        if isinstance(node, Min) and isinstance(node.a, Max) and _is_zero(node.a.b) and positive:
            return self.step("clip", self.value(node.a.a), self.value(node.b))
        first, second = self.value(node.a), self.value(node.b)
        if isinstance(node, Max) and second == "zero":
            return self.step("rectify", first)
        return self.step("maximum" if isinstance(node, Max) else "minimum", first, second)

    def choose(self, node: Expr) -> str:
        """``x > 0 ? value : 0`` and ``x > 0 && x < limit ? value : 0``."""
        if not _is_zero(node.false_value):
            raise _NotFlat
        found = passed_range(node.condition)
        if found is None:
            raise _NotFlat
        value, passed = self.value(found[0]), self.value(node.true_value)
        if value in self.masks:
            if not 0.0 < self.inside[value] < (found[1] or math.inf):
                raise _NotFlat
            return self.step("where_bit", value, passed)
        if found[1] is None:
            return self.step("where_positive", value, passed)
        return self.step("where_between", value, passed, self.scalar(_last_below(found[1])))

    def pack(self, condition: Expr) -> FlatStream:
        """Return the stream that makes a mask; its condition reads a tensor at each of its elements."""
        axes = [*self.stage.spatial, *self.stage.reduction]
        found = passed_range(condition)
        if found is None or not isinstance(found[0], BufferLoad) or len(axes) != 3:
            raise _NotFlat
        group, lane, bit = (axis.var for axis in axes)
        if not _alike(found[0].indices, [group, bit, lane]):
            raise _NotFlat
        self.loaded[0] = self.step("load", "p0")
        limit = [] if found[1] is None else [self.scalar(_last_below(found[1]))]
        self.step("pack_between" if limit else "pack_positive", self.loaded[0], "m0", *limit)
        elements = math.prod(axis.extent for axis in axes)
        stream = Stream(_NAME, ("p0",), ("s0",)[: len(limit)], (), tuple(self.steps), ("m0",))
        return FlatStream(
            stream, (found[0].source,), (True,), (False,), (False,), tuple(self.scalars), elements, elements,
            (self.stage.stores[0].out,),
        )  # fmt: skip


def _is_zero(node: Expr) -> bool:
    return isinstance(node, FloatImm) and float(node.value) == 0.0


def _last_below(limit: float) -> float:
    return float(np.nextafter(np.float32(limit), np.float32(0)))


def _same_scalar(first: float | Buffer | RowScalar, second: float | Buffer | RowScalar) -> bool:
    if isinstance(first, float) or isinstance(second, float):
        return isinstance(first, float) and isinstance(second, float) and first == second
    if isinstance(first, RowScalar) or isinstance(second, RowScalar):
        both = isinstance(first, RowScalar) and isinstance(second, RowScalar)
        return both and bool(first.tensor.same_as(second.tensor))
    return bool(first.same_as(second))


def _alike(first: Sequence[Expr], second: Sequence[Expr]) -> bool:
    return len(first) == len(second) > 0 and all(map(same, first, second))
