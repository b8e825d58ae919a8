"""The carried reference programs on a live GVSoC, against what the simulator prints for them."""

import os
from pathlib import Path

import pytest

from tvm_pulp.runners.gvsoc import find_gvsoc, run_on_gvsoc
from tvm_pulp.runtime.sim import Machine
from tvm_pulp.runtime.sim.compare import compare_text, report

PROGRAMS = sorted((Path(__file__).parent / "reference" / "elf").glob("*.elf"))


def lines_of_program(printed: str, like: str) -> str:
    """Leave out what the launcher itself prints: lines whose first word the program never prints."""
    words = {line.split()[0] for line in like.splitlines() if line.split()}
    return "\n".join(line for line in printed.splitlines() if line.split() and line.split()[0] in words)


@pytest.mark.gvsoc
@pytest.mark.skipif(find_gvsoc() is None, reason="there is no gvsoc on PATH or in GVSOC_HOME")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_program_counts_as_the_gvsoc_at_hand(program: Path) -> None:
    machine = Machine()
    machine.load(program)
    simulated = machine.run(100_000_000).stdout
    like = (program.parent.parent / "expected" / f"{program.stem}.txt").read_text()
    there = lines_of_program(run_on_gvsoc(program), like)
    found = compare_text(program.stem, there, simulated)
    assert found.mismatches == []
    assert found.measurements
    assert found.worst <= 0.03, report(found)
    assert found.median <= 0.005, report(found)


FAKE = """#!/usr/bin/env python3
import pathlib, sys
assert sys.argv[1] == "--target=pulp-open" and sys.argv[2].startswith("--work-dir=")
assert sys.argv[3] == "--binary" and sys.argv[5:] == ["image", "flash", "run"]
elf = pathlib.Path(sys.argv[4])
print("[launcher] starting")
print((elf.parent.parent / "expected" / (elf.stem + ".txt")).read_text(), end="")
"""


@pytest.mark.parametrize("place", ["PATH", "GVSOC_HOME"])
def test_gvsoc_is_found_and_read(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a command in its place that prints what GVSoC printed."""
    folder = tmp_path / "install" / "bin"
    folder.mkdir(parents=True)
    (folder / "gvsoc").write_text(FAKE)
    (folder / "gvsoc").chmod(0o755)
    monkeypatch.delenv("GVSOC_HOME", raising=False)
    if place == "PATH":
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    else:
        monkeypatch.setenv("GVSOC_HOME", str(tmp_path))
    assert find_gvsoc() == str(folder / "gvsoc")
    program = next(path for path in PROGRAMS if path.stem == "hello-gcc14")
    expected = program.parent.parent / "expected" / "hello-gcc14.txt"
    printed = run_on_gvsoc(program)
    assert lines_of_program(printed, expected.read_text()) == expected.read_text().rstrip("\n")
