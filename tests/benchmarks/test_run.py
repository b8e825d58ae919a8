"""The benchmark at a small size."""

import json

import pytest

from benchmarks import run
from benchmarks.kernels import KERNELS, SEARCHED, SEARCHED_IN_FULL
from benchmarks.search import search_workload
from tvm_pulp.measure.workloads import make_workload
from tvm_pulp.target import features, parse


def test_every_kernel_can_be_made():
    for text in [*KERNELS, *SEARCHED, *SEARCHED_IN_FULL]:
        assert make_workload(text).specification.text == text
    assert len(set(KERNELS)) == len(KERNELS)


def test_a_kernel_and_the_same_work_by_the_naive_lowering():
    record = run.measure_kernel("matmul:m=32,n=32,k=32,source=l1,layout=nn")
    assert isinstance(record, dict)
    assert record["schedule"] == "matmul"
    assert record["naive_cycles"] > record["cycles"]["mean"]


def test_what_cannot_be_measured_is_said():
    assert "take source=l2" in run.measure_kernel("relu:elements=8192,source=l1")


def test_search_finds_nothing_worse_than_the_default():
    found = search_workload("conv2d:cin=8,cout=8,h=6,w=6,pad=1", features(parse("pulp")), most=3)
    assert found["best_cycles"] <= found["default_cycles"]
    assert 1 <= found["tried"] <= 3 <= found["valid"]
    assert found["record"]["cycles"] == found["best_cycles"]
    assert found["loss"] == pytest.approx(found["default_cycles"] / found["best_cycles"] - 1)


def test_a_full_search_measures_every_code_once():
    found = search_workload("linear:inputs=2,outputs=2", features(parse("pulp")), most=None)
    assert 2 <= found["tried"] < found["valid"]
    assert found["best_cycles"] <= found["default_cycles"]


def test_parts_are_printed_and_only_the_whole_is_written(tmp_path, capsys, monkeypatch):
    files = [f"--json={tmp_path / 'p.json'}", f"--markdown={tmp_path / 'p.md'}", "--processes=1"]
    files.append(f"--tuning-records={tmp_path / 'records.jsonl'}")
    assert run.main(["--parts=trainlib", "--only=sgd 7168", *files]) == 0
    assert "sgd 7168 UPD" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(run, "measure_part", lambda part, only, processes: [])
    assert run.main(files) == 0
    assert set(json.loads((tmp_path / "p.json").read_text())) == set(run.PARTS)
    assert (tmp_path / "p.md").read_text().startswith("# Performance\n")
    assert (tmp_path / "records.jsonl").read_text() == ""


def test_unknown_part(capsys):
    with pytest.raises(SystemExit) as caught:
        run.main(["--parts=kernel"])
    assert caught.value.code == 2
    assert "there is no kernel; choose of kernels, nets" in capsys.readouterr().err
