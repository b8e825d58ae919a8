"""Cycle counts and results against what GVSoC printed for the same programs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tvm_pulp.runtime.sim import Configuration, Machine
from tvm_pulp.runtime.sim.compare import Comparison, compare_line, compare_program, compare_text, main, report

HERE = Path(__file__).parent / "reference"
SHARED = Path(__file__).resolve().parents[4] / "shared" / "gvsoc-reference" / "public"
CARRIED = sorted(path.stem for path in (HERE / "elf").glob("*.elf"))
OTHERS = sorted(path.stem for path in (SHARED / "elf").glob("*.elf") if path.stem not in CARRIED)


def _check(comparison: Comparison) -> None:
    assert comparison.mismatches == []
    assert comparison.measurements
    assert comparison.worst <= 0.001, report(comparison)
    assert comparison.median == 0


def test_programs_are_carried() -> None:
    assert len(CARRIED) >= 10


@pytest.mark.parametrize("name", CARRIED)
def test_carried_program_counts_as_gvsoc(name: str) -> None:
    _check(compare_program(HERE / "elf" / f"{name}.elf", HERE / "expected", Configuration.named("pulp-open")))


@pytest.mark.skipif(not OTHERS, reason="the larger reference set is not beside this checkout")
@pytest.mark.parametrize("name", [name for name in OTHERS if "skew" not in name] or ["-"])
def test_other_program_counts_as_gvsoc(name: str) -> None:
    _check(
        compare_program(SHARED / "elf" / f"{name}.elf", SHARED / "expected", Configuration.named("pulp-open"))
    )


@pytest.mark.parametrize("name", ["hello-gcc14", "mixed-gcc14", "dma-gcc14", "gemm_f16-gcc14"])
def test_results_do_not_need_timing(name: str) -> None:
    machine = Machine(timing=False)
    machine.load(HERE / "elf" / f"{name}.elf")
    printed = machine.run().stdout
    assert "WRONG" not in printed
    expected = (HERE / "expected" / f"{name}.txt").read_text()
    hashes = [line.split(" hash ")[-1] for line in expected.splitlines() if " hash " in line]
    assert [line.split(" hash ")[-1] for line in printed.splitlines() if " hash " in line] == hashes


def test_a_run_can_be_repeated() -> None:
    machine = Machine()
    machine.load(HERE / "elf" / "hello-gcc14.elf")
    first = machine.run()
    machine.restart()
    assert machine.run() == first


def test_comparison_sees_cycles_and_results() -> None:
    found = Comparison()
    there = "kernel nc 8 cold 100 warm 200 rate 1.0 hash 12ab ok"
    here = "kernel nc 8 cold 100 warm 210 rate 0.9 hash 12ac WRONG"
    compare_line("p", there, here, found)
    assert [(item.key, item.difference) for item in found.measurements] == [("cold", 0.0), ("warm", 0.05)]
    assert len(found.mismatches) == 2
    assert found.worst == pytest.approx(0.05)


def test_comparison_of_lists_of_cycles() -> None:
    found = compare_text(
        "p",
        "x cyc/core 10 20 30 cold 5 instr0 7 chk 0 ok\n",
        "x cyc/core 10 20 36 cold 5 instr0 8 chk 0 ok\n",
    )
    assert [item.simulated for item in found.measurements] == [10, 20, 36, 5]
    assert found.mismatches == ["p: x cyc/core 10 20 30 cold: instr0 8 instead of 7"]


def test_missing_line_is_a_mismatch() -> None:
    assert compare_text("p", "a 1\nb 2\n", "a 1\n").mismatches == ["p: 1 lines instead of 2"]


def test_command_agrees_and_disagrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = HERE / "elf" / "hello-gcc14.elf"
    assert main([str(program), "--reference", str(HERE / "expected")]) == 0
    assert "1 measurements, 1 equal" in capsys.readouterr().out
    text = (HERE / "expected" / "hello-gcc14.txt").read_text()
    (tmp_path / "hello-gcc14.txt").write_text(text.replace("cyc=5824", "cyc=5000"))
    assert main([str(program), "--reference", str(tmp_path)]) == 1
    assert "worst: hello-gcc14" in capsys.readouterr().out


def test_command_without_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(HERE / "elf" / "hello-gcc14.elf"), "--reference", str(tmp_path)]) == 64
    assert "no reference for hello-gcc14.elf" in capsys.readouterr().err


def test_codes_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, reference = str(HERE / "elf" / "hello-gcc14.elf"), ["--reference", str(HERE / "expected")]
    with pytest.raises(SystemExit) as usage:
        main([program])
    assert usage.value.code == 64
    assert main([program, *reference, "--target", "no-chip"]) == 64
    assert main([program, *reference, "--max-cycles", "1000"]) == 72
    assert "1000 cycles" in capsys.readouterr().err
    other = tmp_path / "hello-gcc14.elf"
    other.write_text("no program")
    assert main([str(other), *reference]) == 65
    assert "not an ELF file" in capsys.readouterr().err


def test_short_name_of_the_command() -> None:
    program, reference = HERE / "elf" / "hello-gcc14.elf", HERE / "expected"
    process = subprocess.run(
        [sys.executable, "-m", "tvm_pulp.sim", "compare", program, "--reference", reference],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "1 measurements, 1 equal" in process.stdout
