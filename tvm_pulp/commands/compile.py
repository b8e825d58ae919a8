"""`tvmc compile`: a model file in, a package out."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from tvm_pulp.target.errors import UserError

if TYPE_CHECKING:
    from tvm_pulp.package.package import Package


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "compile", parents=[common], help="compile a model for inference or training"
    )
    parser.set_defaults(command=main)
    parser.add_argument("FILE", help="model: .onnx, .pt2 (torch.export) or .tflite")
    parser.add_argument(
        "--target", default="pulp", help='tag with options ("pulp -l2-bytes=33554432"), JSON or its path'
    )
    parser.add_argument(
        "-o", "--output", default="module.tar", help="package to write (default: %(default)s)"
    )
    parser.add_argument("-f", "--output-format", choices=["mlf"], default="mlf", help="Model Library Format")
    parser.add_argument(
        "--model-format", choices=["onnx", "pytorch", "tflite"], help="if the suffix does not tell"
    )
    parser.add_argument("--input-shapes", help='for dynamic shapes: "x:[1,3,8,8] y:[1,4]"')
    parser.add_argument(
        "--module-name", default="network", help="prefix of all C symbols (default: %(default)s)"
    )
    parser.add_argument("--cross-compiler", help="C compiler for RISC-V (default: ziglang from pip)")
    parser.add_argument("--cross-compiler-options", help="more options for it")
    parser.add_argument("--dump-plan", action="store_true", help="print where everything lives in memory")
    parser.add_argument("--dump-code", action="store_true", help="print the generated C kernels")
    integers = parser.add_argument_group(
        "integers of 8 bits", "for inference, or with --train for the layers up to --latent-layer"
    )
    integers.add_argument(
        "--calibration", metavar="DATA", help="npz file, or folder of npy files, of samples to find ranges by"
    )
    integers.add_argument(
        "--calibrator", help="min-max (default), percentile, percentile:99.9 or mse: how ranges are chosen"
    )
    integers.add_argument(
        "--dump-quantization", action="store_true", help="print what each layer loses against float32"
    )
    integers.add_argument("--weight-bits", type=int, choices=[8, 4], help="default: 8")
    training = parser.add_argument_group("training")
    training.add_argument("--train", action="store_true", help="compile the training step, too")
    training.add_argument("--loss", choices=["cross-entropy", "mse"], default="cross-entropy")
    training.add_argument("--optimizer", choices=["sgd"], default="sgd")
    training.add_argument("--learning-rate", type=float, default=0.01)
    training.add_argument("--momentum", type=float, default=0.0)
    training.add_argument("--weight-decay", type=float, default=0.0)
    training.add_argument("--batch-size", type=int, help="samples a step (default: 1)")
    training.add_argument("--micro-batch", type=int, help="accumulate gradients over parts of this size")
    training.add_argument(
        "--trainable",
        action="append",
        metavar="PATTERN",
        help='train these parameters only ("classifier.*"); repeatable',
    )
    training.add_argument(
        "--freeze-until", metavar="LAYER", help="freeze the layers up to this one, included"
    )
    training.add_argument(
        "--latent-layer",
        metavar="LAYER",
        help="name or MobileNet number: compute the layers up to this one in integers (--calibration), and "
        "train on what it yields",
    )
    training.add_argument(
        "--replays",
        type=int,
        metavar="N",
        help="keep a store of N latents of earlier samples, and train on some of them beside the new samples",
    )
    training.add_argument(
        "--replay-bits", type=int, metavar="Q", help="bits of a stored value, 8 to 1 (default: 8)"
    )
    training.add_argument(
        "--replay-batch", type=int, metavar="R", help="replayed samples a step (default: --batch-size)"
    )
    training.add_argument(
        "--replay-memory",
        choices=["L2", "L3"],
        help="where the store is: L2 (default), or L3, out of which each step fetches its replays",
    )
    training.add_argument(
        "--keep-gradients", action="store_true", help="gradients stay readable after a step"
    )


def main(options: argparse.Namespace) -> int:
    """Compile."""
    train = train_config(options)
    quantization = quantization_options(options)
    shapes = parse_shapes(options.input_shapes)
    from tvm_pulp.compiler import compile
    from tvm_pulp.reports.code import code_report
    from tvm_pulp.reports.integer_layers import float_layers_report

    package = compile(
        options.FILE,
        target=options.target,
        train=train,
        quantization=quantization,
        input_shapes=shapes,
        model_format=options.model_format,
        module_name=options.module_name,
        cross_compiler=options.cross_compiler,
        cross_compiler_options=options.cross_compiler_options,
        progress=sys.stderr.isatty(),
    )
    quantization_report = _quantization_report(package) if options.dump_quantization else ""
    package.export(options.output)
    if options.dump_plan:
        print((package.directory / "src" / "plan.txt").read_text())
    if options.dump_quantization:
        print(quantization_report)
    elif package.metadata.float_layers:
        print(float_layers_report(package.metadata.float_layers))
    if options.dump_code:
        print(code_report(package))
    print(f"wrote {options.output}")
    return 0


def _quantization_report(package: Package) -> str:
    path = package.directory / "src" / "quantization.txt"
    if not path.exists():
        raise UserError(
            "--dump-quantization is for integers; add --calibration with sample data to quantise the network"
        )
    return path.read_text()


def train_config(options: argparse.Namespace) -> Any:
    """The `TrainConfig` of the options, None without `--train`.

    Raises
    ------
    UserError
        A training option without `--train`; a value out of range.
    """
    if not options.train:
        given = {"--trainable": options.trainable, "--freeze-until": options.freeze_until}
        given |= {
            "--latent-layer": options.latent_layer,
            "--micro-batch": options.micro_batch,
            "--replays": options.replays,
            "--replay-bits": options.replay_bits,
            "--replay-batch": options.replay_batch,
            "--replay-memory": options.replay_memory,
            "--keep-gradients": options.keep_gradients,
        }
        wrong = [name for name, value in given.items() if value not in (None, False)]
        if wrong:
            raise UserError(f"{wrong[0]} is for training; add --train")
        return None
    given = {"--replay-bits": options.replay_bits, "--replay-memory": options.replay_memory}
    alone = [name for name, value in given.items() if value is not None and options.replays is None]
    if alone:
        raise UserError(f"{alone[0]} is for a replay store; add --replays with the samples that it holds")
    from tvm_pulp.passes.train_config import TrainConfig

    return TrainConfig(
        loss=options.loss,
        optimizer=options.optimizer,
        learning_rate=options.learning_rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        batch_size=1 if options.batch_size is None else options.batch_size,
        micro_batch=options.micro_batch,
        trainable=tuple(options.trainable or ("*",)),
        freeze_until=options.freeze_until,
        latent_layer=options.latent_layer,
        replays=options.replays,
        replay_bits=8 if options.replay_bits is None else options.replay_bits,
        replay_batch=options.replay_batch,
        replay_memory=options.replay_memory or "L2",
        keep_gradients=options.keep_gradients,
    )


def quantization_options(options: argparse.Namespace) -> Any:
    """The `Quantization` of the options, None without `--calibration`.

    Raises
    ------
    UserError
        An option of quantisation without calibration data.
    """
    if options.calibration is None:
        given = {"--calibrator": options.calibrator, "--weight-bits": options.weight_bits}
        wrong = [name for name, value in given.items() if value is not None]
        if wrong:
            raise UserError(f"{wrong[0]} is for integers; add --calibration with sample data")
        return None
    from tvm_pulp.quantization import Quantization

    return Quantization(options.calibration, options.calibrator or "min-max", options.weight_bits or 8)


def parse_shapes(text: str | None) -> dict[str, list[int]] | None:
    """Read `--input-shapes`: "x:[1,3,8,8] y:[1,4]".

    Raises
    ------
    UserError
        If it is not of that form.
    """
    if text is None:
        return None
    shapes: dict[str, list[int]] = {}
    rest = text.strip(" ,")
    while rest:
        name, colon, tail = rest.partition(":[")
        inner, bracket, rest = tail.partition("]")
        try:
            sizes = json.loads(f"[{inner}]")
        except ValueError:
            sizes = None
        name = name.strip(" ,\"'")
        good = isinstance(sizes, list) and all(isinstance(n, int) and n > 0 for n in sizes)
        if not (colon and bracket and name and good):
            raise UserError(f'--input-shapes {text!r}: write it as "x:[1,3,8,8] y:[1,4]"')
        shapes[name] = sizes
        rest = rest.strip(" ,")
    return shapes
