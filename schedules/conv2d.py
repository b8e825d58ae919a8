"""Convolutions of any window, stride, padding, dilation and groups: forward and both gradients.

No im2col, no padding: a tile of the image lies in L1 as it comes, and register blocks walk through it tap by
tap (see ``microkernels/conv2d``; depthwise ones, a group for each channel, in ``microkernels/depthwise``).
Tiles over groups, images, rows and both kinds of channels.
"""

from __future__ import annotations

from dataclasses import asdict

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.conv2d_build import Conv2dBuilder
from tvm_pulp.schedules.conv2d_model import estimate_cycles, knob_values, search
from tvm_pulp.schedules.conv2d_tiling import Conv2dBlocking, is_valid, l1_bytes
from tvm_pulp.schedules.conv2d_workload import (
    DATA_GRADIENT,
    FORWARD,
    WEIGHT_GRADIENT,
    Conv2dSizes,
    Conv2dWorkload,
    WindowAxis,
)
from tvm_pulp.schedules.epilogue import INPUTS, read_epilogue
from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape


class Conv2dTemplate:
    """The template of the conv2d classes: functions with the attribute ``"pulp.conv2d"``."""

    name = "conv2d"

    def match(self, function: PrimFunc) -> Conv2dWorkload | None:
        """Return the workload of a float32 convolution, None for anything else."""
        if function.attrs is None or "pulp.conv2d" not in function.attrs:
            return None
        kind = str(function.attrs.get("pulp.operator", ""))
        details = {str(key): value for key, value in function.attrs["pulp.conv2d"].items()}
        if kind not in (FORWARD, DATA_GRADIENT, WEIGHT_GRADIENT):
            return None
        if any(buffer_dtype(parameter) != "float32" for parameter in function.params):
            return None
        epilogue = None
        if "pulp.epilogue" in function.attrs:
            epilogue = read_epilogue(function, _channels(function, kind))
            if epilogue is None:
                return None
        elif len(function.params) != 3:
            return None
        result = function.params[2] if epilogue is None else epilogue.result
        first, second, third = (buffer_shape(tensor) for tensor in (*function.params[:INPUTS], result))
        data, weight, output = {
            FORWARD: (first, second, third),
            DATA_GRADIENT: (third, second, first),
            WEIGHT_GRADIENT: (second, third[-4:], first),
        }[kind]
        strides, dilation, padding = (
            [int(v) for v in details[k]] for k in ("strides", "dilation", "padding")
        )
        height, width = (
            WindowAxis(data[2 + i], output[2 + i], weight[2 + i], strides[i], padding[i], dilation[i])
            for i in range(2)
        )
        groups = int(details["groups"])
        depthwise = groups > 1 and groups == weight[0] == data[1]
        sections = third[0] if kind == WEIGHT_GRADIENT and len(third) == 5 else 1
        if depthwise:
            groups = 1
        sizes = Conv2dSizes(
            kind, data[0], weight[1], weight[0] // groups, height, width, sections, depthwise, groups,
            None if epilogue is None else epilogue.sizes,
        )  # fmt: skip
        return Conv2dWorkload(function, sizes, epilogue)

    def knobs(self, workload: Conv2dWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes, loop orders and numbers of partial sums to choose from."""
        return knob_values(workload.sizes, features.cores)

    def default(self, workload: Conv2dWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1, None where none do."""
        found = search(workload.sizes, features.cores, features.kernel_l1_bytes)
        return None if found is None else asdict(found)

    def l1_bytes(self, workload: Conv2dWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return l1_bytes(workload.sizes, Conv2dBlocking.of(workload.sizes, knobs))

    def is_valid(self, workload: Conv2dWorkload, knobs: dict[str, int], l1_bytes: int) -> bool:
        """Tell whether the tiles fit ``l1_bytes`` and the micro-kernel takes them."""
        return is_valid(workload.sizes, Conv2dBlocking.of(workload.sizes, knobs), l1_bytes)

    def estimate_cycles(
        self, workload: Conv2dWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call, see ``conv2d_model``."""
        return estimate_cycles(workload.sizes, Conv2dBlocking.of(workload.sizes, knobs), features.cores)

    def build(self, workload: Conv2dWorkload, knobs: dict[str, int], features: ClusterFeatures) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return Conv2dBuilder(workload, Conv2dBlocking.of(workload.sizes, knobs), features).build()


def _channels(function: PrimFunc, kind: str) -> int:
    """Return the channels of the result of the forward step or of the data gradient; 0 for the weights'."""
    weight = buffer_shape(function.params[1])
    if kind == WEIGHT_GRADIENT:
        return 0
    groups = int(function.attrs["pulp.conv2d"]["groups"])
    return weight[0] if kind == FORWARD else weight[1] * groups
