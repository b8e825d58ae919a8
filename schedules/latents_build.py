"""Write a kernel between latents and the replay store in the cluster dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    aligned,
    barrier,
    bind,
    dma_1d,
    element,
    flat_argument,
    index,
    kernel_function,
    parallel,
    sequence,
    serial,
)
from tvm_pulp.schedules.latents_tiles import TABLE_BYTES, LatentsTile, driving_blocks
from tvm_pulp.schedules.latents_workload import GATHER, PACK, REPACK, LatentsWorkload
from tvm_pulp.schedules.microkernels.latent_pack import PackSettings, pack_source, repack_source
from tvm_pulp.schedules.microkernels.latent_unpack import UnpackSettings, unpack_source
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop
from tvm_pulp.target.tvm_names import (
    Buffer,
    Evaluate,
    Expr,
    PrimFunc,
    Stmt,
    Var,
    address_of,
    arith,
    buffer_dtype,
    call_extern,
    tirx,
)

if TYPE_CHECKING:
    from tvm_pulp.schedules.base import ClusterFeatures


class LatentsBuilder:
    """Builds one function; see `LatentsTemplate`."""

    def __init__(self, workload: LatentsWorkload, tile: LatentsTile, features: ClusterFeatures) -> None:
        self.w = w = workload
        self.tile = tile
        self.features = features
        self.analyzer = arith.Analyzer()
        self.row, self.value = Var("row", "int32"), Var("value", "int32")
        rows, values = w.extents()
        few, less = tile.lacks(rows, values)
        axes = [
            TiledAxis(self.row, rows, tile.rows, few),
            TiledAxis(self.value, values, tile.values, less, tile.ends),
        ]
        self.loop = TileLoop(axes, [], self.analyzer, tile.ahead)
        self.arguments = [flat_argument(p) for p in w.function.params]
        self.l1 = L1Allocator()
        self.packs = w.kind in (PACK, REPACK)
        self.loose = self.arguments[0 if self.packs else -1]
        self.packed = self.arguments[-1 if self.packs else 0]

    def build(self) -> PrimFunc:
        """Return the function."""
        w = self.w
        copies = min(self.loop.total, self.tile.ahead + 1)
        self.loose_elements = aligned(self.tile.rows * self.tile.values, w.item_bytes)
        self.packed_elements = aligned(w.row_bytes() if self.tile.ends else self.tile.packed_bytes(w.bits))
        dtype = "uint8" if w.kind == REPACK else "float32"  # a signed byte is an index into the table, too
        before: list[Stmt] = []
        self.loose_l1, self.packed_l1 = self.loose, self.packed
        if not w.values_in_l1:
            self.loose_l1, declare = self.l1.allocate("values_l1", self.loose_elements * copies, dtype)
            before.append(declare)
        if not w.packed_in_l1:
            self.packed_l1, declare = self.l1.allocate(
                "packed_l1", self.packed_elements * (1 if self.tile.ends else copies), "uint8"
            )
            before.append(declare)
        if w.kind == REPACK:
            self.table, declare_table = self.l1.allocate("table", TABLE_BYTES, "uint8")
            before += [declare_table, self._on_all("latents_table", address_of(element(self.table, 0)))]
            if w.values_in_l1 and (self.loop.total == 1 or self.tile.ends):
                before.append(barrier())  # else there is one between the first loads, or at a tile's start
        move_values = None if w.values_in_l1 else self._move_loose
        move_packed = None if w.packed_in_l1 else self._move_packed
        loads, stores = (move_values, move_packed) if self.packs else (move_packed, move_values)
        run = self.loop.run_apart if self.tile.ends else self.loop.run
        body = run(loads, stores, self._compute)
        return kernel_function(
            w.function,
            self.arguments,
            sequence(*before, body),
            self.l1,
            self.features.cores,
            {
                "pulp.schedule": "latents",
                "pulp.tile": self._describe(),
                "pulp.micro_kernels": [self._micro_kernel()],
                "pulp.notes": self._notes(),
            },
        )

    def _describe(self) -> str:
        rows, values = self.w.extents()
        size = (
            f"up to {', '.join(map(str, self.tile.ends))}"
            if self.tile.ends
            else f"{self.tile.values}/{values}"
        )
        tile = f"rows {self.tile.rows}/{rows}, values {size}"
        return f"{self.w.bits} bits, {tile}"

    def _notes(self) -> list[str]:
        places = {self.loose: self.w.values_in_l1, self.packed: self.w.packed_in_l1}
        names = ", ".join(str(tensor.name) for tensor, in_l1 in places.items() if in_l1)
        return [f"in L1 before and after: {names}"] if names else []

    def _micro_kernel(self) -> str:
        w, assembly = self.w, self.features.has_xpulp
        if w.kind == REPACK:
            settings = PackSettings(w.bits, w.zero_point, None, True)
            return repack_source(settings, self._requantized_bytes(), assembly=assembly)
        if w.kind == PACK:
            return pack_source(PackSettings(w.bits, w.zero_point, w.scale, w.non_negative), assembly=assembly)
        return unpack_source(UnpackSettings(w.bits, w.zero_point, w.scale), assembly=assembly)

    def _driving(self, tile: Expr) -> Expr:
        """Return the blocks that worker 0 could do while it starts the transfers beside a tile."""
        loads, stores = driving_blocks(self.w, self.tile)
        if self.loop.total == 1 or self.tile.ends or not self.features.has_xpulp:
            return index(0)
        has_loads = (tile < self.loop.total - self.tile.ahead).astype("int32")
        return self.analyzer.simplify(has_loads * loads + (tile > 0).astype("int32") * stores)

    def _requantized_bytes(self) -> list[int]:
        """Return the integer for each byte of the source, see `uint_q.Requantization`."""
        multiplier, shift, source_zero_point = self.w.requantization
        is_signed = buffer_dtype(self.loose) == "int8"
        table = []
        for byte in range(256):
            value = byte - 256 if is_signed and byte >= 128 else byte
            rounded = ((value - source_zero_point) * multiplier + (1 << (shift - 1))) >> shift
            table.append(min(max(rounded + self.w.zero_point, 0), 2**self.w.bits - 1))
        return table

    def _on_all(self, function: str, *arguments: Expr) -> Stmt:
        """Return a call by every worker."""
        worker = Var("worker", "int32")
        call = call_extern("int32", function, worker, *arguments)
        return parallel(worker, self.features.cores, Evaluate(call))

    # transfers; a tile is contiguous in L2, but for chosen samples

    def _place(self, tile: Expr) -> tuple[Expr, Expr, Expr]:
        """Return a tile's first row, its first value in the row, and its number of values."""
        axes = self.loop.at(tile)
        row, value = axes[self.row], axes[self.value]
        return row.offset, value.offset, self.analyzer.simplify(row.size * value.size)

    def _copy(self, tile: Expr, elements: int) -> Expr:
        """Return where a tile's copy of a buffer in L1 begins."""
        return self.loop.copy_start(tile, 1, elements, self.tile.ahead + 1)

    def _packed_place(self, tile: Expr) -> Expr:
        """Return where a tile's packed values begin in their place in L1."""
        return self._packed_at(tile) if self.tile.ends else self._copy(tile, self.packed_elements)

    def _bytes(self, values: Expr) -> Expr:
        """Return the bytes of packed values; those before a tile end with a whole byte."""
        return self.analyzer.simplify(tirx.floordiv(values * self.w.bits + 7, 8))

    def _loose_at(self, tile: Expr) -> Expr:
        """Return a tile's first value in the tensor."""
        row, value, _ = self._place(tile)
        return self.analyzer.simplify(row * self.w.extents()[1] + value)

    def _packed_at(self, tile: Expr) -> Expr:
        """Return a tile's first byte in the tensor of packed values."""
        row, value, _ = self._place(tile)
        start = tirx.floordiv(value * self.w.bits, 8)
        return self.analyzer.simplify(row * self.w.row_bytes() + start)

    def _move_loose(self, tile: Expr, slot: Expr) -> list[Stmt]:
        _, _, count = self._place(tile)
        at, start = self._loose_at(tile), self._copy(tile, self.loose_elements)
        size = self.analyzer.simplify(count * self.w.item_bytes)
        return [dma_1d(slot, self.loose_l1, start, self.loose, at, size, TO_L1 if self.packs else TO_L2)]

    def _move_packed(self, tile: Expr, slot: Expr) -> list[Stmt]:
        _, value, count = self._place(tile)
        start = self._packed_place(tile)
        offset = self.analyzer.simplify(tirx.floordiv(value * self.w.bits, 8))
        if self.w.kind == GATHER:
            return [self._gather(tile, slot, start, offset)]
        at = self._packed_at(tile)
        size, direction = self._bytes(count), TO_L2 if self.packs else TO_L1
        return [dma_1d(slot, self.packed_l1, start, self.packed, at, size, direction)]

    def _gather(self, tile: Expr, slot: Expr, start: Expr, offset: Expr) -> Stmt:
        """Return a transfer for each chosen sample: side by side in L1."""
        axes, i = self.loop.at(tile), Var("i", "int32")
        row, size = axes[self.row], self._bytes(axes[self.value].size)
        sample, define = bind("sample", element(self._indices(), self.analyzer.simplify(row.offset + i)))
        move = dma_1d(
            slot, self.packed_l1, self.analyzer.simplify(start + i * size), self.packed,
            self.analyzer.simplify(sample * self.w.sample_bytes + offset), size, TO_L1,
        )  # fmt: skip
        return serial(i, row.size, sequence(define, move))

    def _indices(self) -> Buffer:
        return self.arguments[1]

    # work

    def _compute(self, tile: Expr) -> Stmt:
        _, _, count = self._place(tile)
        driving = self._driving(tile)
        at = self._loose_at(tile) if self.w.values_in_l1 else self._copy(tile, self.loose_elements)
        loose = address_of(element(self.loose_l1, at))
        at = self._packed_at(tile) if self.w.packed_in_l1 else self._packed_place(tile)
        packed = address_of(element(self.packed_l1, at))
        if self.w.kind == REPACK:
            return self._on_all(
                "latents_pack", loose, packed, count, driving, address_of(element(self.table, 0))
            )
        if self.w.kind == PACK:
            return self._on_all("latents_pack", loose, packed, count, driving)
        return self._on_all("latents_unpack", packed, loose, count, driving)
