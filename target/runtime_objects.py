"""Object files of the runtime, kept between builds: all programs for a target link the same ones."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

RUNTIME = "runtime"
"""Folder of a project whose sources depend on nothing else in it but the files of `_USED`."""

_USED = ("Makefile", "codegen/host/include/pulp_config.h")


def cache_folder() -> Path:
    """Folder for what may be made again: in the user's cache, else in a temporary place."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(base) / "tvm-pulp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    return folder if writable else Path(tempfile.gettempdir()) / f"tvm-pulp-{os.getuid()}"


class RuntimeObjects:
    """The object files for a project and a compiler.

    Parameters
    ----------
    directory
        The project.
    command
        The compiler's command.
    variables
        Of its Makefile: kind of compiler, options.
    """

    def __init__(self, directory: Path, command: tuple[str, ...], variables: Mapping[str, str]) -> None:
        self._folder = cache_folder() / "objects" / _key(directory, command, variables)

    def put_into(self, build: Path) -> None:
        """Put them where make looks for them, newer than their sources."""
        with contextlib.suppress(OSError):  # not there yet, or out of reach
            shutil.copytree(self._folder, build / RUNTIME, copy_function=shutil.copyfile)

    def keep_from(self, build: Path) -> None:
        """Keep those that make has made, all at once; an error of the file system only costs time later."""
        if self._folder.exists():
            return
        with contextlib.suppress(OSError):
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder.parent) as temporary:
                copied = Path(temporary) / RUNTIME
                shutil.copytree(build / RUNTIME, copied)
                os.rename(copied, self._folder)


def _key(directory: Path, command: tuple[str, ...], variables: Mapping[str, str]) -> str:
    """Hash of all that the object files depend on."""
    found = hashlib.sha256(repr((command, sorted(variables.items()))).encode())
    compiler = shutil.which(command[0])
    if compiler is not None:
        status = os.stat(compiler)
        found.update(repr((status.st_size, status.st_mtime_ns)).encode())
    files = [directory / name for name in _USED]
    files += sorted(path for path in (directory / RUNTIME).rglob("*") if path.is_file())
    for path in files:
        found.update(str(path.relative_to(directory)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:32]
