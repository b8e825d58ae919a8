"""Configurations: files, changes, and what they do."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from planted import A0, A1, L1, T1, T2, addi, elf, hardware_loop, load_immediate, lw, on_core, sw

from tvm_pulp.runtime.sim import Cache, Configuration, ElfError, Machine

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "simulator.md"


def test_shipped_configurations() -> None:
    assert Configuration.names() == ["pulp-open", "pulp-open-bankconf", "siracusa", "vega"]
    chips = {name: Configuration.named(name) for name in Configuration.names()}
    assert all(chip.name == name for name, chip in chips.items())
    assert chips["pulp-open"] == Configuration().replace(description=chips["pulp-open"].description)
    assert [chips[name].l1_bytes >> 10 for name in ("pulp-open", "vega", "siracusa")] == [64, 128, 256]
    assert chips["pulp-open-bankconf"].l1_bank_conflicts


def test_json_round_trip(tmp_path: Path) -> None:
    chip = Configuration.named("vega").replace(l2_bytes=1 << 25, l0=Cache(4, 2, 3))
    chip.to_json(tmp_path / "chip.json")
    assert Configuration.from_json(tmp_path / "chip.json") == chip


def test_configurations_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Configuration().l2_bytes = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"l3": 1}, "unknown field 'l3'"),
        ({"l2_bytes": "big"}, "'l2_bytes' is a number"),
        ({"l2_bytes": -4}, "not negative"),
        ({"l1_bank_conflicts": 1}, "true or false"),
        ({"l1_bytes": 5000}, "multiple of 4096"),
        ({"shared_fpus": 0}, "at least 1"),
        ({"worker_cores": 99}, "1 to 16"),
        ({"l0": {"sets": 3, "ways": 1, "refill_latency": 0}}, "powers of two"),
        ({"l0": {"sets": 4}}, "sets, ways and refill_latency"),
        ({"l2_base": 0x10000000}, "overlap"),
        ({"multiply_cycles": 1000}, "1 to 255"),
    ],
)
def test_wrong_configurations(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Configuration().replace(**changes)


def test_wrong_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json: not a JSON file"):
        Configuration.from_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(ValueError, match="a JSON object"):
        Configuration.from_json(tmp_path / "b.json")
    (tmp_path / "c.json").write_text(json.dumps({"colour": 1}))
    with pytest.raises(ValueError, match=r"c\.json: unknown field 'colour'"):
        Configuration.from_json(tmp_path / "c.json")
    with pytest.raises(ValueError, match="no configuration named 'gap'"):
        Configuration.named("gap")


def test_large_memories() -> None:
    chip = Configuration.named("pulp-open").replace(l2_bytes=32 << 20, l1_bytes=256 << 10)
    far = 0x1C010000 + (32 << 20) - 4
    body = on_core(0, [*load_immediate(T1, far), *load_immediate(T2, 77), sw(T2, T1)])
    machine = Machine(chip)
    machine.load(elf(body, l1_bytes=256 << 10))
    machine.run()
    assert machine.read(far, 4) == (77).to_bytes(4, "little")
    small = Machine()
    with pytest.raises(ElfError, match="outside memory"):
        small.load(_with_data(far))


def _with_data(address: int) -> bytes:
    from tvm_pulp.runtime.sim.programs import build_elf

    return build_elf([addi(A0, A0, 0)], data={address: b"data"})


def _cycles(chip: Configuration, body: list[int]) -> int:
    machine = Machine(chip)
    machine.load(elf(body))
    return machine.run().cycles


def test_bank_conflicts_cost_time() -> None:
    same_word = [
        *load_immediate(T1, L1 + 64),
        *load_immediate(A1, 100),
        *hardware_loop(0, A1, [lw(T2, T1)] * 4),
    ]
    plain = _cycles(Configuration.named("pulp-open"), same_word)
    conflicts = _cycles(Configuration.named("pulp-open-bankconf"), same_word)
    # eight cores take turns at one bank
    assert conflicts - plain == pytest.approx(7 * 400, rel=0.05)


def test_each_timing_number_matters() -> None:
    chip = Configuration.named("pulp-open")
    far = [*load_immediate(T1, 0x1C100000), lw(T2, T1)]
    one_core = [
        *load_immediate(A1, 100),
        *hardware_loop(0, A1, [addi(A0, A0, 0), 0x02A50533]),
    ]  # mul a0, a0, a0
    assert _cycles(chip.replace(axi_latency=20), far) > _cycles(chip, far)
    assert _cycles(chip.replace(multiply_cycles=4), one_core) - _cycles(chip, one_core) >= 200


def test_document_names_every_field() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [field.name for field in dataclasses.fields(Configuration) if f"`{field.name}`" not in text]
    assert missing == []
