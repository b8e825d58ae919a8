"""Matrix multiplication of float16, summed in float32: linear layers and 1x1 convolutions, all three steps.

As ``matmul``, but for the micro-kernel, and for partial sums: where the sum is in several tiles, float32
partial sums stay in L1 and only the last part is rounded to float16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tvm_pulp.schedules.dialect import element, index
from tvm_pulp.schedules.float16_matmul_model import FLOAT16
from tvm_pulp.schedules.matmul import MatmulTemplate
from tvm_pulp.schedules.matmul_build import MatmulBuilder
from tvm_pulp.schedules.matmul_kernels import rests
from tvm_pulp.schedules.matmul_workload import MatmulWorkload
from tvm_pulp.schedules.microkernels.float16_matmul import float16_matmul_source
from tvm_pulp.schedules.microkernels.half_outer_product import half_outer_product_source
from tvm_pulp.schedules.microkernels.half_panel import HalfPanelForm
from tvm_pulp.schedules.microkernels.matmul import distances
from tvm_pulp.target.tvm_names import Cast, Expr, PrimFunc, Stmt, address_of


class Float16MatmulBuilder(MatmulBuilder):
    """Builds one function; see `Float16MatmulTemplate`."""

    schedule = "float16_matmul"
    dtype = "float16"

    def _scratch(self) -> list[Stmt]:
        if self.loop.reduction_tiles == 1:
            return []
        self.sums, declaration = self.l1.allocate("sums_l1", self.c_elements, "float32")
        return [declaration]

    def _parts(self, tile: Expr, name: Callable[[str, Expr], Expr]) -> list[Expr]:
        first, last = self.loop.first_in_reduction(tile), self.loop.last_in_reduction(tile)
        if first is None or last is None:
            return [index(0), index(1), index(1)]
        begins, ends = name("begins", Cast("int32", first)), name("ends", Cast("int32", last))
        return [address_of(element(self.sums, index(0))), begins, ends]

    def _micro_kernel(self) -> str:
        w, b = self.w, self.b
        assembly = self.features.has_xpulp and self.features.has_fp16
        if w.is_outer_product:
            return half_outer_product_source(assembly=assembly)
        form = HalfPanelForm(
            distances(w.transpose_a, w.transpose_b, b.a_pitch(w), b.b_pitch(w)),
            odd=1 in rests(w.k, b.tile_k, 2),
            segmented=w.reduce_batch,
            partial=self.loop.reduction_tiles > 1,
        )
        return float16_matmul_source(
            block=(b.block_rows, b.block_columns),
            row_rests=rests(w.m, b.tile_m, b.block_rows),
            column_rests=rests(w.n, b.tile_n, b.block_columns),
            form=form,
            assembly=assembly,
        )


class Float16MatmulTemplate(MatmulTemplate):
    """The template of the matmul class in float16."""

    name = "float16_matmul"
    dtype = "float16"
    model = FLOAT16
    builder = Float16MatmulBuilder

    def match(self, function: PrimFunc) -> MatmulWorkload | None:
        """Return the workload of a float16 matmul, None for anything else."""
        workload = super().match(function)
        if workload is None:
            return None
        # a single row (or column) lies along the sum whichever way it is called
        w = workload.sizes
        w = replace(w, transpose_a=w.transpose_a and w.m > 1, transpose_b=w.transpose_b or w.n == 1)
        return replace(workload, sizes=w)
