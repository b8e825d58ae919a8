"""GVSoC, where it is installed: the simulator whose cycles the built-in one counts."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tvm_pulp.target.errors import UserError

TIMEOUT = 3600
"""Seconds that a program may take."""


def find_gvsoc() -> str | None:
    """Look for the command on PATH, in GVSOC_HOME, and where GVSoC's own build installs it below that."""
    home = os.environ.get("GVSOC_HOME")
    folders = [Path(home, part) for part in ("", "bin", "install/bin")] if home else []
    found = [shutil.which("gvsoc", path=str(folder)) for folder in folders]
    return next((path for path in found if path), shutil.which("gvsoc"))


def run_on_gvsoc(elf: Path, timeout: float = TIMEOUT) -> str:
    """Run a program for bare metal on GVSoC's ``pulp-open``.

    Parameters
    ----------
    elf
        The program.
    timeout
        Seconds of host time.

    Returns
    -------
    str
        What it and GVSoC printed.

    Raises
    ------
    UserError
        If GVSoC is not installed, or the program ends with an error or not in time.
    """
    command = find_gvsoc()
    if command is None:
        raise UserError(
            "there is no gvsoc on PATH or in GVSOC_HOME; install it, or use the built-in simulator"
        )
    with tempfile.TemporaryDirectory(prefix="tvm-pulp-") as folder:
        arguments = [command, "--target=pulp-open", f"--work-dir={folder}", "--binary", str(elf.resolve())]
        try:
            process = subprocess.run(
                [*arguments, "image", "flash", "run"],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise UserError(f"{elf.name} did not end on GVSoC within {timeout:.0f} s") from late
    if process.returncode != 0:
        last = process.stdout.strip().splitlines()[-1:] or ["it printed nothing"]
        raise UserError(f"{elf.name} ended with exit code {process.returncode} on GVSoC: {last[0]}")
    return process.stdout
