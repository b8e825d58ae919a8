"""``pulp-sim``: run a program on a simulated PULP cluster.

Exit codes: what the program returned (0 to 63; larger ones as 63), 64 for wrong usage, and one for each
way in which a run can fail (see ``docs/simulator.md``).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence

from .compare import WRONG_USAGE, CommandParser, load_configuration
from .compare import main as compare_main
from .configuration import Configuration
from .errors import SimulationError
from .machine import Machine, Result
from .schema import make_schema

_LARGEST_PROGRAM_CODE = 63
_CHECKS_FOUND = 75


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="pulp-sim", description="Run an ELF program on a simulated PULP cluster.")
    parser.add_argument("program", metavar="ELF")
    parser.add_argument(
        "--target", default="pulp-open", help="chip: a name or a JSON file (default pulp-open)"
    )
    parser.add_argument("--stats", action="store_true", help="print cycles and instructions at the end")
    parser.add_argument("--profile", action="store_true", help="print where the cycles went")
    parser.add_argument("--trace", metavar="FILE", help="write a trace for Chrome or Perfetto (JSON)")
    parser.add_argument("--checks", action="store_true", help="check memory use and report races")
    parser.add_argument("--no-timing", action="store_true", help="several times faster, without cycles")
    parser.add_argument("--max-cycles", type=int, metavar="N", help="end the run after N cycles")
    return parser


def _print_statistics(result: Result, timing: bool) -> None:
    if timing:
        print(f"cycles       {result.cycles}", file=sys.stderr)
    print(f"instructions {result.instructions}", file=sys.stderr)
    for core in result.cores:
        if core.started:
            state = "asleep" if core.asleep else "running"
            line = f"  {core.name:<11}{core.instructions:>12}  {state} at 0x{core.pc:08x}"
            print(line, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``pulp-sim``.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name.

    Returns
    -------
    int
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["compare"]:
        return compare_main(words[1:])
    if words == ["schema"]:
        print(json.dumps(make_schema(Configuration().to_dict()), indent=2))
        return 0
    options = _parser().parse_args(words)

    def show(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    code, result = _run(options, show)
    if result is not None:
        _print_findings(options, result)
        if code == 0 and result.reports:
            code = _CHECKS_FOUND
    return code


def _run(options: argparse.Namespace, show: Callable[[str], None]) -> tuple[int, Result | None]:
    try:
        machine = Machine(
            load_configuration(options.target),
            timing=not options.no_timing,
            checks=options.checks,
            on_output=show,
            profile=options.profile,
            trace=options.trace,
        )
        machine.load(options.program)
        result = machine.run(options.max_cycles)
    except ValueError as error:
        print(f"pulp-sim: {error}", file=sys.stderr)
        return WRONG_USAGE, None
    except SimulationError as error:
        print(f"pulp-sim: {error}", file=sys.stderr)
        return error.exit_code, error.result if isinstance(error.result, Result) else None
    returned = result.exit_code
    return (returned if 0 <= returned <= _LARGEST_PROGRAM_CODE else _LARGEST_PROGRAM_CODE), result


def _print_findings(options: argparse.Namespace, result: Result) -> None:
    if options.stats:
        _print_statistics(result, not options.no_timing)
    if result.profile is not None:
        print(result.profile.table(), file=sys.stderr)
    for report in result.reports:
        print(report, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
