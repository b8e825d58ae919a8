"""The micro-kernels of a matrix multiplication with bound knobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.matmul import distances, matmul_source
from tvm_pulp.schedules.microkernels.outer_product import outer_product_source, share_out
from tvm_pulp.schedules.microkernels.vector_product import vector_product_source

if TYPE_CHECKING:
    from tvm_pulp.schedules.base import ClusterFeatures
    from tvm_pulp.schedules.matmul_workload import Blocking, MatmulSizes


def micro_kernel_source(
    w: MatmulSizes, b: Blocking, features: ClusterFeatures, *, whole_c: bool, in_parts: bool
) -> str:
    """Return the C that works on a tile in float32.

    Parameters
    ----------
    w, b, features
        The sizes, the bound knobs and the target's.
    whole_c
        Whether all results are in L1, instead of a tile of them.
    in_parts
        Whether a result is summed up over several tiles.
    """
    cores, assembly = features.cores, features.has_xpulp
    d = distances(w.transpose_a, w.transpose_b, b.a_pitch(w), b.b_pitch(w))
    c_extents = (str(w.m), str(w.n)) if whole_c else ("m", "n")
    if w.is_outer_product:
        units = share_out(b.tile_m, b.tile_n, cores)
        columns = tile_extents(w.n, b.tile_n)
        return outer_product_source(
            b.tile_n, columns, units, d, cores, c_extents=c_extents, assembly=assembly
        )
    column_rests = rests(w.n, b.tile_n, b.block_columns)
    if b.is_vector_product(w):
        return vector_product_source(
            b.block_columns,
            column_rests,
            d,
            b.share(w, cores) * b.block_columns,
            ceil_div(b.tile_k, b.split_k),
            split_k=b.split_k,
            partial_elements=b.tile_elements(w)[2],
            relief=b.relief(w, cores),
            in_parts=in_parts,
            assembly=assembly,
        )
    return matmul_source(
        block_rows=b.block_rows,
        block_columns=b.block_columns,
        row_rests=rests(w.m, b.tile_m, b.block_rows),
        column_rests=column_rests,
        d=d,
        batched=w.batch > 1 and not w.reduce_batch,
        segmented=w.reduce_batch,
        split_k=b.split_k,
        partial_elements=b.tile_elements(w)[2],
        relief=b.relief(w, cores),
        c_extents=c_extents,
        assembly=assembly,
    )


def rests(extent: int, tile: int, block: int) -> set[int]:
    """Return the rows (or columns) left over after whole register blocks, in full and in edge tiles."""
    return {size % block for size in tile_extents(extent, tile)}


def tile_extents(extent: int, tile: int) -> set[int]:
    """Return the sizes of an axis's tiles."""
    return {min(tile, extent)} | ({extent % tile} if extent % tile else set())
