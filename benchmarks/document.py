"""Write what was measured as tables: on the terminal and as docs/performance.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm_pulp.reports.table import table

Record = Mapping[str, Any]
Column = tuple[str, Callable[[Record], str]]


def _rate(record: Record) -> str:
    return f"{record['mac_per_cycle']:.2f}" if record.get("macs") else "-"


def _times(other: float | None, ours: float) -> str:
    return "-" if other is None else f"{other / ours:.2f}x"


KERNELS: list[Column] = [
    ("kernel", lambda r: r["kernel"]),
    ("schedule", lambda r: r["schedule"]),
    ("MAC", lambda r: str(r["macs"] or "-")),
    ("cycles", lambda r: f"{r['cycles']['mean']:.0f}"),
    ("MAC/cycle", _rate),
    ("bytes in", lambda r: str(r["dma"]["bytes_in"])),
    ("bytes out", lambda r: str(r["dma"]["bytes_out"])),
    ("bound", lambda r: f"{r['bound']['cycles']:.0f}"),
    ("of bound", lambda r: f"{r['bound']['fraction']:.0%}"),
    ("overlap", lambda r: f"{r['dma']['overlap']:.0%}"),
    ("naive cycles", lambda r: "-" if r["naive_cycles"] is None else f"{r['naive_cycles']:.0f}"),
    ("faster", lambda r: _times(r["naive_cycles"], r["cycles"]["mean"])),
]
NETS: list[Column] = [
    ("training step, batch 8", lambda r: r["net"]),
    ("MAC", lambda r: str(r["macs"])),
    ("cycles", lambda r: str(r["cycles"])),
    ("MAC/cycle", _rate),
    ("bytes in", lambda r: str(r["bytes_in"])),
    ("bytes out", lambda r: str(r["bytes_out"])),
    ("bound", lambda r: f"{r['bound_cycles']:.0f}"),
    ("of bound", lambda r: f"{r['fraction']:.0%}"),
    ("overlap", lambda r: f"{r['overlap']:.0%}"),
    ("naive cycles", lambda r: str(r["naive_cycles"])),
    ("faster", lambda r: _times(r["naive_cycles"], r["cycles"])),
]
INFERENCE: list[Column] = [
    ("inference in 8 bits", lambda r: r["net"]),
    *(column for column in NETS[1:] if column[0] not in ("naive cycles", "faster")),
    ("L2 bytes", lambda r: str(r["l2_bytes"])),
]
TRAINLIB: list[Column] = [
    ("TrainLib's layer", lambda r: f"{r['layer']} {r['shape']} {r['step']}"),
    ("its cycles", lambda r: f"{r['trainlib_cycles']:.0f}{'' if r['trainlib_right'] else ' (wrong)'}"),
    ("a cycle", lambda r: f"{r['work'] / r['trainlib_cycles']:.2f}"),
    ("ours", lambda r: "-" if r["cycles"] is None else f"{r['cycles']:.0f}"),
    ("a cycle", lambda r: "-" if r["cycles"] is None else f"{r['work'] / r['cycles']:.2f}"),
    ("ahead", lambda r: "-" if r["cycles"] is None else _times(r["trainlib_cycles"], r["cycles"])),
    ("schedule", lambda r: r["schedule"] or r["note"]),
]
BATCHES: list[Column] = [
    ("batch", lambda r: str(r["batch"])),
    ("MAC", lambda r: str(r["macs"])),
    ("cycles", lambda r: str(r["cycles"])),
    ("cycles a sample", lambda r: str(r["cycles_a_sample"])),
    ("MAC/cycle", lambda r: f"{r['macs'] / r['cycles']:.2f}"),
]
SEARCH: list[Column] = [
    ("kernel", lambda r: r["kernel"]),
    ("default", lambda r: f"{r['default_cycles']:.0f}"),
    ("best found", lambda r: f"{r['best_cycles']:.0f}"),
    ("loss", lambda r: f"{r['loss']:.1%}"),
    ("measured", lambda r: f"{r['tried']} of {r['valid']}"),
]
SIMULATOR: list[Column] = [("speed of the simulator", lambda r: r["line"])]

PARTS: dict[str, tuple[str, str, list[Column]]] = {
    "kernels": (
        "Kernels",
        """\
Mean cycles over 12 start skews, warm, on `pulp-open`: 8 cores, 4 FPUs, 64 KiB of L1. Tensors are in L2,
transfers included, unless the kernel says `source=l1`. The bound is the larger of what the cores and FPUs
need and what the DMA needs to move each tensor once (8 bytes a cycle each way); a batch norm with channels
that exceed L1 reads its inputs twice, but for what stays, which is not in the bound. Products with the zeros
of a padding count as MAC, as is usual, but not in the bound: our kernels leave them out. Overlap: share of
the cycles with a transfer in flight and workers at work, in proportion to the workers that are. Naive: the
same computation by the generic lowering, without templates.""",
        KERNELS,
    ),
    "nets": (
        "Training steps of networks",
        """\
Batch 8, SGD with momentum, one whole step, transfers included. **L2 is raised to 128 MiB by the target
option** (`-l2-bytes=134217728`), as the activations of a batch of 8 exceed 1.5 MiB. The bound counts the
multiply-accumulates, here with those of the padding, and the bytes that the DMA moved; batch norms, loss and
update are left out of it.""",
        NETS,
    ),
    "inference": (
        "Integer inference of networks",
        """\
One image, weights and activations of 8 bits, from float32 input to float32 output, cold caches, transfers
included, on `pulp-open` as it is. The bound counts the multiply-accumulates at 32 a cycle (8 cores, four
products an instruction) and the bytes that the DMA moved. L2: weights, inputs, outputs and activations.""",
        INFERENCE,
    ),
    "trainlib": (
        "Beside PULP-TrainLib",
        """\
Data in L1, FP32 unless said. TrainLib: its own layer functions, best of all its variants, on GVSoC, 8 cores,
a stock GCC 14.2 (without hardware loops, up to about 1.27x below what it could reach). **L1 is raised to
256 KiB by the target option** (`-l1-bytes=262144`), as several of the shapes exceed 64 KiB. *A cycle*:
multiply-accumulates, or elements of ReLU and SGD.""",
        TRAINLIB,
    ),
    "batches": (
        "Batch size",
        "A training step of the demo's small MobileNet (L2 raised as above).",
        BATCHES,
    ),
    "search": (
        "The first guess",
        """\
Cycles with the tiles that the analytic model picks, and the best of a search that measures: the settings of
the knobs with the lowest estimates of all that fit L1, those that give the same code once. Of the smallest
shapes every setting is measured.""",
        SEARCH,
    ),
    "simulator": ("The simulator", "Instructions a second of host time.", SIMULATOR),
}
"""Name → title, what to know, columns."""


def as_text(part: str, records: Sequence[Record]) -> str:
    """A part's table for the terminal."""
    title, _, columns = PARTS[part]
    return f"{title}\n{table([name for name, _ in columns], _cells(columns, records))}"


def as_markdown(parts: Mapping[str, Sequence[Record]]) -> str:
    """The whole document."""
    lines = [
        "# Performance",
        "",
        "Written by `make bench`; all cycles are those of the built-in simulator, which counts as GVSoC's "
        "`pulp-open` does (docs/simulator.md). Any other kernel or shape: `tvmc bench`.",
    ]
    for part, records in parts.items():
        title, text, columns = PARTS[part]
        lines += ["", f"## {title}", text, ""]
        lines.append("| " + " | ".join(name for name, _ in columns) + " |")
        lines.append("|---|" + "---:|" * (len(columns) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in _cells(columns, records)]
    return "\n".join(lines) + "\n"


def _cells(columns: Sequence[Column], records: Sequence[Record]) -> list[list[str]]:
    return [[cell(record) for _, cell in columns] for record in records]
