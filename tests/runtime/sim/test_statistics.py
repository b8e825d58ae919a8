"""Profile, trace and the command line."""

import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from planted import (
    A1,
    L1,
    T1,
    T2,
    ZERO,
    addi,
    b_type,
    barrier,
    delay,
    elf,
    hardware_loop,
    load_immediate,
    lw,
    on_core,
    start_dma,
    start_l3,
    store,
    wait_dma,
    wait_l3,
)

from tvm_pulp.runtime.sim import Configuration, CycleLimit, Machine, Profile, TraceError
from tvm_pulp.runtime.sim import benchmark as benchmark_module
from tvm_pulp.runtime.sim.command_line import main
from tvm_pulp.runtime.sim.profile import CAUSES

REFERENCE = Path(__file__).parent / "reference" / "elf"


def profile_of(program: bytes | Path) -> tuple[Profile, int]:
    machine = Machine(profile=True)
    machine.load(program)
    result = machine.run()
    assert result.profile is not None
    return result.profile, result.cycles


@pytest.mark.parametrize("name", sorted(path.stem for path in REFERENCE.glob("*.elf")))
def test_cycles_sum_up_exactly(name: str) -> None:
    machine = Machine(profile=True)
    machine.load(REFERENCE / f"{name}.elf")
    result = machine.run()
    assert result.profile is not None
    cores = result.profile.cores()
    for row in result.cores:
        if row.started:
            assert cores[row.name].instructions == row.instructions
            assert cores[row.name].total == result.cycles - row.started_at
    assert all(count >= 0 for row in result.profile.rows for count in row.cycles)


def test_causes_are_told_apart() -> None:
    far = [*load_immediate(T1, 0x1C100000), *([lw(T2, T1)] * 10)]
    use = [*load_immediate(T1, L1), addi(A1, ZERO, 50)]
    use += hardware_loop(0, A1, [lw(T2, T1), addi(T2, T2, 1)])
    body = [*on_core(0, far), *on_core(1, use), *on_core(2, delay(50)), *barrier()]
    profile, _ = profile_of(elf(body))
    cores = profile.cores()

    def cycles(core: int, cause: str) -> int:
        return cores[f"core {core}"].cycles[CAUSES.index(cause)]

    assert cycles(0, "L2") - cycles(3, "L2") == 140
    assert 45 <= cycles(1, "load use") - cycles(3, "load use") <= 50
    # 49 taken branches; core 3 takes one more, over the code of core 2
    assert cycles(2, "branch") - cycles(3, "branch") == 2 * 49 - 2
    assert cycles(3, "barrier") > cycles(2, "barrier") + 100


def test_functions_and_table() -> None:
    profile, _ = profile_of(REFERENCE / "hello-gcc14.elf")
    names = [row.function for row in profile.functions()]
    assert {"printf_", "app_main", "rt_pe_main"} <= set(names)
    text = profile.table()
    assert "instruction cache" in text and "printf_" in text and "total" in text


def test_profile_needs_timing() -> None:
    with pytest.raises(ValueError, match="needs timing"):
        Machine(profile=True, timing=False)


def test_trace_shows_cores_and_transfers(tmp_path: Path) -> None:
    body = on_core(0, [*store(0x1C100000, 1), *start_dma(L1, 0x1C100000, 1024, True), *wait_dma()])
    machine = Machine(trace=tmp_path / "trace.json")
    machine.load(elf([*body, *barrier()]))
    result = machine.run()
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    tracks = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert {"core 0", "core 7", "fabric controller", "DMA 0"} <= tracks
    slices = [event for event in events if event["ph"] == "X"]
    (transfer,) = [event for event in slices if event["cat"] == "dma"]
    assert transfer["name"] == "L2 to L1" and transfer["args"]["bytes"] == 1024
    assert 128 <= transfer["args"]["cycles"] <= 160
    assert {event["name"] for event in slices if event["cat"] == "wait"} >= {"barrier", "sleep"}
    for core in range(8):
        own = sorted((e["args"]["cycle"], e["args"]["cycles"]) for e in slices if e["tid"] == core)
        pairs = itertools.pairwise(own)
        assert all(begin + length <= following for (begin, length), (following, _) in pairs)
        assert sum(own[-1]) <= result.cycles


def test_trace_shows_barriers_and_l3(tmp_path: Path) -> None:
    late = on_core(3, delay(200))
    body = [
        *late,
        *barrier(),
        *on_core(0, [*start_l3(0, L1, 256), *start_l3(0, L1, 64, to_l3=True), *wait_l3()]),
    ]
    machine = Machine(trace=tmp_path / "trace.json")
    machine.load(elf([*body, *barrier()]))
    machine.run()
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    tracks = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    slices = [event for event in events if event["ph"] == "X"]
    l3 = [event for event in slices if tracks[event["tid"]] == "L3"]
    assert [(event["name"], event["args"]["bytes"]) for event in l3] == [("from L3", 256), ("to L3", 64)]
    assert [event["args"]["cycles"] for event in l3] == [40 + 256, 40 + 64]
    barriers = [event for event in slices if event["cat"] == "barrier"]
    assert {tracks[event["tid"]] for event in barriers} == {"barrier 0"} and len(barriers) >= 4
    # the others wait for core 3: three cycles a round
    assert max(event["args"]["cycles"] for event in barriers) >= 600


def test_trace_goes_to_disk_as_it_comes(tmp_path: Path) -> None:
    """Also where the run does not end by itself."""
    path = tmp_path / "trace.json"
    machine = Machine(trace=path)
    machine.load(elf([*barrier(), b_type(0, ZERO, ZERO, -4 * len(barrier()))]))
    with pytest.raises(CycleLimit):
        machine.run(20_000)
    assert path.stat().st_size > 100_000
    assert json.loads(path.read_text())["traceEvents"]


def test_sleeping_cores_cost_nothing() -> None:
    """The host's time for a core that computes is the same whether three others sleep or seven."""

    def seconds(cores: int) -> float:
        machine = Machine(Configuration.named("pulp-open").replace(worker_cores=cores))
        machine.load(elf([*on_core(0, delay(400_000)), *barrier()], cores))
        begin = time.process_time()
        machine.run()
        return time.process_time() - begin

    # the code of both lies alike in the lines of the caches
    few, many = (min(seconds(cores) for _ in range(5)) for cores in (4, 8))
    assert many < 1.25 * few


def test_trace_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        Machine(trace=tmp_path / "none" / "trace.json")
    full = Path("/dev/full")
    if full.exists():
        machine = Machine(trace=full)
        machine.load(REFERENCE / "hello-gcc14.elf")
        with pytest.raises(TraceError, match="/dev/full: No space left"):
            machine.run()


def write(path: Path, program: bytes) -> str:
    path.write_bytes(program)
    return str(path)


def test_command_line_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(REFERENCE / "hello-gcc14.elf"), "--stats", "--profile", "--checks"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("hello from cluster, cores: 100 101")
    assert (
        "cycles       " in captured.err and "core 7" in captured.err and "cycles by function" in captured.err
    )


def test_command_line_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endless = write(tmp_path / "endless.elf", elf([b_type(0, ZERO, ZERO, 0)]))
    wild = write(tmp_path / "wild.elf", elf([lw(T1, ZERO)]))
    unknown = write(tmp_path / "unknown.elf", elf([0]))
    racy = write(tmp_path / "racy.elf", elf(store(L1, 1)))
    noise = write(tmp_path / "noise.elf", b"noise")
    codes = {
        "usage": main([str(REFERENCE / "hello-gcc14.elf"), "--target", "nothing"]),
        "noise": main([noise]),
        "wild": main([wild]),
        "unknown": main([unknown]),
        "endless": main([endless, "--max-cycles", "10000", "--stats"]),
        "racy": main([racy, "--checks"]),
        "trace": main([racy, "--trace", str(tmp_path / "no" / "trace.json")]),
    }
    assert codes == {
        "usage": 64,
        "noise": 65,
        "wild": 70,
        "unknown": 71,
        "endless": 72,
        "racy": 75,
        "trace": 74,
    }
    errors = capsys.readouterr().err
    assert "pulp-sim: no configuration named 'nothing'" in errors
    assert "noise.elf: not an ELF file" in errors
    assert "Traceback" not in errors
    with pytest.raises(SystemExit) as caught:
        main(["--colour"])
    assert caught.value.code == 64


def test_ctrl_c_leaves_statistics(tmp_path: Path) -> None:
    endless = write(tmp_path / "endless.elf", elf([b_type(0, ZERO, ZERO, 0)]))
    process = subprocess.Popen(
        [sys.executable, "-m", "tvm_pulp.runtime.sim", endless, "--stats"], stderr=subprocess.PIPE, text=True
    )
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted in cycle" in errors and "instructions " in errors


def test_benchmark_programs_do_their_work() -> None:
    for program in (
        benchmark_module.fma_program(10),
        benchmark_module.dot_program(10),
        benchmark_module.integer_program(10),
    ):
        speed, instructions = benchmark_module.measure(program, timing=True)
        assert speed > 0
        assert instructions > 8 * 10 * 8
