"""`tvmc check`: the same steps in PyTorch, tensor by tensor."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("check", parents=[common], help="compare a package's training with PyTorch")
    parser.set_defaults(command=main)
    parser.add_argument("PACKAGE", help="a tar that tvmc compile --train wrote")
    parser.add_argument(
        "-i", "--inputs", required=True, help="npz: an array under each input's name, and labels"
    )
    parser.add_argument("--steps", type=int, default=1, help="batches to train (default: %(default)s)")


def main(options: argparse.Namespace) -> int:
    """Check; exit code 1 if a tensor parts from PyTorch."""
    from tvm_pulp.package import load

    report = load(options.PACKAGE).check(options.inputs, options.steps, progress=sys.stderr.isatty())
    print(report)
    return 0 if report.passed else 1
