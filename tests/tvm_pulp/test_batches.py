import numpy as np
import pytest

from tvm_pulp.batches import load_batches
from tvm_pulp.target.errors import UserError


def samples(count=6):
    images = np.arange(count * 10, dtype=np.float32).reshape(count, 2, 5)
    return {"x": images, "labels": np.arange(count) % 3}


def test_steps_take_the_next_samples_and_wrap(metadata):
    given = samples()
    batches = load_batches(given, metadata, "train_step", 4)
    assert len(batches) == 6
    np.testing.assert_array_equal(batches.step(0)["x"], given["x"][:4])
    np.testing.assert_array_equal(batches.step(1)["x"], given["x"][[4, 5, 0, 1]])
    np.testing.assert_array_equal(batches.step(1)["labels"], [1, 2, 0, 1])
    assert batches.step(0)["labels"].dtype == np.int32


def test_reads_npz(metadata, tmp_path):
    np.savez(tmp_path / "batches.npz", **samples())
    batches = load_batches(tmp_path / "batches.npz", metadata, "train_step", 4)
    np.testing.assert_array_equal(batches.arrays["x"], samples()["x"])


def test_inference_needs_no_labels_and_ignores_them(metadata):
    given = samples()
    assert set(load_batches(given, metadata, "infer", 1).arrays) == {"x"}
    del given["labels"]
    assert set(load_batches(given, metadata, "infer", 1).arrays) == {"x"}


def broken(**changes):
    given = {**samples(), **changes}
    return {name: array for name, array in given.items() if array is not None}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (broken(x=None), r"no array 'x' \(it holds labels\); it needs x, labels"),
        (broken(labels=None), "no array 'labels'"),
        (broken(y=np.zeros(6)), "array 'y' that the model does not take; it takes x, labels"),
        (broken(x=np.zeros((6, 2, 4))), r"'x' has shape \[6, 2, 4\]; it must be \[samples, 2, 5\]"),
        (broken(x=np.zeros((5, 2, 5))), "differ in samples"),
        (broken(x=np.zeros((0, 2, 5)), labels=np.zeros(0, int)), "no samples"),
        (broken(x=np.full((6, 2, 5), np.nan)), "NaN or infinity"),
        (broken(x=np.full((6, 2, 5), "a")), "must hold numbers"),
        (
            broken(labels=np.array([0, 1, 2, 3, 0, 0])),
            "label 3 of sample 3 is out of range; the model has classes 0 to 2",
        ),
        (broken(labels=np.array([0, -1, 2, 1, 0, 0])), "label -1 of sample 1"),
        (broken(labels=np.zeros(6)), "class numbers must be integers"),
        (broken(labels=np.zeros((6, 1), int)), "'labels' has shape"),
    ],
)
def test_bad_input_is_named(metadata, given, message):
    with pytest.raises(UserError, match=message) as caught:
        load_batches(given, metadata, "train_step", 4)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_files_are_named(metadata, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_batches(tmp_path / "absent.npz", metadata, "train_step", 4)
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(UserError, match="not a readable npz"):
        load_batches(tmp_path / "damaged.npz", metadata, "train_step", 4)
