"""Programs whose float ABI or architecture does not fit the chip's registers are refused, others are not."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import A0, addi, elf

from tvm_pulp.runtime.sim import Configuration, ElfError, Machine

MERGED = Configuration()
SEPARATE = MERGED.replace(merged_registers=False)
PLAIN = elf([addi(A0, A0, 0)])


def attributes(architecture: bytes) -> bytes:
    """A section .riscv.attributes: stack alignment, then the architecture."""
    tags = b"\x04\x10\x05" + architecture + b"\0"
    part = b"\x01" + struct.pack("<I", len(tags) + 5) + tags
    vendors = [b"other\0\x01\x02", b"riscv\0" + part]
    return b"A" + b"".join(struct.pack("<I", len(vendor) + 4) + vendor for vendor in vendors)


def program(section: bytes | None = None, flags: int = 0) -> bytes:
    """The plain program with a float ABI and with a section of attributes."""
    image = bytearray(PLAIN)
    struct.pack_into("<I", image, 36, flags)
    if section is not None:
        (headers,) = struct.unpack_from("<I", image, 32)
        (count,) = struct.unpack_from("<H", image, 48)
        table = image[headers : headers + 40 * count]
        struct.pack_into("<I", image, 32, len(image) + len(section))
        struct.pack_into("<H", image, 48, count + 1)
        table += struct.pack("<10I", 0, 0x70000003, 0, 0, len(image), len(section), 0, 0, 1, 0)
        image += section + table
    return bytes(image)


@pytest.mark.parametrize(
    ("architecture", "flags", "merged", "separate"),
    [
        (None, 0, "", ""),
        (None, 1, "", ""),
        (None, 3, "passes floats in floating-point registers .* -march=rv32imc_zfinx", ""),
        (None, 4, "double precision", "double precision .* -march=rv32imfc"),
        (None, 6, "double precision", "double precision"),
        (b"rv32i2p1_m2p0_c2p0_zicsr2p0_zmmul1p0", 1, "", ""),
        (b"rv32i2p1_m2p0_c2p0_zicsr2p0_zfinx1p0_zca1p0", 1, "", r"integer registers \(rv32i2p1_m2p0"),
        (b"rv32i2p1_m2p0_f2p2_c2p0_zicsr2p0_zcf1p0", 1, r"uses floating-point registers \(rv32i2p1", ""),
        (b"rv32i2p0_m2p0_f2p0_d2p0_c2p0", 5, "double precision", "double precision"),
        (b"rv32imfc", 1, "uses floating-point registers", ""),
        (b"rv32imfczfh", 1, "uses floating-point registers", ""),
        (b"rv32i2p0m2p0f2p0c2p0", 1, "uses floating-point registers", ""),
        (b"rv32imc_zfinx", 1, "", "keeps floats in the integer registers"),
        (b"rv32imczfinx", 1, "", "keeps floats in the integer registers"),
        (b"rv32imcxfodder", 1, "", ""),
        (b"rv32imc_xfd1p0_zba1p0", 1, "", ""),
        (b"rv", 1, "", ""),
        (b"", 1, "", ""),
        (b"rv32imf\xff", 1, "", ""),
    ],
)
def test_what_fits(architecture: bytes | None, flags: int, merged: str, separate: str) -> None:
    image = program(None if architecture is None else attributes(architecture), flags)
    for chip, message in ((MERGED, merged), (SEPARATE, separate)):
        machine = Machine(chip)
        if not message:
            machine.load(image)
            assert machine.run().exit_code == 0
            continue
        with pytest.raises(ElfError, match=message) as caught:
            machine.load(image)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 65


GOOD = attributes(b"rv32imfc")


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=40).map(lambda tail: b"A" + tail),
        st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)).map(
            lambda change: GOOD[: change[0]] + bytes([change[1]]) + GOOD[change[0] + 1 :]
        ),
        st.integers(0, len(GOOD)).map(lambda size: GOOD[:size]),
    )
)
def test_damaged_attributes(section: bytes) -> None:
    """They say nothing, or they say something; nothing else."""
    machine = Machine()
    try:
        machine.load(program(section))
    except ElfError as error:
        assert "floating-point registers" in str(error) or "double" in str(error)
    else:
        assert machine.run().exit_code == 0


_SOURCE = r"""
void start(void);
__attribute__((naked)) void _start(void) { __asm__("lui sp, 0x10008\n tail start\n"); }
static volatile float x[4] = {1.5f, -2.25f, 3.0f, 0.1f};
static volatile int n[2] = {7, -3};
volatile unsigned out[8] __attribute__((section(".results")));
static unsigned bits(float f) { union { float f; unsigned u; } both = {f}; return both.u; }
__attribute__((noinline)) static float apply(float a, float b, int k) { return a * b + (float)k; }
void start(void) {
  out[0] = bits(apply(x[0], x[1], n[0]));
  out[1] = bits(__builtin_fabsf(x[1]) / x[2]);
  out[2] = bits(-x[3]);
  out[3] = (unsigned)(int)(x[1] * 8.0f);
  out[4] = x[0] < x[2];
  out[5] = bits(x[0] > x[3] ? x[0] : x[3]);
  float sum = 0;
  for (int i = 0; i < 4; i++) sum += x[i] * x[3 - i];
  out[6] = bits(sum);
  out[7] = bits(apply(sum, sum, n[1]));
  *(volatile unsigned *)0x1A1040A0 = 0x80000000u;
  for (;;) { }
}
"""
_LINK = """
ENTRY(_start)
SECTIONS {
  . = 0x1c010000;
  .text : { *(.text*) *(.rodata*) *(.data*) *(.sdata*) *(.sbss*) *(.bss*) }
  .results 0x1c020000 : { *(.results) }
}
"""


def compiled(folder: Path, architecture: str, abi: str) -> bytes:
    (folder / "program.c").write_text(_SOURCE)
    (folder / "link.ld").write_text(_LINK)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv32-freestanding-none"]
    command += [f"-mcpu=generic_rv32{architecture}", f"-mabi={abi}", "-O2", "-fno-sanitize=all", "-nostdlib"]
    command += [
        "-ffp-contract=off",
        "-fomit-frame-pointer",
        "-Wl,-T,link.ld",
        "program.c",
        "-o",
        "program.elf",
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return (folder / "program.elf").read_bytes()


def test_compiled_programs(tmp_path: Path) -> None:
    """The same C for either kind of chip gives the same numbers, and neither runs on the other kind."""
    pytest.importorskip("ziglang")
    images = {
        "f": compiled(tmp_path, "+m+c+f", "ilp32f"),
        "f, soft ABI": compiled(tmp_path, "+m+c+f", "ilp32"),
        "zfinx": compiled(tmp_path, "+m+c+zfinx", "ilp32"),
    }
    results = {}
    for kind, image in images.items():
        fitting, other = (MERGED, SEPARATE) if kind == "zfinx" else (SEPARATE, MERGED)
        machine = Machine(fitting)
        machine.load(image)
        assert machine.run(100_000).exit_code == 0
        results[kind] = machine.read(0x1C020000, 32)
        with pytest.raises(ElfError, match="registers"):
            Machine(other).load(image)
    words = struct.unpack("<8I", results["zfinx"])
    assert words[4] == 1 and struct.unpack("<f", struct.pack("<I", words[0]))[0] == 1.5 * -2.25 + 7
    assert results["f"] == results["f, soft ABI"] == results["zfinx"]
