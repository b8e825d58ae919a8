"""`tvmc bench`: measure single kernels of any shape."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm_pulp.target.errors import UserError

if TYPE_CHECKING:
    from tvm_pulp.target.features import Features
    from tvm_pulp.target.tvm_names import PrimFunc

EXAMPLES = """\
a kernel is kind:key=value,key=value, for example
  matmul:m=48,n=80,k=72,layout=tn,source=l2
  conv2d:cin=16,cout=16,h=32,w=32,kernel=3,stride=1,pad=1,step=weight-grad
a wrong kind or key names those there are
"""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "bench",
        parents=[common],
        help="measure kernels beside the machine's limit",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=main)
    parser.add_argument("KERNEL", nargs="+", help="kind and shape, see below")
    parser.add_argument("--target", default="pulp", help='tag with options ("pulp -l1-bytes=131072")')
    parser.add_argument(
        "--runner",
        choices=["sim", "gvsoc"],
        default="sim",
        help="who counts the cycles (default: %(default)s)",
    )
    parser.add_argument(
        "--tuning-records", metavar="FILE", help="make kernels by the knobs of these, where there is a record"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with bytes moved and overlap")


def main(options: argparse.Namespace) -> int:
    """Measure; exit code 1 where a result is wrong or a kernel cannot be compiled."""
    from tqdm import tqdm

    from tvm_pulp.measure.bench import best_lowering, measure_workload
    from tvm_pulp.measure.workloads import make_workload
    from tvm_pulp.reports.bench import bench_record, bench_report
    from tvm_pulp.runners.gvsoc import find_gvsoc
    from tvm_pulp.target import features, parse
    from tvm_pulp.tuning.records import lower_by_records, read_records

    chip = features(parse(options.target))
    workloads = [make_workload(text) for text in options.KERNEL]
    quiet = not sys.stderr.isatty()
    on_gvsoc = options.runner == "gvsoc"
    if on_gvsoc and find_gvsoc() is None:
        raise UserError(
            "--runner gvsoc: there is none on PATH or in GVSOC_HOME; install it, or leave this out"
        )
    records = [] if options.tuning_records is None else read_records(options.tuning_records)

    def lowering(function: PrimFunc, chip: Features, resident: Sequence[str]) -> PrimFunc:
        tuned = None if resident else lower_by_records(function, chip, records)
        return best_lowering(function, chip, resident) if tuned is None else tuned

    bar = tqdm(workloads, unit="kernel", disable=quiet)
    results = [measure_workload(workload, chip, lowering, on_gvsoc=on_gvsoc) for workload in bar]
    if options.json:
        print(json.dumps([bench_record(result) for result in results], indent=2))
        return 0
    print(bench_report(results))
    generic = [r.workload.specification.text for r in results if r.schedule == "generic"]
    if generic:
        print(f"by the generic lowering, as no template takes them: {', '.join(generic)}")
    return 0
