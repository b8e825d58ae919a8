import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from tests.passes.small_models import random_input
from tests.tvm_pulp.frontends.onnx_models import onnx_model
from tvm_pulp.frontends import load_model
from tvm_pulp.frontends.load import identifier
from tvm_pulp.target.errors import UserError


def scale_model():
    nodes = [helper.make_node("Mul", ["x", "scale"], ["y"])]
    return onnx_model(nodes, {"scale": random_input(6)}, ("n", 4, 6, 6))


def test_the_suffix_or_the_format_tells_the_importer(tmp_path):
    onnx.save(scale_model(), tmp_path / "net.onnx")
    onnx.save(scale_model(), tmp_path / "net.bin")
    assert load_model(tmp_path / "net.onnx").inputs == ("x",)
    assert load_model(str(tmp_path / "net.bin"), model_format="onnx", batch=3).batch == 3


def test_objects_in_memory():
    assert load_model(scale_model()).name == "net"
    net = nn.Linear(4, 2)
    assert load_model(net, input_shapes={"input": [1, 4]}).name == "Linear"
    assert load_model(torch.export.export(net, (torch.zeros(2, 4),))).batch == 1


@pytest.mark.parametrize(
    "model,keywords,message",
    [
        ("missing.onnx", {}, "missing.onnx: no such file"),
        ("net.h5", {}, "net.h5: the suffix '.h5' is not known: use .onnx, .pt2, .tflite"),
        (
            "net.h5",
            {"model_format": "keras"},
            "unknown model format 'keras': choose one of onnx, pytorch, tflite",
        ),
        ("net.h5", {"batch": 0}, "batch size 0 is not possible"),
        (3, {}, "cannot import a builtins.int"),
        (torch.zeros(3), {}, "cannot import a Tensor"),
        (helper.make_node("Relu", ["x"], ["y"]), {}, "cannot import a "),
    ],
)
def test_what_cannot_be_loaded_is_refused(model, keywords, message, tmp_path):
    (tmp_path / "net.h5").write_bytes(b"")
    path = tmp_path / model if isinstance(model, str) else model
    with pytest.raises(UserError) as caught:
        load_model(path, **keywords)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_identifier():
    assert identifier("my-net v2") == "my_net_v2"
    assert identifier("8bit") == "network_8bit"
    assert identifier("-") == "network"
    assert identifier("réseau") == "r_seau"
