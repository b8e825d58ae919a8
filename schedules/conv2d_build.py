"""Write a convolution with bound knobs in the cluster dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.conv2d_boxes import Conv2dBoxes
from tvm_pulp.schedules.conv2d_tiling import (
    Conv2dBlocking,
    axis_extents,
    epilogue_elements,
    loop_axes,
    periods,
    reduction_axes,
    tile_elements,
    tile_lines,
    weights_stay,
    whole_planes,
)
from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, WEIGHT_GRADIENT, Conv2dWorkload
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
from tvm_pulp.schedules.microkernels.conv2d import conv2d_distances, conv2d_source
from tvm_pulp.schedules.microkernels.depthwise import depthwise_source
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


class Conv2dBuilder:
    """Builds one function; see `Conv2dTemplate`."""

    def __init__(self, workload: Conv2dWorkload, blocking: Conv2dBlocking, features: ClusterFeatures) -> None:
        self.workload = workload
        self.s = s = workload.sizes
        self.b = blocking
        self.features = features
        self.analyzer = arith.Analyzer()
        names = {"s": "section", "g": "group", "n": "image", "y": "row", "o": "output", "c": "input"}
        self.variables = {axis: Var(name, "int32") for axis, name in names.items()}
        extents = axis_extents(s)
        axes = [
            TiledAxis(self.variables[a], extents[a], blocking.tile(a)) for a in loop_axes(s, blocking.order)
        ]
        self.loop = TileLoop(axes, [self.variables[a] for a in reduction_axes(s)], self.analyzer)
        # the image is the data, or the output's gradient, which comes first, for the data gradient;
        # the weight gradient takes the output's gradient first and the data second
        arguments = {parameter: flat_argument(parameter) for parameter in workload.function.params}
        self.arguments = list(arguments.values())
        first, second = self.arguments[:2]
        self.result: Buffer | None = self.arguments[2]
        self.epilogue: EpilogueBuilder | None = None
        if workload.epilogue is not None:
            self.result = arguments.get(workload.epilogue.output)
            self.epilogue = EpilogueBuilder(workload.epilogue, arguments, self.loop, features, self.analyzer)
        self.image, self.operand = (second, first) if s.kind == WEIGHT_GRADIENT else (first, second)
        self.boxes = Conv2dBoxes(s, blocking, self.variables, self.analyzer)
        self.l1 = L1Allocator()

    def build(self) -> PrimFunc:
        """Return the function."""
        s, b = self.s, self.b
        elements = tile_elements(s, b)
        self.image_elements, self.operand_elements, self.result_elements = elements
        same_for = periods(s, b)
        self.image_period, self.operand_period, self.result_period = same_for
        names = "image_l1", "gradient_l1" if s.kind == WEIGHT_GRADIENT else "weight_l1", "result_l1"
        buffers, declarations = [], []
        copies = [2 if period < self.loop.total else 1 for period in same_for]
        if self.epilogue is not None:
            copies[2] = self.epilogue.result_copies
        for name, size, number in zip(names, elements, copies, strict=True):
            buffer, declare = self.l1.allocate(name, size * number, "float32")
            buffers.append(buffer)
            declarations.append(declare)
        self.image_l1, self.operand_l1, self.result_l1 = buffers
        micro_kernels = [self._micro_kernel()]
        if self.epilogue is not None:
            others = epilogue_elements(s, b)
            declarations += self.epilogue.declare(self.l1, self.result_l1, self.result_elements, others)
            micro_kernels.append(self.epilogue.source())
        body = self.loop.run(self._loads, self._stores, self._compute)
        return kernel_function(
            self.workload.function,
            self.arguments,
            sequence(declarations, body),
            self.l1,
            self.features.cores,
            {
                "pulp.schedule": "conv2d",
                "pulp.tile": self._describe(),
                "pulp.micro_kernels": micro_kernels,
            },
        )

    def _describe(self) -> str:
        names = {"s": "sections", "g": "groups", "n": "images", "y": "rows", "o": "outputs", "c": "inputs"}
        sizes = [
            f"{names[axis]} {self.b.tile(axis)}/{extent}"
            for axis, extent in axis_extents(self.s).items()
            if axis not in "sg" or extent > 1
        ]
        parts = f", {self.b.parts} partial sums" if self.b.parts > 1 else ""
        return f"{', '.join(sizes)}; register block {self.b.block_rows}x{self.b.block_columns}{parts}"

    def _micro_kernel(self) -> str:
        s, b = self.s, self.b
        if s.depthwise:
            return depthwise_source(
                s, b.tile_y, self.features.has_xpulp, whole_planes(s, b, self.features.cores)
            )
        rows, columns = b.block_rows, b.block_columns
        made, tile = (s.inputs, b.tile_c) if s.kind == DATA_GRADIENT else (s.outputs, b.tile_o)
        rests = _rests(made, tile, rows), _rests(s.inputs, b.tile_c, columns)
        lines = tile_lines(s, b)
        d = conv2d_distances(s, b.tile_c, b.tile_y, lines)
        parts = b.parts, self.result_elements // b.parts
        return conv2d_source(s, d, lines, (rows, columns), rests, parts, self.features.has_xpulp)

    # transfers

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        axes = self.loop.at(tile)
        at = self._image_start(tile)
        image = transfer(
            slot, self.image_l1, at, self.image, self.boxes.image_box(axes), TO_L1, self.analyzer
        )
        steps = [self.loop.when_new(tile, self.image_period, image), self._load_operand(tile, slot)]
        return [step for step in steps if step is not None]

    def _load_operand(self, tile: Expr, slot: Expr) -> Stmt | None:
        if weights_stay(self.s, self.b):
            return self._load_staying_weights(tile, slot)
        start = self.loop.copy_start(tile, self.operand_period, self.operand_elements)
        box = self.boxes.operand_box(self.loop.at(tile))[0]
        step = transfer(slot, self.operand_l1, start, self.operand, box, TO_L1, self.analyzer)
        return self.loop.when_new(tile, self.operand_period, step)

    def _load_staying_weights(self, tile: Expr, slot: Expr) -> Stmt:
        """Load the first tile's weights, and with the second tile all others'."""
        s, first = self.s, self.b.tile_o
        is_first = as_int(tile) == 0
        low, size = (0, first) if is_first else (first, s.outputs - first)
        box = Box((s.outputs, s.taps), (index(low), index(0)), (index(size), index(s.taps)))
        start = index(low * s.taps)
        step = transfer(slot, self.operand_l1, start, self.operand, box, TO_L1, self.analyzer)
        return step if is_first else when(EQ(tile, 1), step)

    def _image_start(self, tile: Expr) -> Expr:
        """Return where a tile's image lies."""
        return self.loop.copy_start(tile, self.image_period, self.image_elements)

    def _result_start(self, tile: Expr) -> Expr:
        """Return where a tile's result lies."""
        if self.epilogue is not None:
            return self.epilogue.result_start(tile)
        return self.loop.copy_start(tile, self.result_period, self.result_elements)

    def _stores(self, tile: Expr, slot: Expr) -> list[Stmt]:
        box = self.boxes.result_box(self.loop.at(tile))
        steps = self.epilogue.stores(tile, slot, box) if self.epilogue is not None else []
        if self.result is not None:
            start = self._result_start(tile)
            steps.append(transfer(slot, self.result_l1, start, self.result, box, TO_L2, self.analyzer))
        return steps

    # work

    def _compute(self, tile: Expr) -> Stmt:
        axes = self.loop.at(tile)
        binds: list[Stmt] = []

        def name(text: str, value: Expr) -> Expr:
            value = self.analyzer.simplify(value)
            if as_int(value) is not None or isinstance(value, Var):
                return value
            var = Var(text, "int32")
            binds.append(Bind(var, value))
            return var

        if weights_stay(self.s, self.b):
            start = self.boxes.at(axes, "o").offset * self.s.taps
        else:
            start = self.loop.copy_start(tile, self.operand_period, self.operand_elements)
            start = start + self.boxes.operand_box(axes)[1]
        operand = name("operand_start", start)
        result = name("result_start", self._result_start(tile))
        reduced = self.loop.reduction_tiles
        accumulate = name("accumulate", tirx.floormod(tile, reduced)) if reduced > 1 else index(0)
        image, output, inner, row = (self.boxes.at(axes, axis) for axis in "nocy")
        images, outputs, rows = (
            name(f"{text}_size", axis.size)
            for text, axis in (("image", image), ("output", output), ("row", row))
        )
        low, valid = self.boxes.source_rows(axes)
        image_at = address_of(element(self.image_l1, name("image_start", self._image_start(tile))))
        first_row, low = name("first_row", self.boxes.place(axes)[1]), name("low", low)
        if self.s.depthwise:
            sizes = [images, outputs, rows, first_row, low, name("valid", valid)]
        else:
            sizes = [images, outputs, name("input_size", inner.size), rows, first_row, low]
        worker = Var("worker", "int32")
        call = call_extern(
            "int32", "conv2d_tile", worker, image_at,
            address_of(element(self.operand_l1, operand)), address_of(element(self.result_l1, result)),
            *sizes, accumulate,
        )  # fmt: skip
        work = sequence(binds, parallel(worker, self.features.cores, Evaluate(call)))
        if self.b.parts > 1:
            work = sequence(work, self._sum_parts(tile, result))
        if self.epilogue is not None:
            work = self.epilogue.compute(tile, work, self.boxes.result_box(axes), 1)
        return work

    def _sum_parts(self, tile: Expr, result: Expr) -> Stmt:
        """Add up the partial sums of the weight gradient after its last tile."""
        axes, worker = self.loop.at(tile), Var("worker", "int32")
        count = self.boxes.at(axes, "o").size * self.boxes.at(axes, "c").size * self.s.taps
        call = call_extern(
            "int32", "conv2d_sum", worker, address_of(element(self.result_l1, result)),
            self.analyzer.simplify(count),
        )  # fmt: skip
        steps = sequence(barrier(), parallel(worker, self.features.cores, Evaluate(call)))
        ended = self.loop.last_in_reduction(tile)
        return steps if ended is None else when(ended, steps)


def _rests(extent: int, tile: int, block: int) -> set[int]:
    """Return what is left over after whole register blocks, in full and in edge tiles."""
    sizes = {min(tile, extent)} | ({extent % tile} if extent % tile else set())
    return {size % block for size in sizes}
