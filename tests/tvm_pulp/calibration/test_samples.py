import numpy as np
import pytest

from tests.passes.small_models import build_model
from tvm_pulp.calibration.samples import open_samples
from tvm_pulp.target.errors import UserError

MODEL = build_model(lambda builder, x: x, inputs={"x": (1, 2, 3)})
DATA = np.arange(30, dtype=np.float32).reshape(5, 2, 3)


def all_rows(samples, size):
    return np.concatenate([batch["x"] for batch in samples.batches(size)])


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_npz_and_folders_give_the_same_samples(tmp_path, size):
    np.savez(tmp_path / "data.npz", x=DATA, labels=np.zeros(5))
    folder = tmp_path / "folder"
    folder.mkdir()
    np.save(folder / "a.npy", DATA[0])
    np.save(folder / "b.npy", DATA[1:4])
    np.save(folder / "c.npy", DATA[4])
    for source in ({"x": DATA}, tmp_path / "data.npz", folder):
        samples = open_samples(source, MODEL)
        assert samples.count == 5
        np.testing.assert_array_equal(all_rows(samples, size), DATA)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": DATA}, "has no array 'x' \\(it holds y\\)"),
        ({"x": DATA, "z": DATA}, "has an array 'z' that is no input"),
        ({"x": DATA[:0]}, "holds no samples"),
        ({"x": DATA[:, :1]}, "a sample of 'x' has shape \\[1, 3\\]; the model takes \\[2, 3\\]"),
    ],
)
def test_bad_arrays(arrays, message):
    with pytest.raises(UserError, match=message):
        open_samples(arrays, MODEL)


def test_nan_and_text_are_refused_when_they_are_read():
    bad = DATA.copy()
    bad[3, 0, 0] = np.nan
    with pytest.raises(UserError, match="'x' holds NaN"):
        all_rows(open_samples({"x": bad}, MODEL), 2)
    with pytest.raises(UserError, match="must hold numbers"):
        all_rows(open_samples({"x": DATA.astype(str)}, MODEL), 2)


def test_bad_folders(tmp_path):
    with pytest.raises(UserError, match=r"holds no \.npy file"):
        open_samples(tmp_path, MODEL)
    (tmp_path / "a.npy").write_bytes(b"not an array")
    with pytest.raises(UserError, match=r"a\.npy is not a readable npy file"):
        open_samples(tmp_path, MODEL)
    np.save(tmp_path / "a.npy", DATA[:, :1])
    with pytest.raises(UserError, match=r"a\.npy: a sample of 'x' has shape"):
        open_samples(tmp_path, MODEL)


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_float32_are_refused():
    samples = open_samples({"x": DATA.astype(np.float64) * 1e300}, MODEL)
    with pytest.raises(UserError, match="'x' holds NaN or infinity; clean the data first"):
        all_rows(samples, 5)
