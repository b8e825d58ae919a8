"""`tvmc bench`: measure single kernels of any shape."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tvm_pulp.target.errors import UserError

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
    parser.add_argument("--json", action="store_true", help="print JSON, with bytes moved and overlap")


def main(options: argparse.Namespace) -> int:
    """Measure; exit code 1 where a result is wrong or a kernel cannot be compiled."""
    from tqdm import tqdm

    from tvm_pulp.measure.bench import measure_workload
    from tvm_pulp.measure.workloads import make_workload
    from tvm_pulp.reports.bench import bench_record, bench_report
    from tvm_pulp.runners.gvsoc import find_gvsoc
    from tvm_pulp.target import features, parse

    chip = features(parse(options.target))
    workloads = [make_workload(text) for text in options.KERNEL]
    quiet = not sys.stderr.isatty()
    on_gvsoc = options.runner == "gvsoc"
    if on_gvsoc and find_gvsoc() is None:
        raise UserError(
            "--runner gvsoc: there is none on PATH or in GVSOC_HOME; install it, or leave this out"
        )
    results = [
        measure_workload(w, chip, on_gvsoc=on_gvsoc) for w in tqdm(workloads, unit="kernel", disable=quiet)
    ]
    if options.json:
        print(json.dumps([bench_record(result) for result in results], indent=2))
        return 0
    print(bench_report(results))
    generic = [r.workload.specification.text for r in results if r.schedule == "generic"]
    if generic:
        print(f"by the generic lowering, as no template takes them: {', '.join(generic)}")
    return 0
