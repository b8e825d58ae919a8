"""A package as a tar file: read with checks, written whole or not at all."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from pathlib import Path

from tvm_pulp.files import replacing
from tvm_pulp.package.metadata import Metadata, from_json
from tvm_pulp.package.package import Package
from tvm_pulp.target.errors import UserError


def write_tar(directory: Path, path: str | Path) -> None:
    """Pack a package's folder, sorted and without owners or dates: equal content gives equal bytes."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
        member.mode = 0o755 if member.isdir() else 0o644
        return member

    with replacing(path) as temporary, tarfile.open(temporary, "w") as tar:
        for item in sorted(directory.rglob("*")):
            tar.add(item, arcname=str(item.relative_to(directory)), recursive=False, filter=anonymous)


def load(path: str | Path) -> Package:
    """Open a package.

    Parameters
    ----------
    path : str or Path
        A tar that `tvmc compile` or `Package.export` wrote.

    Raises
    ------
    UserError
        If the file is absent, damaged, or no package.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such package: {path}; write one with tvmc compile --target pulp MODEL -o {path}")
    holder = tempfile.TemporaryDirectory(prefix="tvm-pulp-")
    directory = Path(holder.name)
    try:
        with tarfile.open(path) as tar:
            tar.extractall(directory, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        holder.cleanup()
        raise UserError(f"{path} is not a readable tar ({error}); compile it again") from error
    return Package(directory, read_metadata(directory, str(path)), holder)


def read_metadata(directory: Path, where: str) -> Metadata:
    """Read and check `metadata.json` of an unpacked package; `where` names it in errors."""
    try:
        content = json.loads((directory / "metadata.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{where} has no readable metadata.json ({error}); compile it again") from error
    metadata = from_json(content, where)
    for needed in (metadata.elf, "src/forward.json", "parameters/initial.npz"):
        if not (directory / needed).is_file():
            raise UserError(f"{where} lacks {needed}; compile it again")
    return metadata
