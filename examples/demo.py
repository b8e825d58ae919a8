"""Train a small MobileNet on real digits: on the simulated cluster and in PyTorch, side by side.

Run it by `make demo`. It exits with 1 if the cluster and PyTorch part.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))

import tvm_pulp
from examples.digits import digits
from examples.models import mobilenet_digits
from tvm_pulp.reports.times import kernel_report, time_report
from tvm_pulp.runners.simulator import SimulatorRunner


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile, train, compare, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--target", default="pulp")
    options = parser.parse_args(arguments)

    images, labels = (array[: 4 * options.batch_size] for array in digits())
    # From this seed, no ReLU's input comes so close to zero in 20 steps that rounding decides on which side
    # it falls; otherwise any two float32 implementations part after some steps.
    network = mobilenet_digits(seed=12).train()
    exported = torch.export.export(network, (torch.from_numpy(images[: options.batch_size]),))
    config = tvm_pulp.TrainConfig(
        loss="cross-entropy",
        optimizer="sgd",
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        batch_size=options.batch_size,
    )
    begin = time.time()
    print("compiling a MobileNet for training ...", flush=True)
    package = tvm_pulp.compile(exported, target=options.target, train=config, progress=True)
    print(
        f"compiled in {time.time() - begin:.0f} s; "
        f"training {options.steps} steps of {options.batch_size} digits"
    )

    name = package.metadata.of_kind("input")[0].name
    report = package.check(
        {name: images, "labels": labels}, options.steps, runner=SimulatorRunner(timing=True), progress=True
    )
    print("\nstep  loss on the cluster  loss in PyTorch")
    for index, (ours, reference) in enumerate(zip(report.run.losses, report.reference_losses, strict=True)):
        print(f"{index + 1:4}  {ours:19.6f}  {reference:15.6f}")
    print(f"\n{report}\n")
    print(kernel_report(package.metadata, report.run, 10))
    print(f"\n{time_report(package.metadata, report.run)}")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
