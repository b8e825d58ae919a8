"""Configurations: files, changes, and what they do."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from planted import A0, A1, L1, T1, T2, addi, elf, hardware_loop, load_immediate, lw, on_core, sw

import tvm_pulp.runtime.sim
from tvm_pulp.runtime.sim import Cache, Configuration, ElfError, Machine
from tvm_pulp.runtime.sim.command_line import main

PACKAGE = Path(tvm_pulp.runtime.sim.__file__).parent
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
        ({"l3_byte": 1}, "unknown field 'l3_byte' of a simulator configuration; did you mean 'l3_bytes'?"),
        ({"colour": 1}, "unknown field 'colour' of a simulator configuration; docs/simulator.md lists the"),
        ({"l2_bytes": "big"}, "field 'l2_bytes' is 'big'; it must be a multiple of 4 from 0 to 536870912"),
        ({"l2_bytes": -4}, "field 'l2_bytes' is -4; it must be a multiple of 4 from 0"),
        (
            {"axi_latency": 1 << 32},
            "field 'axi_latency' is 4294967296; it must be a number from 0 to 4294967295",
        ),
        ({"l1_bank_conflicts": 1}, "field 'l1_bank_conflicts' is 1; it must be true or false"),
        ({"name": 1}, "field 'name' is 1; it must be a text"),
        ({"l1_bytes": 5000}, "field 'l1_bytes' is 5000; it must be a multiple of 4096 from 4096 to 1048576"),
        ({"shared_fpus": 0}, "field 'shared_fpus' is 0; it must be a number from 1 to 16"),
        ({"worker_cores": 99}, "a number from 1 to 16"),
        ({"l1_banks": 3}, "field 'l1_banks' is 3; it must be a power of two from 1 to 65536"),
        (
            {"l0": {"sets": 3, "ways": 1, "refill_latency": 0}},
            "field 'l0.sets' is 3; it must be a power of two",
        ),
        ({"l0": {"sets": 4}}, "it must have the fields sets, ways, refill_latency"),
        ({"l2_base": 0x10000000}, "overlap; change their base or bytes"),
        ({"multiply_cycles": 1000}, "a number from 1 to 255"),
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


def test_shipped_schema_follows_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = json.loads((PACKAGE / "chip.schema.json").read_text(encoding="utf-8"))
    assert main(["schema"]) == 0
    assert shipped == json.loads(capsys.readouterr().out)


def test_schema_takes_what_the_simulator_takes() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    shipped = json.loads((PACKAGE / "chip.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(shipped)
    validator = jsonschema.Draft202012Validator(shipped)
    for path in (PACKAGE / "configurations").glob("*.json"):
        assert validator.is_valid(json.loads(path.read_text(encoding="utf-8"))), path
    for fields in (
        {"l1_bytes": 5000},
        {"colour": 1},
        {"l0": {"sets": 4}},
        {"l1_bank_conflicts": 1},
        {"name": 1},
    ):
        assert not validator.is_valid(fields), fields
        with pytest.raises(ValueError, match=r"field"):
            Configuration.from_dict(fields)


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
