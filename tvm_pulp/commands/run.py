"""`tvmc run`: train or infer with a package on the simulated cluster."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tvm_pulp.execution import RunResult
from tvm_pulp.files import read_arrays, write_arrays


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("run", parents=[common], help="run a package on the simulated cluster")
    parser.set_defaults(command=main)
    parser.add_argument("PACKAGE", help="a tar that tvmc compile wrote")
    parser.add_argument(
        "-i",
        "--inputs",
        required=True,
        help="npz: an array under each input's name, and labels; slots of the replay store, if any, as "
        "replay_indices (to train on) or replay_slots (to overwrite)",
    )
    parser.add_argument(
        "-o", "--outputs", help="npz to write: loss, output, and every parameter after the last step"
    )
    parser.add_argument("--steps", type=int, help="batches to run (default: one pass over the samples)")
    parser.add_argument(
        "--function",
        choices=["train_step", "infer", "store_replays"],
        help="default: train_step if the package trains; store_replays fills the replay store",
    )
    parser.add_argument(
        "--parameters", help="npz that an earlier run wrote: start from its parameters and replay store"
    )
    parser.add_argument("--print-time", action="store_true", help="print cycles and MAC/cycle")
    parser.add_argument(
        "--print-top", type=int, default=0, metavar="N", help="print the N kernels that take longest"
    )
    parser.add_argument("--no-timing", action="store_true", help="functional simulation: faster, no cycles")
    parser.add_argument(
        "--check-memory", action="store_true", help="report races and reads of unwritten memory (slower)"
    )


def main(options: argparse.Namespace) -> int:
    """Run."""
    import sys

    from tvm_pulp.package import load
    from tvm_pulp.reports.times import kernel_report, time_report
    from tvm_pulp.runners.simulator import SimulatorRunner

    package = load(options.PACKAGE)
    tensors = None
    if options.parameters:
        stored = read_arrays(options.parameters)
        tensors = {name: stored[name] for name in stored if name not in ("loss", "output", "cycles")}
    runner = SimulatorRunner(timing=not options.no_timing, checks=options.check_memory)
    result = package.run(
        options.inputs,
        options.steps,
        function=options.function,
        tensors=tensors,
        runner=runner,
        progress=sys.stderr.isatty(),
    )
    if options.outputs:
        write_arrays(options.outputs, as_arrays(result))
    trained = not np.isnan(result.losses).all()
    if trained:
        print(f"loss: first step {result.losses[0]:.6g}, last step {result.losses[-1]:.6g}")
    if options.print_time and not options.no_timing:
        print(time_report(package.metadata, result))
    if options.print_top and not options.no_timing:
        print(kernel_report(package.metadata, result, options.print_top))
    return 0


def as_arrays(result: RunResult) -> dict[str, np.ndarray]:
    """What `--outputs` holds: "loss" and "cycles" a step, "output" a sample, tensors by name."""
    arrays = {"output": result.outputs, "cycles": result.cycles}
    if not np.isnan(result.losses).all():
        arrays["loss"] = result.losses
    return {**arrays, **result.tensors}
