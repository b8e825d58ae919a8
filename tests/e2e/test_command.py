"""The commands of the README, on files."""

import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from elftools.elf.elffile import ELFFile

from examples.models import mobilenet_digits
from tests.e2e.settings import MOBILENET_SEED, PROJECT
from tvm_pulp.command_line import main

TRAIN = [
    "--train",
    "--learning-rate",
    "0.05",
    "--momentum",
    "0.9",
    "--weight-decay",
    "5e-4",
    "--batch-size",
    "8",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory, exported_mobilenet, samples):
    folder = tmp_path_factory.mktemp("files")
    few = torch.from_numpy(samples["x"][:8])
    torch.onnx.export(
        mobilenet_digits(seed=MOBILENET_SEED).train(),
        (few,),
        str(folder / "model.onnx"),
        input_names=["x"],
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
        dynamo=False,
    )
    torch.export.save(exported_mobilenet, folder / "model.pt2")
    np.savez(folder / "batches.npz", x=samples["x"], labels=samples["labels"])
    return folder


@pytest.mark.parametrize("model", ["model.onnx", "model.pt2"])
def test_compile_check_run(files, tmp_path, capsys, model):
    tar, out, batches = str(tmp_path / "trainer.tar"), str(tmp_path / "out.npz"), str(files / "batches.npz")
    assert main(["compile", "--target", "pulp", str(files / model), *TRAIN, "--dump-plan", "-o", tar]) == 0
    assert "train_step:" in capsys.readouterr().out
    assert main(["check", tar, "--inputs", batches, "--steps", "4"]) == 0
    assert "agree with PyTorch over 4 steps" in capsys.readouterr().out
    run = [
        "run",
        tar,
        "--inputs",
        batches,
        "--steps",
        "2",
        "--outputs",
        out,
        "--print-time",
        "--print-top",
        "3",
    ]
    assert main(run) == 0
    printed = capsys.readouterr().out
    assert "MAC/cycle" in printed and "cycles a step" in printed
    with np.load(out) as results:
        assert results["loss"].shape == (2,)
        assert results["output"].shape == (16, 10)
        assert (results["cycles"] > 0).all()
        trained = {name: results[name] for name in results.files}
    infer = ["run", tar, "--inputs", batches, "--function", "infer", "--parameters", out, "--steps", "3"]
    assert main([*infer, "--outputs", str(tmp_path / "predictions.npz")]) == 0
    with np.load(tmp_path / "predictions.npz") as results:
        assert results["output"].shape == (3, 10)
        weights = [name for name in trained if name.endswith("weight")]
        assert all(np.array_equal(results[name], trained[name]) for name in weights)


def test_package_is_a_model_library_format_tar_that_builds_by_its_makefile(files, tmp_path):
    tar = tmp_path / "trainer.tar"
    assert main(["compile", str(files / "model.pt2"), *TRAIN, "-o", str(tar)]) == 0
    with tarfile.open(tar) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path / "project", filter="data")
    assert "metadata.json" in names and "Makefile" in names
    assert any(name.startswith("codegen/host/src/") and name.endswith(".c") for name in names)
    assert any(name.startswith("codegen/host/include/tvmgen_") for name in names)
    metadata = json.loads((tmp_path / "project" / "metadata.json").read_text())
    assert metadata["version"] == 7
    elf = tmp_path / "project" / metadata["pulp"]["elf"]
    shipped = loaded(elf)
    elf.unlink()
    subprocess.run(["make", f"CC={sys.executable} -m ziglang cc"], cwd=tmp_path / "project", check=True)
    assert loaded(elf) == shipped


def loaded(path):
    """What a loader puts into memory: all but debug information, which names the compiler's place."""
    with path.open("rb") as file:
        segments = ELFFile(file).iter_segments("PT_LOAD")
        return [(segment["p_vaddr"], segment.data()) for segment in segments]


@pytest.mark.parametrize("command", [["tvmc", "--version"], ["pulp-sim", "--help"]])
def test_console_scripts_are_installed(command):
    script = PROJECT / ".venv" / "bin" / command[0]
    script = script if script.exists() else command[0]
    assert subprocess.run([script, *command[1:]], check=True, capture_output=True).stdout


def test_learns_on_latents_in_integers(files, tmp_path, capsys):
    tar, batches = str(tmp_path / "learner.tar"), str(files / "batches.npz")
    latents = ["--latent-layer", "2", "--calibration", batches, "--dump-quantization"]
    assert main(["compile", str(files / "model.onnx"), *TRAIN, *latents, "-o", tar]) == 0
    assert "signal/noise dB" in capsys.readouterr().out
    assert main(["check", tar, "--inputs", batches, "--steps", "2"]) == 0
    assert "agree with PyTorch over 2 steps" in capsys.readouterr().out
