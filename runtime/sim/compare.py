"""Compare what programs print on the simulator with what they printed elsewhere.

A reference is a folder with a text ``NAME.txt`` for each program ``NAME.elf``: what GVSoC or a chip
printed. Numbers that are cycle counts are compared as such; everything else (results, hashes,
instruction counts) has to be the same.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from .configuration import Configuration
from .errors import SimulationError
from .machine import Machine

WRONG_USAGE = 64

# A number that follows one of these words (perhaps with numbers between) is a count of cycles.
_CYCLE_WORDS = frozenset(
    "cold warm skewed perf-run cyc cyc/core cyc: cyc/core: sum min max issue first all total after"
    " done".split()
)
# Numbers that follow these are computed from cycles or depend on them: left out.
_DERIVED_WORDS = frozenset("rate mean => per imiss ldst jst".split())
_NUMBER = re.compile(r"^[+-]?\d+(\.\d+)?$")


@dataclass(frozen=True)
class Measurement:
    """One count of cycles, there and here.

    Attributes
    ----------
    program, line, key : str
        Where it is printed: the program, the beginning of the line, the word before the number.
    reference, simulated : int
        Cycles.
    """

    program: str
    line: str
    key: str
    reference: int
    simulated: int

    @property
    def difference(self) -> float:
        """Relative difference, positive where the simulator is slower."""
        if self.reference == self.simulated:
            return 0.0
        return (self.simulated - self.reference) / max(self.reference, 1)


@dataclass
class Comparison:
    """All measurements of some programs and everything else that differed.

    Attributes
    ----------
    measurements : list of Measurement
    mismatches : list of str
        Results that are not the same, one line each.
    """

    measurements: list[Measurement] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)

    @property
    def worst(self) -> float:
        """Largest relative difference."""
        return max((abs(item.difference) for item in self.measurements), default=0.0)

    @property
    def median(self) -> float:
        """Median of the relative differences."""
        return statistics.median([abs(item.difference) for item in self.measurements] or [0.0])


def _tokens(line: str) -> list[str]:
    # "cyc=5824" and "per=1.000" are a word and a number.
    return re.sub(r"([A-Za-z/-]+)=\s*", r"\1 ", line).replace("(cold", "cold").replace(")", " ").split()


def compare_line(program: str, expected: str, printed: str, into: Comparison) -> None:
    """Compare one line and add what it holds to a comparison.

    Parameters
    ----------
    program : str
    expected, printed : str
        The line there and here.
    into : Comparison
    """
    there, here = _tokens(expected), _tokens(printed)
    name = " ".join(there[:6])
    if len(there) != len(here):
        into.mismatches.append(f"{program}: {printed!r} instead of {expected!r}")
        return
    word = ""
    for reference, simulated in zip(there, here, strict=True):
        if not _NUMBER.match(reference):
            word = reference
            if reference != simulated and not _is_derived(reference, simulated):
                into.mismatches.append(f"{program}: {name}: {simulated} instead of {reference}")
            continue
        if word in _DERIVED_WORDS or "." in reference:
            continue
        if word in _CYCLE_WORDS and _NUMBER.match(simulated):
            into.measurements.append(Measurement(program, name, word, int(reference), int(simulated)))
        elif reference != simulated:
            into.mismatches.append(f"{program}: {name}: {word} {simulated} instead of {reference}")


def _is_derived(reference: str, simulated: str) -> bool:
    return reference.startswith("=>") and simulated.startswith("=>")


def compare_text(program: str, expected: str, printed: str) -> Comparison:
    """Compare all that a program printed."""
    result = Comparison()
    there, here = expected.splitlines(), printed.splitlines()
    if len(there) != len(here):
        result.mismatches.append(f"{program}: {len(here)} lines instead of {len(there)}")
    for line_there, line_here in zip(there, here, strict=False):
        compare_line(program, line_there, line_here, result)
    return result


def compare_program(
    path: Path, reference: Path, configuration: Configuration, max_cycles: int | None = None
) -> Comparison:
    """Run a program and compare what it prints.

    Parameters
    ----------
    path : Path
        The ELF file.
    reference : Path
        Folder of the reference texts.
    configuration : Configuration
    max_cycles : int, optional

    Raises
    ------
    SimulationError
        If the program does not run to its end.
    FileNotFoundError
        If there is no reference text for it.
    """
    text = reference / f"{path.stem}.txt"
    if not text.is_file():
        raise FileNotFoundError(f"{text}: no reference for {path.name}")
    machine = Machine(configuration)
    machine.load(path)
    return compare_text(path.stem, text.read_text(encoding="utf-8"), machine.run(max_cycles).stdout)


def report(comparison: Comparison, quiet: bool = False) -> str:
    """Write a comparison out: a line a measurement, then the summary."""
    lines = []
    if not quiet:
        width = max((len(item.line) for item in comparison.measurements), default=0)
        for item in comparison.measurements:
            lines.append(
                f"{item.program:<28} {item.line:<{width}} {item.key:<9} {item.reference:>10}"
                f" {item.simulated:>10} {100 * item.difference:+8.3f}%"
            )
    lines += comparison.mismatches
    exact = sum(item.reference == item.simulated for item in comparison.measurements)
    lines.append(
        f"{len(comparison.measurements)} measurements, {exact} equal, median difference"
        f" {100 * comparison.median:.3f}%, worst {100 * comparison.worst:.3f}%,"
        f" {len(comparison.mismatches)} results differ"
    )
    worst = max(comparison.measurements, key=lambda item: abs(item.difference), default=None)
    if worst is not None and worst.difference != 0:
        lines.append(
            f"worst: {worst.program}: {worst.line}: {worst.key}"
            f" {worst.simulated} instead of {worst.reference}"
        )
    return "\n".join(lines)


class CommandParser(argparse.ArgumentParser):
    """A parser of a command line that ends the command with code 64 where the line is wrong."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and end."""
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(WRONG_USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ``compare`` command.

    Returns
    -------
    int
        0 if all agree within the tolerances, 1 if not; 64 for wrong usage or where a reference is missing;
        else, where a program cannot be run to its end, the exit code that ``pulp-sim`` has for it.
    """
    parser = CommandParser(prog="compare", description="Compare cycle counts with a reference.")
    parser.add_argument("programs", nargs="+", type=Path, metavar="ELF")
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="DIR", help="folder of the texts printed there"
    )
    parser.add_argument("--target", default="pulp-open", help="chip: a name or a JSON file")
    parser.add_argument("--quiet", action="store_true", help="only the summary")
    parser.add_argument("--tolerance", type=float, default=3.0, metavar="PERCENT", help="of each measurement")
    parser.add_argument("--median", type=float, default=0.5, metavar="PERCENT", help="of the median")
    parser.add_argument("--max-cycles", type=int, metavar="N", help="end a program after N cycles")
    options = parser.parse_args(arguments)
    total = Comparison()
    try:
        configuration = load_configuration(options.target)
        for program in options.programs:
            found = compare_program(program, options.reference, configuration, options.max_cycles)
            total.measurements += found.measurements
            total.mismatches += found.mismatches
    except (SimulationError, FileNotFoundError, ValueError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, SimulationError) else WRONG_USAGE
    print(report(total, options.quiet))
    within = 100 * total.worst <= options.tolerance and 100 * total.median <= options.median
    return 0 if within and not total.mismatches else 1


def load_configuration(target: str) -> Configuration:
    """Find a chip by name, or read it from a JSON file."""
    if target.endswith(".json"):
        try:
            return Configuration.from_json(target)
        except OSError as error:
            raise ValueError(f"{target}: {error.strerror}") from None
    return Configuration.named(target)
