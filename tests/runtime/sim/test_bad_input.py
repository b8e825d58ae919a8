"""What a user may do wrong with ``pulp-sim``: a clear line and a code that a script can tell apart."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from planted import A0, T1, ZERO, addi, b_type, elf, load_immediate, sw

from tvm_pulp.runtime.sim import CycleLimit, ElfError, Machine

COMMAND = [sys.executable, "-m", "tvm_pulp.runtime.sim.command_line"]
GOOD = elf([addi(A0, A0, 0)])
ENDLESS = elf([b_type(0, ZERO, ZERO, 0)])
PRINTING = elf([*load_immediate(T1, 0x1A10F000), addi(A0, ZERO, 10), sw(A0, T1), b_type(0, ZERO, ZERO, -4)])


def pulp_sim(folder: Path, image: bytes, *options: str) -> tuple[int, str]:
    (folder / "program.elf").write_bytes(image)
    found = subprocess.run([*COMMAND, "program.elf", *options], cwd=folder, capture_output=True, text=True)
    assert "Traceback" not in found.stderr
    return found.returncode, found.stderr


@pytest.mark.parametrize("limit", ["-3", "0"])
def test_no_limit_of_cycles(tmp_path: Path, limit: str) -> None:
    assert pulp_sim(tmp_path, GOOD, "--max-cycles", limit) == (
        64,
        f"pulp-sim: the limit of cycles is at least 1, not {limit}\n",
    )


def test_configuration_too_deep(tmp_path: Path) -> None:
    (tmp_path / "chip.json").write_text("[" * 100_000)
    code, message = pulp_sim(tmp_path, GOOD, "--target", "chip.json")
    assert code == 64 and "chip.json: not a JSON file" in message


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_file_without_end() -> None:
    with pytest.raises(ElfError, match="/dev/zero: not an ELF file"):
        Machine().load("/dev/zero")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "program.elf").write_bytes(PRINTING)
    with Path("/dev/full").open("w") as full:
        found = subprocess.run(
            [*COMMAND, "program.elf"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert found.returncode == 74
    assert found.stderr == "pulp-sim: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("image", [ENDLESS, PRINTING], ids=["silent", "printing"])
def test_ctrl_c_leaves_statistics(tmp_path: Path, image: bytes) -> None:
    (tmp_path / "program.elf").write_bytes(image)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits what is ignored
    try:
        process = subprocess.Popen(
            [*COMMAND, "program.elf", "--trace", "trace.json"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    trace = tmp_path / "trace.json"
    for _ in range(600):
        if trace.exists():
            break
        time.sleep(0.1)
    time.sleep(1)
    os.kill(process.pid, signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "pulp-sim: interrupted" in message and "Traceback" not in message
    assert "\ninstructions " in message and "core 7" in message
    assert json.loads(trace.read_text())["traceEvents"]


@pytest.mark.parametrize("limit", [1, 100, 5000, 50_000])
def test_limit_of_instructions_is_exact(limit: int) -> None:
    machine = Machine(timing=False)
    machine.load(ENDLESS)
    with pytest.raises(CycleLimit, match=f"within {limit} instructions"):
        machine.run(limit)
    assert machine.result().instructions == limit


@pytest.mark.parametrize("step", [20, 37, 100, 333])
def test_a_run_may_go_on_after_its_limit(tmp_path: Path, step: int) -> None:
    trace = tmp_path / "trace.json"
    whole = Machine(profile=True)
    whole.load(GOOD)
    machine = Machine(profile=True, trace=trace)
    machine.load(GOOD)
    limit = step
    while True:
        try:
            result = machine.run(limit)
            break
        except CycleLimit:
            assert json.loads(trace.read_text())["traceEvents"]
            limit += step
    assert result == whole.run()
    assert json.loads(trace.read_text())["traceEvents"]


def test_a_restart_begins_the_trace_anew(tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    machine = Machine(trace=trace)
    machine.load(GOOD)
    machine.run()
    first = trace.read_text()
    machine.restart()
    machine.run()
    assert trace.read_text() == first


def segments(*parts: tuple[int, int]) -> bytes:
    """The good program with more segments (address, bytes) of the file's own beginning."""
    headers = bytearray(GOOD[52:84])
    for address, size in parts:
        headers += struct.pack("<8I", 1, 0, address, address, size, size, 7, 4)
    image = bytearray(GOOD) + headers
    struct.pack_into("<I", image, 28, len(GOOD))
    struct.pack_into("<H", image, 44, 1 + len(parts))
    return bytes(image)


def test_segments_overlap() -> None:
    machine = Machine()
    machine.load(segments((0x1C100000, 16), (0x1C100010, 16)))
    assert machine.run().exit_code == 0
    with pytest.raises(ElfError, match="segments that overlap at 0x1c10000c"):
        machine.load(segments((0x1C100000, 16), (0x1C10000C, 16)))


def test_a_damaged_file_costs_what_its_size_says() -> None:
    """Every section claims the whole file as its table of symbols, with endless names."""
    count = 20_000
    image = bytearray(GOOD) + b"A" * 400_000
    headers = len(image)
    image += struct.pack("<10I", 0, 2, 0, 0, 0, headers, 0, 0, 4, 16) * count
    struct.pack_into("<I", image, 32, headers)
    struct.pack_into("<H", image, 48, count)
    begin = time.monotonic()
    machine = Machine()
    machine.load(bytes(image))
    assert time.monotonic() - begin < 20
    assert max(map(len, machine.symbols), default=0) <= 1024
