"""Find a C compiler that makes right code for a PULP cluster, and build projects with it."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tvm_pulp.target.errors import UserError
from tvm_pulp.target.runtime_objects import RuntimeObjects, cache_folder

PROGRAM = "program.elf"
"""Name of what a project builds."""

ARCHITECTURES: Mapping[str, str] = {
    "zig": "-target riscv32-freestanding-none -mcpu=generic_rv32+m+c+zfinx-relax -mabi=ilp32 "
    "-fno-sanitize=all",
    "clang": "--target=riscv32-unknown-elf -march=rv32imc_zfinx -mabi=ilp32 -mno-relax",
    "gcc": "-march=rv32imc_zicsr_zfinx -mabi=ilp32 -mno-relax -fno-tree-loop-distribute-patterns",
    "pulp": "-march=rv32imcxgap9 -fno-tree-loop-distribute-patterns -DPULP_MNEMONICS",
}
"""Kind of compiler → its options for one register file (floats in integer registers) and no linker
relaxation, which would change the size of hardware loops."""

LINK_OPTIONS: Mapping[str, str] = {"zig": "", "clang": "-fuse-ld=lld", "gcc": "", "pulp": "-Wl,--no-relax"}
"""Kind of compiler → what it needs to link."""

COMMANDS: Mapping[str, str] = {
    "zig": "python3 -m ziglang cc",
    "clang": "clang",
    "gcc": "riscv64-unknown-elf-gcc",
    "pulp": "riscv32-unknown-elf-gcc",
}
"""Kind of compiler → its usual command."""

_SEARCHED = (
    *("clang-22", "clang-21", "clang-20", "clang-19", "clang-18", "clang"),
    *("riscv32-unknown-elf-gcc", "riscv64-unknown-elf-gcc"),
)
_PROBE = "float probe(float a, float b, float c) { return a * b + c; }\n"


@dataclass(frozen=True)
class Toolchain:
    """A compiler for the chip.

    Attributes
    ----------
    kind : str
        "zig", "clang", "gcc" or "pulp".
    command : tuple of str
        The compiler's command.
    options : str
        The user's own options.
    """

    kind: str
    command: tuple[str, ...]
    options: str = ""

    def build(self, directory: Path, jobs: int = 2, on_source: Callable[[], object] = lambda: None) -> Path:
        """Build a project by its own Makefile; object files are thrown away, but for the runtime's.

        Parameters
        ----------
        directory
            A project as `tvm_pulp.target.project.write` wrote it.
        jobs
            Compilations at a time.
        on_source
            Called when the compilation of a source begins, to show progress.

        Returns
        -------
        Path
            The ELF, in `directory`.

        Raises
        ------
        UserError
            If the program does not fit the memory (what is short, by how much), if make is missing, or if the
            compiler fails (with its first message).
        """
        make = shutil.which("make")
        if make is None:
            raise UserError("make is not installed; it builds the generated C")
        with tempfile.TemporaryDirectory(prefix="build-", dir=directory) as build:
            variables = {
                "TOOLCHAIN": self.kind,
                "CC": shlex.join(self.command),
                "OPTIONS": f"{self.options} {self._prefix_map()}".strip(),
                "ELF": PROGRAM,
                "BUILD": Path(build).name,
            }
            arguments = [f"{name}={value}" for name, value in variables.items()]
            kept = {name: variables[name] for name in ("TOOLCHAIN", "OPTIONS")}
            objects = RuntimeObjects(directory, self.command, kept)
            objects.put_into(Path(build))
            with subprocess.Popen(
                [make, "--no-print-directory", f"-j{jobs}", *arguments, PROGRAM],
                cwd=directory,
                env=_environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process:
                lines = []
                assert process.stdout is not None
                for line in process.stdout:
                    lines.append(line)
                    if " -c " in line:  # make prints a command before it runs it
                        on_source()
                failed = process.wait() != 0
            if not failed:
                objects.keep_from(Path(build))
        if failed:
            raise UserError(explain_failure("".join(lines), directory))
        return directory / PROGRAM

    def _prefix_map(self) -> str:
        """Keep the place where zig is installed out of the program's debug information."""
        folder = Path(self.command[0]).parent
        return f"-ffile-prefix-map={folder}=zig" if self.kind == "zig" and folder.is_absolute() else ""


def find(cross_compiler: str | None = None, options: str | None = None) -> Toolchain:
    """Find the compiler to use and see that it makes right code.

    Parameters
    ----------
    cross_compiler
        Command of a compiler ("clang-19", "riscv64-unknown-elf-gcc", a path) or "zig". Without it: zig from
        pip, else the first of the usual commands that makes right code.
    options
        More options for the compiler.

    Raises
    ------
    UserError
        If the compiler is missing or cannot make code for the cluster, or if none is found.
    """
    extra = options or ""
    if cross_compiler is not None and cross_compiler not in ("zig", "ziglang"):
        return Toolchain(*_identified(cross_compiler), extra)
    zig = _zig()
    if zig is not None:
        return Toolchain("zig", zig, extra)
    if cross_compiler is None:
        for command in _SEARCHED:
            if shutil.which(command):
                try:
                    return Toolchain(*_identified(command), extra)
                except UserError:
                    continue
    raise UserError(
        "no C compiler for the PULP cluster was found; pip install ziglang, or name one by --cross-compiler "
        "(clang, GCC 14 or newer, the PULP GCC)"
    )


def explain_failure(output: str, directory: Path) -> str:
    """One line for the output of a failed make."""
    short = [int(size) for size in re.findall(r"'?L2'?[:,]? overflowed by (\d+) bytes", output)]
    if short:
        found = re.search(r"\bL2 \(rwx\).*LENGTH = (\d+)", (directory / "link.ld").read_text())
        assert found is not None
        size = int(found[1])
        needed = size + max(short)
        return (
            f"L2 is {max(short)} bytes short: code and tensors need {needed} bytes, there are {size}; "
            f"use a smaller (micro-)batch, fewer replays or -l2-bytes={1 << (needed - 1).bit_length()}"
        )
    lines = output.strip().splitlines() or ["it said nothing"]
    messages = [line for line in lines if re.search(r"\berror: ", line)]
    messages += [line for line in lines if re.search(r"not found|No such file|No module", line)]
    first = (messages or lines)[0].strip()
    return f"the C compiler failed in {directory}: {first}"


def _zig() -> tuple[str, ...] | None:
    """Command of zig from pip."""
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        return None
    return (str(Path(found.origin).parent / "zig"), "cc")


@cache
def _identified(cross_compiler: str) -> tuple[str, tuple[str, ...]]:
    """Kind and command of a compiler, or why it cannot be used."""
    command = tuple(shlex.split(cross_compiler))
    if not command or shutil.which(command[0]) is None:
        raise UserError(f'there is no compiler "{cross_compiler}"; is it installed and on PATH?')
    text = _output([*command, "--version"])
    if "ziglang" in cross_compiler or Path(command[0]).stem == "zig":
        kinds = ["zig"]
    elif "clang" in text.lower():
        kinds = ["clang"]
    else:
        kinds = ["gcc", "pulp"]
    for kind in kinds:
        if _makes_right_code(command, kind):
            return kind, command
    version = text.splitlines()[0] if text else cross_compiler
    raise UserError(
        f'"{cross_compiler}" ({version}) cannot compile float code for one register file (rv32imc_zfinx); '
        "use ziglang from pip, clang 18 or newer, GCC 14 or newer, or the PULP GCC"
    )


def _makes_right_code(command: tuple[str, ...], kind: str) -> bool:
    """Tell whether a float multiply-add becomes one instruction on integer registers."""
    flags = shlex.split(ARCHITECTURES[kind])
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text(_PROBE)
        assembly = Path(folder) / "probe.s"
        _output([*command, *flags, "-O2", "-ffp-contract=fast", "-S", str(source), "-o", str(assembly)])
        text = assembly.read_text() if assembly.exists() else ""
    return re.search(r"^\s*fmadd\.s\s+a\d", text, re.MULTILINE) is not None


def _output(command: list[str]) -> str:
    result = subprocess.run(command, env=_environment(), capture_output=True, text=True, errors="replace")
    return result.stdout


def _environment() -> dict[str, str]:
    """The environment, with a place where zig may keep what it needs to compile."""
    environment = dict(os.environ)
    if "ZIG_GLOBAL_CACHE_DIR" not in environment:
        folder = cache_folder() / "zig"
        folder.mkdir(parents=True, exist_ok=True)
        environment["ZIG_GLOBAL_CACHE_DIR"] = str(folder)
    return environment
