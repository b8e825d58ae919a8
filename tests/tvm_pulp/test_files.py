import numpy as np
import pytest

from tvm_pulp.files import read_arrays, replacing, write_arrays
from tvm_pulp.target.errors import UserError


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]


def test_a_good_write_replaces(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]


def test_arrays_round_trip(tmp_path):
    arrays = {"loss": np.array([1.5]), "momentum:fc.weight": np.zeros((2, 3), np.float32)}
    write_arrays(tmp_path / "a.npz", arrays)
    read = read_arrays(tmp_path / "a.npz")
    assert list(read) == list(arrays)
    np.testing.assert_array_equal(read["loss"], arrays["loss"])


def test_unwritable_places_are_named(tmp_path):
    with pytest.raises(UserError, match="cannot write"), replacing(tmp_path / "absent" / "a.tar"):
        pass
    with pytest.raises(UserError, match="it is a folder"), replacing(tmp_path):
        pass
