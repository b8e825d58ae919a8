"""Programs that nobody would write: a small corpus that libFuzzer found, and random changes of it.

``fuzz/CMakeLists.txt`` says how to look for more.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_pulp.runtime.sim import Configuration, Machine, SimulationError, _sim

FUZZ = Path(__file__).parent / "fuzz"
CORPUS = sorted((FUZZ / "corpus").iterdir())
MOST_CYCLES = 20_000
L1, L2 = 0x10000000, 0x1C010000
ENCODINGS = _sim.encodings()

_spec = importlib.util.spec_from_file_location("seeds", FUZZ / "seeds.py")
assert _spec is not None and _spec.loader is not None
_seeds = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_seeds)
OPTION_BYTE: int = _seeds.OPTION_BYTE
SEEDS: list[bytes] = _seeds.seeds()


def chip(options: int) -> Configuration:
    """The machine that an input asks for, as program.cpp has it."""
    return Configuration().replace(
        l1_bytes=0x4000,
        l2_private_bytes=0x1000,
        l2_bytes=0x10000,
        l3_bytes=0x4000 if options & 32 else 0,
        l1_bank_conflicts=bool(options & 8),
        merged_registers=not options & 16,
        l1_alias_at_zero=bool(options & 64),
        shared_fpus=1 if options & 128 else 4,
    )


def outcome(image: bytes, checks: bool) -> tuple[Any, ...]:
    """How a run ends, what it counted and what it leaves in memory."""
    options = image[OPTION_BYTE] if len(image) > OPTION_BYTE else 0
    machine = Machine(chip(options), timing=not options & 1, checks=checks)
    try:
        machine.load(image)
        result = machine.run(MOST_CYCLES)
        end = f"exit {result.exit_code}"
    except SimulationError as error:
        end = f"{type(error).__name__}: {error}"
    result = machine.result()
    assert end and "\n" not in end
    assert result.cycles <= MOST_CYCLES
    counts = (result.cycles, result.instructions, result.stdout, result.cores)
    return end, counts, machine.read(L1, 0x4000), machine.read(L2, 0x10000)


def assert_checks_only_look(image: bytes) -> None:
    """With checks every access takes another way through the simulator; nothing else may change."""
    assert outcome(image, checks=True) == outcome(image, checks=False)


def test_corpus_is_small() -> None:
    assert 20 <= len(CORPUS)
    assert sum(path.stat().st_size for path in CORPUS) < 100_000


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name[:12])
def test_corpus(path: Path) -> None:
    assert_checks_only_look(path.read_bytes())


def test_seeds_run() -> None:
    ends = [outcome(image, checks=False)[0] for image in SEEDS]
    assert sum(end == "exit 0" for end in ends) >= len(SEEDS) // 3  # they reach what they are for
    assert not [end for end in ends if end.startswith("ElfError")]


def changed(image: bytes, generator: random.Random) -> bytes:
    """Change bytes of the file, or instructions by encodings that there are."""
    result = bytearray(image)
    if generator.random() < 0.2:
        for _ in range(generator.randint(1, 6)):
            result[generator.randrange(len(result))] = generator.getrandbits(8)
        return bytes(result[: generator.randint(0, len(result))] if generator.random() < 0.2 else result)
    offset, size = struct.unpack_from("<4xI8xI", image, 52)
    for _ in range(generator.randint(1, 6)):
        _, mask, match = generator.choice(ENCODINGS)
        at = offset + generator.randrange(size // 2 - 1) * 2
        struct.pack_into("<I", result, at, match | generator.getrandbits(32) & ~mask)
    return bytes(result)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.randoms(use_true_random=False))
def test_changed_programs(image: bytes, generator: random.Random) -> None:
    assert_checks_only_look(changed(image, generator))


def test_corpus_with_sanitizers(tmp_path: Path) -> None:
    """The engine under the address and the undefined-behaviour sanitizer, over corpus and seeds."""
    compiler, cmake = shutil.which("clang++") or shutil.which("g++"), shutil.which("cmake")
    if compiler is None or cmake is None:
        pytest.skip("needs cmake and a C++ compiler")
    probe = tmp_path / "probe.cpp"
    probe.write_text("int main() { return 0; }\n")
    sanitize = [compiler, "-fsanitize=address,undefined", probe, "-o", tmp_path / "probe"]
    if subprocess.run(sanitize, capture_output=True).returncode != 0:
        pytest.skip(f"{compiler} has no sanitizers here")
    build = tmp_path / "build"
    configure = [cmake, "-S", FUZZ, "-B", build, f"-DCMAKE_CXX_COMPILER={compiler}"]
    subprocess.run(configure, check=True, capture_output=True)
    subprocess.run(
        [cmake, "--build", build, "--parallel", "2", "--target", "replay_program"],
        check=True,
        capture_output=True,
    )
    files = list(CORPUS)
    for number, image in enumerate(SEEDS):
        files.append(tmp_path / f"seed{number}")
        files[-1].write_bytes(image)
    found = subprocess.run([build / "replay_program", *files], capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr[-3000:]
    assert found.stdout == f"{len(files)} programs\n"
