"""A compiled network: C sources, ELF, parameters and metadata in one folder."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tvm_pulp.package.metadata import Metadata

if TYPE_CHECKING:
    from tvm_pulp.comparison import CheckReport
    from tvm_pulp.execution import RunResult
    from tvm_pulp.runners.base import Runner


class Package:
    """What `compile` gives and `load` reads back.

    Parameters
    ----------
    directory : Path
        The unpacked package.
    metadata : Metadata
        Its metadata.
    holder : TemporaryDirectory or None
        Keeps a temporary `directory` alive as long as the package.
    """

    def __init__(
        self, directory: Path, metadata: Metadata, holder: tempfile.TemporaryDirectory[str] | None = None
    ) -> None:
        self.directory = directory
        self.metadata = metadata
        self._holder = holder

    @property
    def elf(self) -> Path:
        """Path of the program for bare metal."""
        return self.directory / self.metadata.elf

    def initial_tensors(self) -> dict[str, np.ndarray]:
        """Parameters and optimiser state as compiled in, by name."""
        with np.load(self.directory / "parameters" / "initial.npz", allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def export(self, path: str | Path) -> None:
        """Write the package as a tar, whole or not at all.

        Raises
        ------
        UserError
            If `path` cannot be written.
        """
        from tvm_pulp.package.archive import write_tar

        write_tar(self.directory, path)

    def run(
        self,
        inputs: str | Path | Mapping[str, np.ndarray],
        steps: int | None = None,
        *,
        function: str | None = None,
        tensors: Mapping[str, np.ndarray] | None = None,
        runner: Runner | None = None,
        progress: bool = False,
    ) -> RunResult:
        """Train (or infer) on the simulated cluster; see `tvm_pulp.execution.run`."""
        from tvm_pulp.execution import run

        return run(self, inputs, steps, function=function, tensors=tensors, runner=runner, progress=progress)

    def check(
        self,
        inputs: str | Path | Mapping[str, np.ndarray],
        steps: int = 1,
        *,
        runner: Runner | None = None,
        progress: bool = False,
    ) -> CheckReport:
        """Train the same steps in PyTorch and compare tensor by tensor; see `tvm_pulp.check.check`."""
        from tvm_pulp.check import check

        return check(self, inputs, steps, runner=runner, progress=progress)
