import json
import subprocess
import sys

import pytest

from tvm_pulp.command_line import main, make_parser
from tvm_pulp.commands.compile import parse_shapes
from tvm_pulp.target.errors import UserError


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("compile", "run", "check"))


@pytest.mark.parametrize("wrong", [[], ["dance"], ["compile"], ["compile", "a.onnx", "--batch-size", "many"]])
def test_wrong_usage_exits_with_2(wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        main(wrong)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_user_error_is_one_line_and_exit_code_1(tmp_path, capsys):
    assert main(["run", str(tmp_path / "absent.tar"), "--inputs", "x.npz"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tvmc: error: no such package")
    assert error.count("\n") == 1


def test_verbose_adds_the_traceback(tmp_path, capsys):
    assert main(["run", "-v", str(tmp_path / "absent.tar"), "--inputs", "x.npz"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_config_file_gives_options_and_the_command_line_wins(tmp_path, monkeypatch):
    from tvm_pulp.commands import run

    seen = {}
    monkeypatch.setattr(run, "main", lambda options: seen.update(vars(options)) or 0)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"inputs": "a.npz", "steps": 3, "print-time": True, "no-timing": False}))
    assert main(["--config", str(config), "run", "p.tar", "--steps", "5"]) == 0
    assert (seen["inputs"], seen["steps"], seen["print_time"], seen["no_timing"]) == ("a.npz", 5, True, False)


def test_damaged_config_is_named(tmp_path, capsys):
    (tmp_path / "c.json").write_text("[1]")
    assert main(["--config", str(tmp_path / "c.json"), "run", "p.tar"]) == 1
    assert "c.json: not a readable JSON object" in capsys.readouterr().err


def test_training_options_need_train(tmp_path, capsys):
    assert main(["compile", "a.onnx", "--freeze-until", "conv1"]) == 1
    assert "--freeze-until is for training; add --train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--calibrator", "mse"], "--calibrator is for integers; add --calibration"),
        (["--weight-bits", "4"], "--weight-bits is for integers; add --calibration"),
        (["--latent-layer", "2"], "--latent-layer is for training; add --train"),
    ],
)
def test_options_of_quantisation(options, message, capsys):
    assert main(["compile", "a.onnx", *options]) == 1
    assert message in capsys.readouterr().err


def test_shapes():
    assert parse_shapes(None) is None
    assert parse_shapes("x:[1,3,8,8] y:[1,4]") == {"x": [1, 3, 8, 8], "y": [1, 4]}
    assert parse_shapes("x:[1, 3], y:[2]") == {"x": [1, 3], "y": [2]}
    for wrong in ("x", "x:[1,3", "x:[a]", ":[1]", "x:[0,3]"):
        with pytest.raises(UserError, match="write it as"):
            parse_shapes(wrong)


def test_parser_documents_every_option():
    for action in make_parser()._actions:
        assert action.help is not None


def test_help_does_not_load_tvm():
    code = "import sys, tvm_pulp.command_line as c\nc.make_parser()\nassert 'tvm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bench_prints_a_line_a_kernel(capsys):
    assert main(["bench", "matmul:m=8,n=8,k=8,source=l1", "softmax:classes=10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["kernel", "schedule", "MAC", "cycles"]
    assert lines[2].split()[:3] == ["matmul:m=8,n=8,k=8,source=l1", "matmul", "512"]
    assert lines[3].split()[:3] == ["softmax:classes=10", "generic", "-"]
    assert lines[4] == "by the generic lowering, as no template takes them: softmax:classes=10"


def test_bench_as_json(capsys):
    assert main(["bench", "--json", "matmul:m=8,n=8,k=8"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["kernel"], record["macs"], record["dma"]["bytes_out"]) == ("matmul:m=8,n=8,k=8", 512, 256)
    assert record["mac_per_cycle"] == pytest.approx(512 / record["cycles"]["mean"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["matmul:m=8"], "n is missing; matmul has the keys m, n, k"),
        (["--runner", "gvsoc", "relu:elements=8"], "--runner gvsoc: there is none on PATH or in GVSOC_HOME"),
        (["relu:elements=8192,source=l1"], "take source=l2"),
        (["relu:elements=8", "--tuning-records", "absent"], "cannot read the tuning records absent"),
    ],
)
def test_bench_refuses_in_one_line(arguments, message, capsys):
    assert main(["bench", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
