"""What `tvmc bench` prints: a line a kernel, or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm_pulp.reports.table import table

if TYPE_CHECKING:
    from tvm_pulp.measure.bench import BenchResult

HEADER = ["kernel", "schedule", "MAC", "cycles", "min", "max", "MAC/cycle", "bound", "limit", "of bound"]


def bench_report(results: Sequence[BenchResult]) -> str:
    """A table: cycles are the mean over the start skews, the bound is in cycles."""
    return table(HEADER, [_row(result) for result in results], left=2)


def _row(r: BenchResult) -> list[str]:
    rate = f"{r.rate:.2f}" if r.macs else "-"
    return [
        r.workload.specification.text,
        r.schedule,
        str(r.macs) if r.macs else "-",
        f"{r.mean:.0f}",
        str(min(r.cycles)),
        str(max(r.cycles)),
        rate,
        f"{r.bound.cycles:.0f}",
        r.bound.limit,
        f"{r.fraction:.0%}",
    ]


def bench_record(r: BenchResult) -> dict[str, Any]:
    """All that was measured, for JSON."""
    return {
        "kernel": r.workload.specification.text,
        "schedule": r.schedule,
        "macs": r.macs,
        "cycles": {"mean": r.mean, "min": min(r.cycles), "max": max(r.cycles)},
        "mac_per_cycle": r.rate,
        "bound": {
            "cycles": r.bound.cycles,
            "compute_cycles": r.bound.compute,
            "dma_cycles": r.bound.dma,
            "fraction": r.fraction,
        },
        "dma": {
            "bytes_in": r.dma.bytes_in,
            "bytes_out": r.dma.bytes_out,
            "busy": r.dma.busy,
            "overlap": r.dma.overlap,
        },
        "largest_error": r.error,
    }
