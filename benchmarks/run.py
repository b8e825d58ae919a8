"""Print cycles of kernels beside the machine's limit and the generic lowering; run it by `make bench`.

All numbers are simulated cycles on the target `pulp`, warm, with all transfers from and to L2. The limit is
4 multiply-accumulates a cycle: four FPUs shared by eight cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.schedules.matmul_functions import matmul_function
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.passes.operators.conv2d import Conv2d, conv2d
from tvm_pulp.passes.operators.conv2d_data_gradient import conv2d_data_gradient
from tvm_pulp.passes.operators.conv2d_weight_gradient import conv2d_weight_gradient
from tvm_pulp.reports.table import table
from tvm_pulp.runtime.sim import benchmark as simulator_benchmark
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.target import Features, features, parse
from tvm_pulp.target.tvm_names import PrimFunc


def workloads() -> Iterator[tuple[str, PrimFunc]]:
    """Name and kernel computation of each line."""
    for name, transpose_a, transpose_b in (
        ("A·B", False, False),
        ("Aᵀ·B", True, False),
        ("A·Bᵀ", False, True),
    ):
        for m, n, k in ((64, 64, 64), (50, 37, 61), (256, 256, 256)):
            function = matmul_function(m, n, k, transpose_a=transpose_a, transpose_b=transpose_b)
            yield f"matmul {m}x{n}x{k} {name}", function
    for channels, size, groups in ((16, 16, 1), (64, 8, 1), (64, 16, 64)):
        for stride in (1, 2):
            kind = "depthwise" if groups > 1 else "conv2d"
            title = f"{kind} 3x3, {channels} channels, {size}x{size}, stride {stride}"
            attributes = Conv2d((stride, stride), (1, 1, 1, 1), (1, 1), groups)
            data, weight = (1, channels, size, size), (channels, channels // groups, 3, 3)
            makers = {
                "forward": conv2d,
                "data gradient": conv2d_data_gradient,
                "weight gradient": conv2d_weight_gradient,
            }
            for work, make in makers.items():
                yield f"{title}: {work}", make("layer", work.replace(" ", "_"), attributes, data, weight)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    options = parser.parse_args(arguments)
    chip = features(parse("pulp"))
    rows = []
    chosen = [(name, function) for name, function in workloads() if options.only in name]
    for name, function in tqdm(chosen, unit="kernel", disable=not sys.stderr.isatty()):
        macs = int(function.attrs["pulp.macs"])
        ours, generic = cycles(lower(function, chip), chip), cycles(lower_generic(function, chip), chip)
        rate = macs / ours
        rows.append(
            [name, str(macs), str(ours), f"{rate:.2f}", f"{rate / chip.fpus:.0%}", f"{macs / generic:.2f}"]
        )
    print(table(["kernel", "MAC", "cycles", "MAC/cycle", "of limit", "generic lowering"], rows))
    return simulator_benchmark.main([])


def cycles(kernel: PrimFunc, chip: Features) -> int:
    """Cycles of a warm call."""
    with tempfile.TemporaryDirectory() as folder:
        return measure_kernel(kernel, random_arguments(kernel), chip, Path(folder), checks=False).cycles[-1]


if __name__ == "__main__":
    sys.exit(main())
