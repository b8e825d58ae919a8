"""Quantised depthwise convolutions 3x3 with stride 2, channels innermost, an even number, any padding.

Rows of the image lie in L1 as in L2, with rows of padding above and below but no columns: see
``microkernels/depthwise_pairs.py``. An image that is in L1 is read where it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import element, index, sequence, when
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.depthwise_pairs import depthwise_pairs_source
from tvm_pulp.schedules.padded_image import PaddedImage
from tvm_pulp.schedules.quantized_conv2d_workload import QuantizedConv2dWorkload
from tvm_pulp.schedules.quantized_convolution import ConvolutionModel, ConvolutionTemplate
from tvm_pulp.schedules.quantized_convolution_build import ConvolutionBuilder
from tvm_pulp.schedules.quantized_depthwise_pairs_model import (
    DepthwisePairsBlocking,
    WholeRows,
    estimate_cycles,
    l1_bytes,
    micro_kernel_sizes,
    read_workload,
    search,
    work_cycles,
)
from tvm_pulp.schedules.quantized_transfers import load_vectors
from tvm_pulp.schedules.resident import resident_bytes
from tvm_pulp.schedules.tile_loop import TiledAxis
from tvm_pulp.target.tvm_names import Expr, PrimFunc, Stmt, Var, address_of


class DepthwisePairsTemplate(ConvolutionTemplate[DepthwisePairsBlocking]):
    """The template of functions with the attribute ``"pulp.quantized_depthwise"``, 3x3 with stride 2."""

    name = "quantized_depthwise_pairs"
    attribute = "pulp.quantized_depthwise"
    model = ConvolutionModel(
        read_workload,
        search,
        DepthwisePairsBlocking.of,
        l1_bytes,
        estimate_cycles,
        work_cycles,
        channels=None,
        scratch="data",
        takes_tensors=lambda _, __: True,
    )

    def knobs(self, workload: QuantizedConv2dWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes to choose from."""
        sizes = tile_sizes(workload.sizes.rows, 1)
        return {"tile_y": sizes, "first_y": sizes}

    def build_blocking(
        self,
        workload: QuantizedConv2dWorkload,
        blocking: DepthwisePairsBlocking,
        features: ClusterFeatures,
        scratch: Collection[str] | None,
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _Builder(workload, blocking, features, scratch).build()

    def build_in_place(
        self, workload: QuantizedConv2dWorkload, features: ClusterFeatures, resident: Collection[int]
    ) -> PrimFunc | None:
        """Return the function for tensors in L1; the image is read where it is if windows end in it."""
        s, function = workload.sizes, workload.function
        assert isinstance(s, WholeRows)
        if len(set(resident)) < len(function.params):
            return None
        whole = DepthwisePairsBlocking(s.rows, s.rows)
        left = features.kernel_l1_bytes - resident_bytes(function, resident)
        unpacked = whole.tile_elements(s)["weight"] if s.packed else 0
        if s.ends_in_image and s.width * s.channels == s.pitch and unpacked <= left:
            return self.build_blocking(workload, whole, features, ["weight"] if s.packed else [])
        return super().build_in_place(workload, features, resident)


class _Builder(ConvolutionBuilder[DepthwisePairsBlocking]):
    def __init__(
        self,
        workload: QuantizedConv2dWorkload,
        blocking: DepthwisePairsBlocking,
        features: ClusterFeatures,
        scratch: Collection[str] | None,
    ) -> None:
        s = workload.sizes

        def axes(variables: Mapping[str, Var]) -> list[TiledAxis]:
            channel = TiledAxis(variables["channel"], s.channels, s.channels)
            row = TiledAxis(variables["row"], s.rows, blocking.tile_y, blocking.lacks)
            return [channel, TiledAxis(variables["image"], s.images, 1), row]

        super().__init__(workload, blocking, features, axes, scratch)
        self.image = PaddedImage(s, blocking.tile_y, features.cores, self.analyzer)
        self.reads_tensor = self.in_place and "data" not in (scratch or ())
        self.pads_tiles = s.has_rows_of_padding and not self.image.pads_rows_once
        self.channels = TileAxis(index(0), index(s.channels), s.channels)
        periods = dict.fromkeys(self.elements, self.loop.total) | {"data": 1, "result": 1}
        self.allocate(periods, dict.fromkeys(periods, 1) if self.in_place else blocking.copies(s))

    def build(self) -> PrimFunc:
        s, b = self.s, self.b
        copies = self.in_place and not self.reads_tensor
        prepare = self._prepare if self.pads_tiles or s.packed or copies else None
        every = 1 if self.pads_tiles or copies else self.loop.total
        starts = [index(copy * self.elements["data"]) for copy in range(self.copies["data"])]
        places = [address_of(element(self.buffers["data"], at)) for at in starts]
        padding = [] if self.reads_tensor else self.image.write_once(places)
        body = self.run(self._loads, self._compute, prepare, padding, every)
        sources = [
            depthwise_pairs_source(
                micro_kernel_sizes(s, self.features.cores), assembly=self.features.has_xpulp
            )
        ]
        if copies:
            sources.append(self.image.copying(assembly=self.features.has_xpulp))
        source = "\n".join([*sources, self.image.micro_kernel()])
        tile = f"rows {b.tile_y}/{s.rows}; strips of two channels"
        return self.finish(body, tile, source, "quantized_depthwise_pairs")

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        s = self.s
        image, row = self.axis(tile, "image", "row")
        place = self.buffers["data"], self.start("data", tile)
        steps = self.image.load(slot, *place, self.data, image.offset, row)
        shape = (s.channels, 1, s.kernel[0] * s.chunk_of_channel)
        weights = self.load_weights(tile, slot, shape, self.channels)
        weights += load_vectors(
            slot, self.buffers["bias"], index(0), self.terms[0], s.channels, self.channels, self.analyzer
        )
        new = self.loop.when_new(tile, self.loop.total, sequence(weights))
        return [*steps, *([] if new is None else [new])]

    def _prepare(self, tile: Expr) -> Stmt:
        """Unpack weights, copy the rows of an image in L1, write the padding above and below."""
        image, row = self.axis(tile, "image", "row")
        steps = [self.unpack_weights(tile, self.s.kernel[0] * self.s.chunk_of_channel, self.channels)]
        if self.in_place and not self.reads_tensor:
            place = self.buffers["data"], self.start("data", tile)
            steps.append(self.image.copy(*place, self.data, image.offset, row))
        if self.pads_tiles:
            condition, write = self.image.write_rows(self.place("data", tile), row)
            steps.append(when(self.analyzer.simplify(condition), write))
        return sequence(*steps)

    def _compute(self, tile: Expr) -> Stmt:
        row = self.axis(tile, "row")[0]
        pads = index(0)
        if self.s.padding[0] and not self.s.has_rows_of_padding:
            pads = self.analyzer.simplify((row.offset <= 0).astype("int32"))
        start = self.start("data", tile)
        if not (self.reads_tensor and self.s.padding[0]):  # else the tensor begins with the second row
            start = self.analyzer.simplify(start + self.s.pitch)
        places = (self.place(name, tile) for name in ("weight", "bias", "result"))
        data = address_of(element(self.buffers["data"], start))
        return self.workers("depthwise_pairs_tile", data, *places, row.size, pads)
