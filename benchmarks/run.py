"""Measure kernels and networks beside the machine's limit, the naive lowering and TrainLib: `make bench`."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.document import PARTS, as_markdown, as_text
from benchmarks.kernels import KERNELS, SEARCHED, SEARCHED_IN_FULL
from benchmarks.nets import BATCHES, NETS, measure_batch, measure_inference, measure_net
from benchmarks.replays import REPLAY_BITS, measure_replays
from benchmarks.search import search_workload
from benchmarks.trainlib import TARGET, Row, read_rows
from tvm_pulp.files import replacing
from tvm_pulp.measure.bench import measure_workload, naive_lowering
from tvm_pulp.measure.workloads import make_workload
from tvm_pulp.reports.bench import bench_record
from tvm_pulp.runtime.sim import benchmark as simulator_benchmark
from tvm_pulp.target import features, parse
from tvm_pulp.target.errors import UserError
from tvm_pulp.tuning import records as tuning

ROOT = Path(__file__).resolve().parents[1]

Record = dict[str, Any]


def measure_kernel(text: str) -> Record | str:
    """Measure a kernel by the compiler's lowering and by the naive one; a line that says why it cannot be."""
    chip = features(parse("pulp"))
    workload = make_workload(text)
    try:
        ours = measure_workload(workload, chip)
    except UserError as refusal:
        return str(refusal)
    try:
        naive = measure_workload(workload, chip, naive_lowering, skews=[0]).mean
    except UserError:  # no template may be needed for what the generic lowering cannot do
        naive = None
    return {**bench_record(ours), "naive_cycles": naive}


def measure_row(row: Row) -> Record:
    """Measure the work of a row of TrainLib's table."""
    chip = features(parse(TARGET))
    record: Record = {
        "layer": row.layer,
        "shape": row.shape,
        "step": row.step,
        "work": row.work,
        "trainlib_cycles": row.cycles,
        "trainlib_right": row.right,
        "kernel": row.kernel,
        "cycles": None,
        "schedule": None,
        "note": "",
    }
    try:
        ours = measure_workload(make_workload(row.kernel), chip)
    except UserError as refusal:
        return {**record, "note": str(refusal).rpartition(": ")[2]}
    return {**record, "cycles": ours.mean, "schedule": ours.schedule}


def measure_search(text: str) -> Record:
    """Search a kernel's tiles: all that there are, or those with the best estimates."""
    chip = features(parse("pulp"))
    return search_workload(text, chip, None) if text in SEARCHED_IN_FULL else search_workload(text, chip)


def measure_simulator(_: str) -> list[Record]:
    """Run the simulator's own benchmark."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        simulator_benchmark.main([])
    return [{"line": line.removeprefix("simulator: ")} for line in printed.getvalue().splitlines()]


def work_of(part: str, only: str) -> tuple[Callable[[Any], Any], list[Any]]:
    """Return what measures an item of a part, and its items whose name contains `only`."""
    if part == "trainlib":
        rows = [row for row in read_rows() if only in f"{row.layer} {row.shape} {row.step} {row.kernel}"]
        return measure_row, rows
    if part == "batches":
        return measure_batch, [batch for batch in BATCHES if only in f"batch {batch}"]
    if part == "replays":
        return measure_replays, [bits for bits in REPLAY_BITS if only in f"replays {bits}"]
    measure, names = {
        "kernels": (measure_kernel, KERNELS),
        "nets": (measure_net, list(NETS)),
        "inference": (measure_inference, list(NETS)),
        "search": (measure_search, [*SEARCHED, *SEARCHED_IN_FULL]),
        "simulator": (measure_simulator, ["simulator"]),
    }[part]
    return measure, [name for name in names if only in name]


def measure_part(part: str, only: str, processes: int) -> list[Record]:
    """Measure all items of a part, on several processes except for what measures time."""
    measure, items = work_of(part, only)
    quiet = not sys.stderr.isatty()
    bar = tqdm(total=len(items), desc=part, disable=quiet)
    records: list[Record] = []
    # a network's compilation uses all processors itself; daemons may not start processes
    alone = processes == 1 or part in ("nets", "inference", "replays", "batches", "simulator")
    context = contextlib.nullcontext() if alone else multiprocessing.get_context("spawn").Pool(processes)
    with context as pool, bar:
        for result in map(measure, items) if pool is None else pool.imap(measure, items):
            bar.update()
            if isinstance(result, str):
                print(f"left out: {result}", file=sys.stderr)
                continue
            records += result if isinstance(result, list) else [result]
    return records


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write docs/performance.md, JSON, and the tuning records of the search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="which (default: %(default)s)")
    parser.add_argument("--only", default="", help="items whose name contains this; nothing is written")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "performance.json")
    parser.add_argument("--tuning-records", type=Path, default=ROOT / "build" / "tuning_records.jsonl")
    parser.add_argument("--markdown", type=Path, default=ROOT / "docs" / "performance.md")
    options = parser.parse_args(arguments)
    parts = options.parts.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        parser.error(f"--parts: there is no {unknown[0]}; choose of {', '.join(PARTS)}")
    results = {}
    for part in parts:
        results[part] = measure_part(part, options.only, options.processes)
        print(as_text(part, results[part]), end="\n\n", flush=True)
    if options.only or set(parts) != set(PARTS):
        return 0
    for path, text in (
        (options.json, json.dumps(results, indent=1) + "\n"),
        (options.markdown, as_markdown(results)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    tuning.write_records(
        options.tuning_records, [tuning.Record(**found["record"]) for found in results["search"]]
    )
    print(f"wrote {options.tuning_records}: what the search found, for tvmc bench --tuning-records")
    return 0


if __name__ == "__main__":
    sys.exit(main())
