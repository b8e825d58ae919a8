import dataclasses
import json
import subprocess
import sys

import pytest

from tvm_pulp.measure.workloads import make_workload
from tvm_pulp.schedules.matmul import MatmulTemplate
from tvm_pulp.target import features, parse
from tvm_pulp.target.errors import UserError
from tvm_pulp.tuning.records import (
    Record,
    chip_key,
    lower_by_records,
    read_records,
    workload_key,
    write_records,
)

TEXT = "matmul:m=32,n=24,k=16"


@pytest.fixture(scope="module")
def chip():
    return features(parse("pulp"))


def record(chip, tile_m, cycles):
    function, template = make_workload(TEXT).function, MatmulTemplate()
    knobs = template.default(template.match(function), chip)
    key = workload_key(function)
    return Record(key, chip_key(chip), "matmul", {**knobs, "tile_m": tile_m}, cycles, TEXT)


def test_a_file_is_read_as_it_was_written(chip, tmp_path):
    records = [record(chip, 16, 5000.0), record(chip, 32, 4000.5)]
    write_records(tmp_path / "records.jsonl", records)
    assert read_records(tmp_path / "records.jsonl") == records


def test_the_fastest_record_of_the_kernel_and_chip_decides(chip):
    small, large = record(chip, 8, 4000.0), record(chip, 32, 5000.0)
    elsewhere = dataclasses.replace(large, cycles=1.0, chip={**large.chip, "cores": 4})
    function = make_workload(TEXT).function
    lowered = lower_by_records(function, chip, [large, small, elsewhere])
    assert "m 8/32" in str(lowered.attrs["pulp.tile"])
    assert lower_by_records(make_workload("matmul:m=32,n=24,k=17").function, chip, [small]) is None
    assert lower_by_records(function, features(parse("pulp -l1-bytes=131072")), [small]) is None


def test_a_key_is_that_of_the_computation(chip):
    function = make_workload(TEXT).function
    renamed = function.with_attr("global_symbol", "other").with_attr("pulp.layer", "somewhere")
    assert workload_key(renamed) == workload_key(function)
    assert workload_key(make_workload("matmul:m=32,n=24,k=16,layout=tn").function) != workload_key(function)
    code = (
        "from tvm_pulp.measure.workloads import make_workload\n"
        "from tvm_pulp.tuning.records import workload_key\n"
        f"print(workload_key(make_workload({TEXT!r}).function))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == workload_key(function)  # of another process


@pytest.mark.parametrize(
    ("line", "words"),
    [("{", "line 1 is not JSON"), (json.dumps({"workload": "a"}), "line 1 is no tuning record")],
)
def test_bad_files(tmp_path, line, words):
    path = tmp_path / "records.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UserError, match=words):
        read_records(path)
    with pytest.raises(UserError, match="cannot read"):
        read_records(tmp_path / "absent.jsonl")


def test_a_record_of_another_version_is_refused(chip):
    old = dataclasses.replace(record(chip, 8, 1.0), knobs={"tile": 4})
    with pytest.raises(UserError, match="another version of schedule matmul"):
        lower_by_records(make_workload(TEXT).function, chip, [old])
