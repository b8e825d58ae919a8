"""The `tvmc` command."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from tvm_pulp import __version__
from tvm_pulp.commands import bench, check, compile, run
from tvm_pulp.target.errors import UserError

COMMANDS = (compile, run, check, bench)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `tvmc`.

    Parameters
    ----------
    arguments : sequence of str or None
        Command line less the program's name; None: `sys.argv`.

    Returns
    -------
    int
        0 if all went well, 1 for an error that was printed; wrong usage exits with 2.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = make_parser()
    try:
        options = parser.parse_args(_with_config(given, parser))
        return int(options.command(options))
    except UserError as error:
        return _fail(str(error), verbose="-v" in given)
    except KeyboardInterrupt:
        print("tvmc: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        text = f"internal error: {type(error).__name__}: {error}; run again with -v and report what it prints"
        return _fail(" ".join(text.split()), verbose="-v" in given)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command, for the command itself and the documentation."""
    parser = argparse.ArgumentParser(prog="tvmc", description="Compile networks that learn on PULP clusters.")
    parser.add_argument("--version", action="version", version=f"tvmc (tvm_pulp {__version__})")
    parser.add_argument("--config", metavar="FILE.json", help="options of the command as a JSON object")
    parser.add_argument("-v", "--verbose", action="store_true", help="print tracebacks and details")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", help="tvmc COMMAND --help"
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    for command in COMMANDS:
        command.add_parser(commands, common)
    return parser


def _with_config(given: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """Put the options of `--config FILE.json` behind the command, before those given by hand, which win."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    found, rest = finder.parse_known_args(given)
    if found.config is None:
        return given
    path = Path(found.config)
    try:
        content = json.loads(path.read_text())
        assert isinstance(content, dict)
    except (OSError, ValueError, AssertionError) as error:
        raise UserError(f'--config {path}: not a readable JSON object; write {{"option": value}}') from error
    options: list[str] = []
    for key, value in content.items():
        if value is True:
            options.append(f"--{key}")
        elif value is not False:
            options += [f"--{key}", str(value)]
    place = next((i + 1 for i, word in enumerate(rest) if not word.startswith("-")), len(rest))
    return rest[:place] + options + rest[place:]


def _fail(message: str, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    print(f"tvmc: error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
