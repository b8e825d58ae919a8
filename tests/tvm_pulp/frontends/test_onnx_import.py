import io
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator
from torch import nn
from torch.onnx import TrainingMode
from tvm import relax

from tests.passes.small_models import names, operators, random_input, run
from tests.tvm_pulp.frontends.onnx_models import import_and_compare, infer, onnx_model
from tests.tvm_pulp.frontends.torch_nets import conv_net
from tvm_pulp.frontends import load_model
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.target.errors import UserError


def export(net, *, dynamo, opset, training, dynamic=False, optimize=False):
    """Export by torch for a batch of 2."""
    x = torch.randn(2, *net.shape)
    net = net.train(training is TrainingMode.TRAINING)
    keywords = {"input_names": ["x"], "output_names": ["y"], "opset_version": opset, "training": training}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = {"x": {0: torch.export.Dim("batch", min=1, max=64)}} if dynamic else None
            keywords |= {"dynamic_shapes": shapes, "optimize": optimize, "verbose": False}
            return torch.onnx.export(net, (x,), dynamo=True, **keywords).model_proto
        file = io.BytesIO()
        axes = {"x": {0: "batch"}} if dynamic else None
        fold = training is TrainingMode.EVAL
        torch.onnx.export(
            net, (x,), file, dynamo=False, dynamic_axes=axes, do_constant_folding=fold, **keywords
        )
        return onnx.load_from_string(file.getvalue())


EXPORTERS = [
    {"dynamo": False, "opset": 11, "training": TrainingMode.TRAINING, "dynamic": True},
    {"dynamo": False, "opset": 17, "training": TrainingMode.TRAINING},
    {"dynamo": False, "opset": 13, "training": TrainingMode.PRESERVE},
    {"dynamo": True, "opset": 18, "training": TrainingMode.TRAINING, "dynamic": True},
    {"dynamo": True, "opset": 20, "training": TrainingMode.EVAL},
]


@pytest.fixture(scope="module")
def from_torch():
    return load_model(conv_net(), input_shapes={"x": [2, 3, 8, 8]}, batch=3)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_every_exporter_gives_what_pytorch_gives(exporter, from_torch):
    net = conv_net()
    model = load_model(export(net, **exporter), batch=3)
    relax.analysis.well_formed(model.module)  # raises if it is not
    assert operators(model) == operators(from_torch)
    assert model.buffers == from_torch.buffers
    assert set(model.parameters) == set(from_torch.parameters)
    state = net.state_dict()  # after the export, which runs the net once and so updates running statistics
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, state[name].numpy())
    x = random_input(3, *net.shape)
    expected = net.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(infer(model, x), expected, rtol=1e-5, atol=1e-6)
    layers = {"conv1", "norm1", "depthwise", "block.0", "block.1", "block.2", "classifier"}
    assert layers <= set(names(model))


def test_attributes_of_batch_norm_survive(from_torch):
    model = load_model(export(conv_net(), **EXPORTERS[0]))
    found = {b.var.name: b.value for b in model.function.body.blocks[0].bindings}["norm1"]
    assert (found.attrs.momentum, found.attrs.epsilon) == (0.2, 1e-3)


@pytest.mark.parametrize(
    "exporter",
    [
        {"dynamo": False, "opset": 17, "training": TrainingMode.EVAL, "dynamic": True},
        {"dynamo": True, "opset": 20, "training": TrainingMode.EVAL, "optimize": True},
    ],
)
def test_exporters_that_fold_batch_norm_give_trainable_convolutions(exporter):
    net = conv_net().eval()
    model = load_model(export(net, **exporter), batch=3)
    assert "nn.batch_norm" not in operators(model) and not model.buffers
    assert "conv1.weight" in model.parameters
    x = random_input(3, *net.shape)
    expected = net(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(infer(model, x), expected, rtol=1e-5, atol=1e-6)


def test_lvm_and_the_reference_of_onnx_agree():
    proto = export(conv_net(), dynamo=False, opset=17, training=TrainingMode.PRESERVE)
    x = random_input(2, 3, 8, 8)
    model = import_and_compare(proto, x)
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-5, atol=1e-6)


def test_parameters_that_the_exporter_merged_are_refused():
    """torch's exporter merges equal initialisers in eval mode, here the offsets of two fresh batch norms."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    net.shape = (3, 8, 8)
    proto = export(net, dynamo=False, opset=17, training=TrainingMode.PRESERVE)
    with pytest.raises(
        UserError, match=r"shared by the layers 1, 3, which cannot be trained.*export in train"
    ):
        load_model(proto)


def test_dynamic_dimensions_beside_the_batch_need_shapes():
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    proto = onnx_model(nodes, {"w": random_input(2, 3, 3, 3)}, ("n", 3, "h", "w"))
    with pytest.raises(UserError, match="axis 2 of input 'x' is dynamic"):
        load_model(proto)
    model = load_model(proto, input_shapes={"x": [1, 3, 7, 8]}, batch=2)
    assert static_shape(model.function.body.body) == (2, 2, 5, 6)


def test_a_hand_made_net_with_plain_names():
    nodes = [
        helper.make_node("Gemm", ["x", "W1", "B1"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "W2"], ["m"]),
        helper.make_node("Add", ["B2", "m"], ["a"]),
        helper.make_node("Softmax", ["a"], ["y"], axis=-1),
    ]
    values = {
        "W1": random_input(7, 5),
        "B1": random_input(7),
        "W2": random_input(7, 3),
        "B2": random_input(3),
    }
    model = import_and_compare(onnx_model(nodes, values, ("n", 5)), random_input(4, 5))
    assert list(model.parameters) == ["W1", "B1", "W2", "B2"]
    assert operators(model) == ["permute_dims", "matmul", "add", "nn.relu", "matmul", "add", "nn.softmax"]


def test_weights_that_alone_are_quantised_become_parameters():
    nodes = [
        helper.make_node("DequantizeLinear", ["w_quantized", "s"], ["f"]),
        helper.make_node("MatMul", ["x", "f"], ["y"]),
    ]
    values = {"w_quantized": np.arange(-18, 18, dtype=np.int8).reshape(6, 6), "s": np.float32(0.1)}
    x = random_input(5, 6)
    model = import_and_compare(onnx_model(nodes, values, ("n", 6), opset=21), x)
    np.testing.assert_array_equal(
        model.parameters["w"], values["w_quantized"].astype(np.float32) * np.float32(0.1)
    )


@pytest.mark.parametrize(
    "node,message",
    [
        (helper.make_node("Erf", ["x"], ["y"], name="/net/act/Erf"), "operator erf in layer 'net.act'"),
        (helper.make_node("NonZero", ["x"], ["y"], name="where"), "in layer 'where'"),
        (helper.make_node("Pad", ["x", "p"], ["y"], mode="reflect"), "padding mode reflect in layer 'y'"),
    ],
)
def test_operators_that_are_not_supported_are_named_with_their_layers(node, message):
    values = {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)}
    with pytest.raises(UserError) as caught:
        load_model(onnx_model([node], values))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_settings_that_are_computed_are_refused():
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Clip", ["x", "", "m"], ["y"], name="bound"),
    ]
    with pytest.raises(
        UserError, match=r"operator Clip in layer 'bound' cannot be imported: .*must be a constant"
    ):
        load_model(onnx_model(nodes, {}))


@pytest.mark.parametrize("content", [b"", b"\x00\x01garbage", b"\xff" * 100])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"not an ONNX model|graph is empty") as caught:
        load_model(tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)


def test_truncated_files_are_refused(tmp_path):
    proto = export(conv_net(), dynamo=False, opset=17, training=TrainingMode.TRAINING)
    content = proto.SerializeToString()
    for length in (10, len(content) // 2, len(content) - 3):
        (tmp_path / "net.onnx").write_bytes(content[:length])
        with pytest.raises(UserError):
            load_model(tmp_path / "net.onnx")


def test_nan_in_a_parameter_is_refused():
    weight = random_input(6)
    weight[0] = np.nan
    with pytest.raises(UserError, match="parameter 'scale' holds NaN"):
        load_model(onnx_model([helper.make_node("Mul", ["x", "scale"], ["y"])], {"scale": weight}))


def test_a_model_without_parameters_is_refused():
    with pytest.raises(UserError, match="no trainable parameters"):
        load_model(onnx_model([helper.make_node("Relu", ["x"], ["y"])], {}))


def test_nothing_is_printed(capfd):
    with pytest.raises(UserError):
        load_model(onnx_model([helper.make_node("NonZero", ["x"], ["y"])], {}))
    out, err = capfd.readouterr()
    assert out == "" and err == ""
