import json
import tarfile

import pytest

from tvm_pulp.package import load
from tvm_pulp.package.archive import write_tar
from tvm_pulp.target.errors import UserError


@pytest.fixture
def folder(tmp_path, metadata):
    folder = tmp_path / "folder"
    for name in (metadata.elf, "src/forward.json", "parameters/initial.npz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")
    (folder / "metadata.json").write_text(json.dumps(metadata.to_json()))
    return folder


def test_written_and_read_back(folder, tmp_path, metadata):
    write_tar(folder, tmp_path / "p.tar")
    package = load(tmp_path / "p.tar")
    assert package.metadata == metadata
    assert package.elf.read_bytes() == b"content"


def test_equal_content_gives_equal_bytes(folder, tmp_path):
    write_tar(folder, tmp_path / "a.tar")
    write_tar(folder, tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_missing_part_is_named(folder, tmp_path):
    (folder / "src" / "forward.json").unlink()
    write_tar(folder, tmp_path / "p.tar")
    with pytest.raises(UserError, match=r"p\.tar lacks src/forward\.json"):
        load(tmp_path / "p.tar")


def test_damaged_archives_are_named(folder, tmp_path):
    with pytest.raises(UserError, match="no such package"):
        load(tmp_path / "p.tar")
    (tmp_path / "p.tar").write_bytes(b"no tar at all")
    with pytest.raises(UserError, match="not a readable tar"):
        load(tmp_path / "p.tar")
    write_tar(folder, tmp_path / "whole.tar")
    (tmp_path / "p.tar").write_bytes((tmp_path / "whole.tar").read_bytes()[:2000])
    with pytest.raises(UserError, match=r"p\.tar"):
        load(tmp_path / "p.tar")
    with tarfile.open(tmp_path / "p.tar", "w") as tar:
        tar.add(folder / "src", "src")
    with pytest.raises(UserError, match=r"no readable metadata\.json"):
        load(tmp_path / "p.tar")
