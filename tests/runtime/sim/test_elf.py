"""Programs that cannot be loaded: one clear line each; damaged files never crash the loader."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import A0, addi, elf

from tvm_pulp.runtime.sim import ElfError, Machine, SimulationError, Symbol

GOOD = elf([addi(A0, A0, 0)])


def patched(offset: int, layout: str, value: int) -> bytes:
    image = bytearray(GOOD)
    struct.pack_into(layout, image, offset, value)
    return bytes(image)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "not an ELF file"),
        (b"hello, world", "not an ELF file"),
        (GOOD[:40], "truncated"),
        (GOOD[:70], "truncated"),
        (GOOD[:200], "truncated"),
        (patched(4, "B", 2), "64-bit"),
        (patched(5, "B", 2), "big-endian"),
        (patched(18, "<H", 62), "machine 62, not for RISC-V"),
        (patched(16, "<H", 1), "not an executable"),
        (patched(24, "<I", 0x100), "entry point outside memory"),
        (patched(52 + 12, "<I", 0x40000000), "segment outside memory: 0x40000000"),
        (patched(52 + 16, "<I", 0x7FFFFFFF), "truncated"),
        (patched(52 + 20, "<I", 1), "larger in the file than in memory"),
        (patched(44, "<H", 0), "nothing to load"),
    ],
)
def test_bad_files(image: bytes, message: str) -> None:
    with pytest.raises(ElfError, match=message) as caught:
        Machine().load(image)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ElfError, match=r"none\.elf: No such file"):
        Machine().load(tmp_path / "none.elf")
    with pytest.raises(ElfError, match="directory"):
        Machine().load(tmp_path)


def test_symbols() -> None:
    machine = Machine()
    machine.load(GOOD)
    assert machine.symbols == {"program": Symbol(0x1C010000, 0x1000, True)}
    assert machine.where(0x1C010010) == "0x1c010010 (program+0x10)"
    assert machine.where(0x1C100000) == "0x1c100000"


def test_a_failed_load_leaves_the_program() -> None:
    machine = Machine()
    machine.load(GOOD)
    with pytest.raises(ElfError):
        machine.load(b"nothing")
    assert machine.run().exit_code == 0


def _load_and_run(image: bytes) -> None:
    machine = Machine(checks=True)
    try:
        machine.load(image)
        machine.run(20_000)
    except SimulationError as error:
        assert "\n" not in str(error)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=12))
def test_damaged_files(changes: list[tuple[int, int]]) -> None:
    image = bytearray(GOOD)
    for offset, value in changes:
        image[offset] = value
    _load_and_run(bytes(image))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GOOD)))
def test_truncated_files(size: int) -> None:
    _load_and_run(GOOD[:size])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=24))
def test_random_words_as_code(words: list[int]) -> None:
    _load_and_run(elf(words))
