"""Write a matrix multiplication with bound knobs in the cluster dialect."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    as_int,
    barrier,
    element,
    flat_argument,
    index,
    kernel_function,
    parallel,
    sequence,
    when,
)
from tvm_pulp.schedules.epilogue_build import EpilogueBuilder
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.matmul_kernels import micro_kernel_source
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import (
    EQ,
    Bind,
    Buffer,
    Evaluate,
    Expr,
    PrimFunc,
    Stmt,
    Var,
    address_of,
    arith,
    call_extern,
    tirx,
)

if TYPE_CHECKING:
    from tvm_pulp.schedules.base import ClusterFeatures
    from tvm_pulp.schedules.matmul_workload import Blocking, MatmulWorkload

Axes = dict[Var, TileAxis]


class MatmulBuilder:
    """Builds one function; see `MatmulTemplate`. Other types of elements have classes of their own."""

    schedule = "matmul"
    dtype = "float32"

    def __init__(self, workload: MatmulWorkload, blocking: Blocking, features: ClusterFeatures) -> None:
        self.workload = workload
        self.w = w = workload.sizes
        self.b = blocking
        self.features = features
        self.analyzer = arith.Analyzer()
        names = {"b": "image", "m": "m", "n": "n", "k": "k"}
        self.variables = v = {axis: Var(name, "int32") for axis, name in names.items()}
        axes = [TiledAxis(v[axis], w.extent(axis), blocking.tile(axis)) for axis in blocking.loop_order(w)]
        self.loop = TileLoop(axes, [v[axis] for axis in w.reduction], self.analyzer, blocking.ahead)
        arguments = {parameter: flat_argument(parameter) for parameter in workload.function.params}
        self.arguments = list(arguments.values())
        self.a, self.b_argument = self.arguments[:2]
        self.c: Buffer | None = self.arguments[2]
        self.epilogue: EpilogueBuilder | None = None
        if workload.epilogue is not None:
            self.c = arguments.get(workload.epilogue.output)
            self.epilogue = EpilogueBuilder(workload.epilogue, arguments, self.loop, features, self.analyzer)
        self.l1 = L1Allocator()

    def build(self) -> PrimFunc:
        """Return the function."""
        w, blocking = self.w, self.b
        periods = blocking.periods(w)
        elements = blocking.tile_elements(w)
        self.whole_a, self.whole_b, self.whole_c = blocking.whole(w)
        names = ("a_l1", "b_l1", "c_l1")
        declarations = []
        buffers: list[Buffer] = []
        for name, size, same_for in zip(names, elements, periods, strict=True):
            copies = blocking.copies if same_for < self.loop.total else 1
            if name == "c_l1" and self.epilogue is not None:
                copies = self.epilogue.result_copies
            buffer, declaration = self.l1.allocate(name, size * copies, self.dtype)
            buffers.append(buffer)
            declarations.append(declaration)
        self.a_l1, self.b_l1, self.c_l1 = buffers
        if blocking.split_k > 1:
            size = (blocking.split_k - 1) * elements[2]
            self.partial, declaration = self.l1.allocate("partial", size, "float32")
            declarations.append(declaration)
        self.a_elements, self.b_elements, self.c_elements = elements
        self.a_period, self.b_period, self.c_period = periods
        declarations += self._scratch()
        micro_kernels = [self._micro_kernel()]
        if self.epilogue is not None:
            declarations += self.epilogue.declare(self.l1, self.c_l1, self.c_elements, self.c_elements)
            micro_kernels.append(self.epilogue.source())
        body = self._run()
        return kernel_function(
            self.workload.function,
            self.arguments,
            sequence(declarations, body),
            self.l1,
            self.features.cores,
            {
                "pulp.schedule": self.schedule,
                "pulp.tile": self._describe(),
                "pulp.micro_kernels": micro_kernels,
            },
        )

    def _axes(self, tile: Expr) -> Axes:
        """Return offset and size of each axis in a tile."""
        return self.loop.at(tile)

    def _run(self) -> Stmt:
        """Return the loop over the tiles."""
        return self.loop.run(self._loads, self._stores, self._compute, store_once=self.whole_c)

    def _scratch(self) -> list[Stmt]:
        """Return the declarations of buffers beside the tiles."""
        return []

    def _describe(self) -> str:
        w, b = self.w, self.b
        sizes = f"m {b.tile_m}/{w.m}, n {b.tile_n}/{w.n}, k {b.tile_k}/{w.k}"
        images = f", images {b.tile_batch}/{w.batch}" if w.batch > 1 else ""
        split = f"; {b.split_k} workers share a sum" if b.split_k > 1 else ""
        return f"{sizes}{images}; register block {b.block_rows}x{b.block_columns}{split}"

    def _micro_kernel(self) -> str:
        in_parts = self.loop.reduction_tiles > 1
        return micro_kernel_source(self.w, self.b, self.features, whole_c=self.whole_c, in_parts=in_parts)

    # boxes

    def _shifted(self, axis: str, axes: Axes) -> tuple[Expr, Expr]:
        """Return where a full tile's row that holds this tile starts, and how far into it the tile does."""
        extent, tile = self.w.extent(axis), self.b.tile(axis)
        offset = axes[self.variables[axis]].offset
        if extent % tile == 0:
            return offset, index(0)
        start = self.analyzer.simplify(tirx.min(offset, extent - tile))
        return start, self.analyzer.simplify(offset - start)

    def _box(self, axes: Axes, batched: bool, outer: str, inner: str) -> tuple[Box, Expr, Expr]:
        """Return the box of an operand that lies as ``[outer][inner]``, the place of its first element in the
        tile, and the tile's elements for one image.
        """
        v = self.variables
        start, shift = self._shifted(inner, axes)
        pitch = self.b.tile(inner)
        rows = axes[v[outer]]
        shape, low, size = (
            [self.w.extent(outer), self.w.extent(inner)],
            [rows.offset, start],
            [rows.size, index(pitch)],
        )
        if batched:
            image = axes[v["b"]]
            shape, low, size = [self.w.batch, *shape], [image.offset, *low], [image.size, *size]
        box = Box(tuple(shape), tuple(low), tuple(size))
        return box, shift, self.analyzer.simplify(rows.size * pitch)

    def _whole_box(self, axes: Axes, batched: bool, outer: str, inner: str) -> tuple[Box, Expr, Expr]:
        """Return the same of an operand that lies in L1 as a whole."""
        rows, row = self.w.extent(outer), self.w.extent(inner)
        place = axes[self.variables[outer]].offset * row + axes[self.variables[inner]].offset
        if batched:
            place = place + axes[self.variables["b"]].offset * (rows * row)
        shape = (*((self.w.batch,) if batched else ()), rows, row)
        low, size = (index(0),) * len(shape), tuple(index(extent) for extent in shape)
        return Box(shape, low, size), self.analyzer.simplify(place), index(rows * row)

    def _a_box(self, axes: Axes) -> tuple[Box, Expr, Expr]:
        box = self._whole_box if self.whole_a else self._box
        return box(axes, self.w.batch_a, *("km" if self.w.transpose_a else "mk"))

    def _b_box(self, axes: Axes) -> tuple[Box, Expr, Expr]:
        box = self._whole_box if self.whole_b else self._box
        return box(axes, self.w.batch_b, *("nk" if self.w.transpose_b else "kn"))

    def _c_box(self, axes: Axes) -> Box:
        if self.whole_c:
            return self._whole_box(axes, not self.w.reduce_batch, "m", "n")[0]
        order = [self.variables[axis] for axis in ("mn" if self.w.reduce_batch else "bmn")]
        shape = tuple(self.w.extent(axis) for axis in ("mn" if self.w.reduce_batch else "bmn"))
        return Box(shape, tuple(axes[v].offset for v in order), tuple(axes[v].size for v in order))

    def _c_start(self, tile: Expr) -> Expr:
        if self.epilogue is not None:
            return self.epilogue.result_start(tile)
        if self.whole_c:
            return self._whole_box(self.loop.at(tile), not self.w.reduce_batch, "m", "n")[1]
        return self._copy(tile, self.c_period, self.c_elements)

    # pipeline

    def _copy(self, tile: Expr, same_for: int, elements: int) -> Expr:
        return self.loop.copy_start(tile, same_for, elements, self.b.copies)

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        axes = self._axes(tile)
        steps = []
        operands = [
            (self._a_box(axes)[0], self.a_l1, self.a, self.a_period, self.a_elements),
            (self._b_box(axes)[0], self.b_l1, self.b_argument, self.b_period, self.b_elements),
        ]
        if self.a_elements < self.b_elements:  # the longer one first: the other is asked for meanwhile
            operands.reverse()
        for box, l1, l2, same_for, elements in operands:
            start = self._copy(tile, same_for, elements)
            step = transfer(slot, l1, start, l2, box, TO_L1, self.analyzer)
            steps.append(self.loop.when_new(tile, same_for, step))
        return [step for step in steps if step is not None]

    def _stores(self, tile: Expr, slot: Expr) -> list[Stmt]:
        box = self._c_box(self._axes(tile))
        steps = self.epilogue.stores(tile, slot, box) if self.epilogue is not None else []
        if self.c is not None:
            start = index(0) if self.whole_c else self._c_start(tile)
            steps.append(transfer(slot, self.c_l1, start, self.c, box, TO_L2, self.analyzer))
        return steps

    def _parts(self, tile: Expr, name: Callable[[str, Expr], Expr]) -> list[Expr]:
        """Return the arguments that say which part of a sum a tile is."""
        reduced = self.loop.reduction_tiles
        return [name("accumulate", tirx.floormod(tile, reduced)) if reduced > 1 else index(0)]

    def _compute(self, tile: Expr) -> Stmt:
        w = self.w
        v = self.variables
        binds: list[Stmt] = []

        def name(text: str, value: Expr) -> Expr:
            value = self.analyzer.simplify(value)
            if as_int(value) is not None or isinstance(value, Var):
                return value
            var = Var(text, "int32")
            binds.append(Bind(var, value))
            return var

        axes = self._axes(tile)
        _, a_shift, a_image = self._a_box(axes)
        _, b_shift, b_image = self._b_box(axes)
        a = name("a_start", self._copy(tile, self.a_period, self.a_elements) + a_shift)
        b = name("b_start", self._copy(tile, self.b_period, self.b_elements) + b_shift)
        c = name("c_start", self._c_start(tile))
        m, n, k, images = (name(f"{text}_size", axes[v[text[0]]].size) for text in ("m", "n", "k", "batch"))
        worker = Var("worker", "int32")
        call = call_extern(
            "int32", f"{self.schedule}_tile", worker,
            address_of(element(self.a_l1, a)),
            address_of(element(self.b_l1, b)),
            address_of(element(self.c_l1, c)),
            *([address_of(element(self.partial, c if self.whole_c else 0))] if self.b.split_k > 1 else []),
            m, n, k,
            *((index(1), images) if w.reduce_batch else (images, index(1))),
            name("a_image", a_image) if w.batch_a else index(0),
            name("b_image", b_image) if w.batch_b else index(0),
            *self._parts(tile, name),
        )  # fmt: skip
        work = sequence(binds, parallel(worker, self.features.cores, Evaluate(call)))
        if self.b.split_k > 1:
            count = w.elements[2] if self.whole_c else m * n * (index(1) if w.reduce_batch else images)
            work = sequence(work, self._add_partial_sums(tile, index(0) if self.whole_c else c, count))
        if self.epilogue is None:
            return work
        box = self._c_box(axes)
        return self.epilogue.compute(tile, work, box, len(box.shape) - 2)

    def _add_partial_sums(self, tile: Expr, c: Expr, count: int | Expr) -> Stmt:
        """Return the addition of what the workers that share a sum found, once that is complete."""
        worker = Var("worker", "int32")
        call = call_extern(
            "int32", "matmul_sum", worker,
            address_of(element(self.c_l1, c)), address_of(element(self.partial, 0)),
            self.analyzer.simplify(index(count)),
        )  # fmt: skip
        steps = sequence(barrier(), parallel(worker, self.features.cores, Evaluate(call)))
        if self.whole_c:
            return when(EQ(tile, self.loop.total - 1), steps)
        ended = self.loop.last_in_reduction(tile)
        return steps if ended is None else when(ended, steps)
