import json
from pathlib import Path

import pytest

from tvm_pulp.target import features, parse
from tvm_pulp.target.errors import UserError


@pytest.mark.parametrize(
    "target",
    [
        "pulp -l2-bytes=33554432 -cores=4",
        " pulp  --l2-bytes=32M -cores=0x4 ",
        "pulp -l2_bytes=32768k -cores=4",
        '{"tag": "pulp", "l2_bytes": 33554432, "feature.cores": 4}',
        {"tag": "pulp", "l2-bytes": "32M", "cores": "4"},
        {"tag": "pulp-open", "feature.l2_bytes": 33554432, "feature.cores": 4},
    ],
)
def test_every_way_to_write_a_target(target):
    chip = features(parse(target))
    assert (chip.tag, chip.cores, chip.l2_bytes, chip.l1_bytes) == ("pulp-open", 4, 33554432, 65536)


def test_a_path_to_json(tmp_path: Path):
    path = tmp_path / "chip.json"
    path.write_text('{"tag": "vega", "stack_bytes": 2048}')
    assert features(parse(path)) == features(parse(str(path)))
    assert features(parse(path)).stack_bytes == 2048


def test_a_target_stays_and_its_export_reads_back():
    target = parse("vega -cores=2 -has-fp16=false")
    assert parse(target) is target
    exported = json.loads(str(target))
    assert features(parse(exported)) == features(target)
    assert features(target).has_fp16 is False


@pytest.mark.parametrize(
    "target, message",
    [
        (
            "pulq",
            r'unknown target "pulq" \(did you mean "pulp"\?\); known are pulp, pulp-open, '
            "pulp-open-bankconf, vega, siracusa",
        ),
        ("llvm", 'unknown target "llvm"; known are'),
        ("", "does not start with a tag"),
        ("-cores=4", "does not start with a tag"),
        (
            "pulp -l2-byte=1M",
            r'unknown target option "-l2-byte" \(did you mean "-l2-bytes"\?\); known are -cores',
        ),
        ("pulp -cores", "is not of the form -name=value"),
        ("pulp cores=4", "is not of the form -name=value"),
        ("pulp -cores=9", "target option -cores=9: it must be an integer from 1 to 8"),
        ("pulp -cores=four", "target option -cores=four: it must be an integer"),
        ("pulp -l1-bytes=10000", "a multiple of 4096"),
        ("pulp -l1-bytes=8K", "8 stacks of 1024 bytes take more than half of L1"),
        ("pulp -fpus=3", "it must be 1, 2, 4 or 8"),
        ("pulp -has-xpulp=maybe", "it must be true or false"),
        ("pulp 'x", "No closing quotation"),
        ('{"tag": "pulp"', "the target is not valid JSON"),
        ('{"l2_bytes": 4}', "the target names no tag; known are pulp"),
        ({"tag": "pulp", "cores": True}, "it must be an integer"),
        ({"tag": "pulp", "cores": 2.5}, "it must be an integer"),
        ("missing.json", "cannot read the target file missing.json"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(target, message):
    with pytest.raises(UserError, match=message) as caught:
        parse(target)
    assert "\n" not in str(caught.value)


def test_json_that_is_no_object(tmp_path: Path):
    path = tmp_path / "list.json"
    path.write_text("[1]")
    with pytest.raises(UserError, match="must be a JSON object"):
        parse(path)
