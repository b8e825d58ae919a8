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

from tvm_pulp.schedules.collapse import collapse
from tvm_pulp.schedules.computation import Program, Stage
from tvm_pulp.schedules.expressions import same
from tvm_pulp.schedules.microkernels.stream import (
    POINTERS,
    SCALARS,
    Step,
    Stream,
    fits_registers,
    instructions,
)
from tvm_pulp.target.tvm_names import (
    GT,
    LT,
    Add,
    And,
    Buffer,
    BufferLoad,
    Call,
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
_FLOAT_OPERATIONS = ("add", "subtract", "multiply_add", "multiply")


@dataclass(frozen=True)
class RowScalar:
    """A tensor of one element a row; from its end it starts again."""

    tensor: Buffer


@dataclass(frozen=True)
class FlatStream:
    """A stream, and what its pointers and scalars are.

    Attributes
    ----------
    stream : Stream
        Named ``pulp_elementwise``, which no kernel of a layer is.
    tensors : tuple of Buffer
        Parameters of the function, one a pointer.
    read, written : tuple of bool
        Whether the stream reads and writes each of them.
    repeated : tuple of bool
        Whether each of them has one row only, which is read again for each row.
    scalars : tuple of float, Buffer or RowScalar
        Constants, parameters of one element, and operands of one element a row.
    elements : int
        Of the tensors that are not repeated.
    row : int
        Elements of a row; all elements where nothing is broadcast.
    """

    stream: Stream
    tensors: tuple[Buffer, ...]
    read: tuple[bool, ...]
    written: tuple[bool, ...]
    repeated: tuple[bool, ...]
    scalars: tuple[float | Buffer | RowScalar, ...]
    elements: int
    row: int

    @property
    def row_scalars(self) -> tuple[Buffer, ...]:
        """Tensors of one element a row."""
        return tuple(scalar.tensor for scalar in self.scalars if isinstance(scalar, RowScalar))

    @property
    def cycles_an_element(self) -> int:
        """Cycles that an element takes one worker: its instructions, or the FPU that two workers share."""
        floats = sum(step.operation in _FLOAT_OPERATIONS for step in self.stream.body)
        return max(instructions(self.stream), 2 * floats)


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
    if len(program.stages) != 1 or program.stages[0].reduction:
        return None
    stage, views = collapse(program.stages[0])
    if any(buffer_dtype(p) != "float32" for p in program.parameters):
        return None
    try:
        found = _Converter(stage, {view.buffer: view.base for view in views.views}).convert()
    except _NotFlat:
        return None
    return found if fits_registers(found.stream) else None


@dataclass
class _Converter:
    stage: Stage
    bases: dict[Buffer, Buffer]
    tensors: list[Buffer] = field(default_factory=list)
    repeated: list[bool] = field(default_factory=list)
    loaded: dict[int, str] = field(default_factory=dict)
    scalars: list[float | Buffer | RowScalar] = field(default_factory=list)
    values: dict[Var, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    rectified: set[str] = field(default_factory=set)

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
        if len(self.tensors) > POINTERS or len(self.scalars) > SCALARS:
            raise _NotFlat
        if len(self.stage.spatial) > 1 and self.row < _SHORTEST_ROW:
            raise _NotFlat
        written = {tensor for tensor, _ in kept}
        numbers = range(len(self.tensors))
        return FlatStream(
            Stream(
                "pulp_elementwise",
                tuple(f"p{n}" for n in numbers),
                tuple(f"s{n}" for n in range(len(self.scalars))),
                (),
                tuple(self.steps),
            ),
            tuple(self.tensors),
            tuple(n in self.loaded for n in numbers),
            tuple(n in written for n in numbers),
            tuple(self.repeated),
            tuple(self.scalars),
            self.elements,
            self.row if len(self.stage.spatial) > 1 else self.elements,
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
            return "zero" if float(node.value) == 0.0 else self.scalar(float(node.value))
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

    def bound(self, node: Expr) -> str:
        first, second = self.value(node.a), self.value(node.b)
        if isinstance(node, Max) and second == "zero":
            result = self.step("rectify", first)
            self.rectified.add(result)
            return result
        positive = isinstance(node.b, FloatImm) and float(node.b.value) > 0.0
        if isinstance(node, Min) and first in self.rectified and positive:
            return self.step("limit", first, second)
        return self.step("maximum" if isinstance(node, Max) else "minimum", first, second)

    def choose(self, node: Expr) -> str:
        """``x > 0 ? value : 0`` and ``x > 0 && x < limit ? value : 0``."""
        if not (isinstance(node.false_value, FloatImm) and float(node.false_value.value) == 0.0):
            raise _NotFlat
        conditions = [_less(part) for part in _conjunction(node.condition)]
        low, above = conditions[0]
        if not (isinstance(low, FloatImm) and float(low.value) == 0.0) or len(conditions) > 2:
            raise _NotFlat
        if len(conditions) == 1:
            return self.step("where_positive", self.value(above), self.value(node.true_value))
        below, high = conditions[1]
        if not (isinstance(high, FloatImm) and float(high.value) > 0.0 and same(below, above)):
            raise _NotFlat
        last = float(np.nextafter(np.float32(high.value), np.float32(0)))
        value, passed = self.value(above), self.value(node.true_value)
        return self.step("where_between", value, passed, self.scalar(last))


def _same_scalar(first: float | Buffer | RowScalar, second: float | Buffer | RowScalar) -> bool:
    if isinstance(first, float) or isinstance(second, float):
        return isinstance(first, float) and isinstance(second, float) and first == second
    if isinstance(first, RowScalar) or isinstance(second, RowScalar):
        both = isinstance(first, RowScalar) and isinstance(second, RowScalar)
        return both and bool(first.tensor.same_as(second.tensor))
    return bool(first.same_as(second))


def _alike(first: Sequence[Expr], second: Sequence[Expr]) -> bool:
    return len(first) == len(second) > 0 and all(map(same, first, second))


def _less(node: Expr) -> tuple[Expr, Expr]:
    """Return a and b of ``a < b`` or ``b > a``."""
    if isinstance(node, LT):
        return node.a, node.b
    if isinstance(node, GT):
        return node.b, node.a
    raise _NotFlat


def _conjunction(node: Expr) -> list[Expr]:
    if isinstance(node, And):
        return [*_conjunction(node.a), *_conjunction(node.b)]
    if isinstance(node, Call) and str(node.op.name).rsplit(".", 1)[-1] in ("all", "bitwise_and"):
        return [part for argument in node.args for part in _conjunction(argument)]
    return [node]
