"""What a user gets wrong is said in one line; nothing is half written."""

import numpy as np
import pytest
import torch

from tvm_pulp.command_line import main


@pytest.fixture(scope="module")
def model(tmp_path_factory, exported_mobilenet):
    path = tmp_path_factory.mktemp("model") / "model.pt2"
    torch.export.save(exported_mobilenet, path)
    return path


@pytest.fixture(scope="module")
def package(tmp_path_factory, mobilenet_package):
    path = tmp_path_factory.mktemp("package") / "trainer.tar"
    mobilenet_package.export(path)
    return path


def refused(arguments, capsys, output=None):
    assert main([str(a) for a in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tvmc: error: ")
    assert "internal error" not in error
    assert error.count("\n") == 1, error
    if output is not None:
        assert list(output.iterdir()) == []
    return error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "pulp -l3-banks=4"], "l3-banks"),
        (["--target", "plup"], "pulp"),
        (["--target", "pulp -cores=zero"], "cores"),
        (["--target", "pulp -l2-bytes=262144"], "bytes short"),
        (["--cross-compiler", "no-such-compiler"], "no-such-compiler"),
        (["--trainable", "nothing.*"], "nothing.*"),
        (["--freeze-until", "nowhere"], "nowhere"),
        (["--micro-batch", "3"], "micro_batch 3"),
        (["--micro-batch", "2", "--keep-gradients"], "keep_gradients"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--momentum", "1.5"], "momentum"),
    ],
)
def test_options(model, tmp_path, capsys, options, message):
    arguments = ["compile", model, "--train", "--batch-size", "8", *options, "-o", tmp_path / "out.tar"]
    assert message in refused(arguments, capsys, tmp_path)


@pytest.mark.parametrize("name", ["damaged.onnx", "damaged.tflite", "damaged.pt2", "model.xyz"])
def test_damaged_models(tmp_path, capsys, name):
    path = tmp_path / name
    path.write_bytes(b"\x00\x01 not a model \xff" * 20)
    (tmp_path / "out").mkdir()
    arguments = ["compile", path, "--train", "-o", tmp_path / "out" / "o.tar"]
    assert name in refused(arguments, capsys, tmp_path / "out")


def test_missing_model(tmp_path, capsys):
    assert "absent.onnx" in refused(
        ["compile", tmp_path / "absent.onnx", "-o", tmp_path / "o.tar"], capsys, tmp_path
    )


def test_inputs_that_do_not_fit(package, tmp_path, capsys, samples):
    labels = samples["labels"][:8].copy()
    labels[3] = 10
    np.savez(tmp_path / "b.npz", x=samples["x"][:8], labels=labels)
    out = tmp_path / "out"
    out.mkdir()
    run = ["run", package, "--inputs", tmp_path / "b.npz", "--outputs", out / "o.npz"]
    assert "label 10 of sample 3 is out of range" in refused(run, capsys, out)
    check = ["check", package, "--inputs", tmp_path / "absent.npz"]
    assert "absent.npz" in refused(check, capsys)


def test_parameters_that_are_not_numbers(mobilenet, tmp_path, capsys, samples):
    broken = {name: value.clone() for name, value in mobilenet.state_dict().items()}
    name = next(name for name in broken if name.endswith("weight"))
    broken[name].view(-1)[0] = float("nan")
    import copy

    net = copy.deepcopy(mobilenet)
    net.load_state_dict(broken)
    exported = torch.export.export(net, (torch.from_numpy(samples["x"][:8]),))
    torch.export.save(exported, tmp_path / "nan.pt2")
    out = tmp_path / "out"
    out.mkdir()
    assert name in refused(["compile", tmp_path / "nan.pt2", "--train", "-o", out / "o.tar"], capsys, out)
