import json

import pytest

from tvm_pulp.package.metadata import from_json
from tvm_pulp.target.errors import UserError


def test_round_trip(metadata):
    content = json.loads(json.dumps(metadata.to_json()))
    assert from_json(content, "p.tar") == metadata


def test_follows_the_model_library_format(metadata, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    content = metadata.to_json()
    module = content["modules"]["network"]
    assert content["version"] == 7
    assert module["export_datetime"] == "1970-01-01 00:00:00Z"
    assert module["executors"] == ["aot"]
    (main,) = module["memory"]["functions"]["main"]
    assert main["workspace_size_bytes"] == 100
    assert main["constants_size_bytes"] == 3 * 10 * 4
    assert main["inputs"]["x"] == {
        "dtype": "float32", "shape": [4, 2, 5], "size": 160, "symbol": "network_input_x"
    }  # fmt: skip


def test_macs_of_a_function(metadata):
    assert metadata.macs("train_step") == 120


@pytest.mark.parametrize("content", [{}, {"version": 7}, {"version": 7, "pulp": {}}, {"version": 6}, []])
def test_other_content_is_refused(content):
    with pytest.raises(UserError, match=r"p\.tar"):
        from_json(content, "p.tar")
