import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from tvm import relax

from tests.passes.small_models import call, names, operators, random_input, run
from tests.tvm_pulp.frontends.onnx_models import infer
from tests.tvm_pulp.frontends.torch_nets import conv_net
from tvm_pulp.frontends import load_model
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.target.errors import UserError

OPERATORS = [
    "nn.conv2d nn.batch_norm nn.relu nn.conv2d reshape add clip nn.conv2d nn.batch_norm clip add",
    "nn.max_pool2d mean reshape permute_dims matmul add",
]
NAMES = [
    "conv1 norm1 norm1.output relu depthwise.conv2d depthwise.reshape depthwise hardtanh",
    "block.0 block.1 block.1.output block.2 add_2 add_2.max_pool2d",
    "adaptive_avg_pool2d view classifier.permute classifier.matmul classifier",
]


class Function(nn.Module):
    """A function with one trainable factor, so that it can be imported."""

    def __init__(self, function):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([1.5]))
        self.function = function

    def forward(self, x):
        return self.function(x * self.factor)


def exported(net, batch=2, dynamic=False):
    shapes = {"x": {0: torch.export.Dim("batch", min=1, max=64)}} if dynamic else None
    return torch.export.export(net, (torch.randn(batch, *net.shape),), dynamic_shapes=shapes)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("dynamic", [True, False])
def test_train_and_eval_programs_come_in_the_same(train, dynamic):
    net = conv_net().train(train)
    program = exported(net, dynamic=dynamic)
    model = load_model(program, batch=3)
    relax.analysis.well_formed(model.module)  # raises if it is not
    assert operators(model) == " ".join(OPERATORS).split()
    trained = [name for name, _ in net.named_parameters()]
    assert [name for name in model.parameters if name not in model.buffers] == trained
    statistics = {name for name, b in net.named_buffers() if b.is_floating_point()}
    assert model.buffers == statistics
    for name, value in net.state_dict().items():
        if name in model.parameters:
            np.testing.assert_array_equal(model.parameters[name], value.numpy())
    assert static_shape(model.input_variables[0]) == (3, 3, 8, 8)
    x = random_input(3, *net.shape)
    expected = net.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(infer(model, x), expected, rtol=1e-5, atol=1e-6)


def test_bindings_bear_the_names_of_layers():
    assert names(load_model(exported(conv_net()))) == " ".join(NAMES).split()


def test_lvm_agrees_with_pytorch():
    net = conv_net().eval()
    model = load_model(exported(net), batch=2)
    x = random_input(2, *net.shape)
    expected = net(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-5, atol=1e-6)


def test_attributes_of_batch_norm():
    model = load_model(exported(conv_net()))
    first = next(b.value for b in model.function.body.blocks[0].bindings if b.var.name == "norm1")
    assert (first.attrs.momentum, first.attrs.epsilon, first.attrs.axis) == (0.2, 1e-3, 1)
    assert not first.attrs.training


def test_a_module_is_exported_for_given_shapes_and_stays_as_it_is():
    net = conv_net().train()
    before = copy.deepcopy(net.state_dict())
    model = load_model(net, input_shapes={"x": [1, 3, 8, 8]}, batch=4)
    assert model.name == "ConvNet" and model.batch == 4
    assert net.training and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_program_in_memory_stays_as_it_is():
    program = exported(conv_net().train())
    before = str(program)
    load_model(program)
    assert str(program) == before


def test_a_saved_program(tmp_path):
    torch.export.save(exported(conv_net().eval()), tmp_path / "my-net.pt2")
    model = load_model(tmp_path / "my-net.pt2")
    assert model.name == "my_net" and model.inputs == ("x",)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
@pytest.mark.parametrize("train", [True, False])
def test_a_program_that_is_decomposed_already(train):
    program = exported(conv_net().train(train)).run_decompositions()
    assert operators(load_model(program)) == " ".join(OPERATORS).split()


@pytest.mark.parametrize(
    "function,expected",
    [
        (lambda x: torch.add(x, x.tanh(), alpha=2), ["tanh", "multiply", "add"]),
        (lambda x: torch.sub(x, x.tanh(), alpha=0.5), ["tanh", "multiply", "subtract"]),
        (lambda x: 2 - x, ["subtract"]),
        (lambda x: 1 / (x + 3), ["add", "divide"]),
        (lambda x: functional.silu(x), ["sigmoid", "multiply"]),
        (lambda x: functional.hardswish(x), ["add", "clip", "divide", "multiply"]),
        (lambda x: functional.hardtanh(x, -0.5, 0.5), ["clip"]),
        (lambda x: x.clamp(min=0), ["nn.relu"]),
        (lambda x: x.clamp(max=0.25), ["clip"]),
        (lambda x: functional.pad(x, (1, 2, 0, 1), value=3.0), ["nn.pad"]),
        (lambda x: functional.avg_pool2d(x, 3, 2, 1), ["nn.avg_pool2d"]),
        (lambda x: functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False), ["nn.avg_pool2d"]),
        (lambda x: functional.avg_pool2d(x, 3, 2, ceil_mode=True), ["nn.avg_pool2d"]),
        (lambda x: functional.max_pool2d(x, 3, 2, 1, ceil_mode=True), ["nn.max_pool2d"]),
        (lambda x: functional.adaptive_avg_pool2d(x, (2, 3)), ["nn.avg_pool2d"]),
        (lambda x: functional.adaptive_avg_pool2d(x, (4, 4)), ["nn.adaptive_avg_pool2d"]),
        (lambda x: torch.cat([x, x.tanh()], 1), ["tanh", "concat"]),
        (lambda x: torch.log_softmax(x, 1), ["nn.log_softmax"]),
        (lambda x: x.flatten(2).unsqueeze(1).squeeze(), ["reshape"]),
        (lambda x: x.transpose(1, 3), ["permute_dims"]),
        (lambda x: x.mean((2, 3)), ["mean", "reshape"]),
        (lambda x: functional.dropout(x, 0.5, training=True).sigmoid(), ["sigmoid"]),
        (lambda x: functional.dropout2d(x, 0.5, training=True).sigmoid(), ["sigmoid"]),
    ],
)
def test_operators(function, expected):
    net = Function(function)
    model = load_model(net, input_shapes={"x": [2, 3, 6, 6]}, batch=2)
    assert operators(model) == ["multiply", *expected]
    x = random_input(2, 3, 6, 6)
    with torch.no_grad():
        wanted = net(torch.from_numpy(x)).numpy() if "sigmoid" not in expected[0:1] else None
    if wanted is not None:
        np.testing.assert_allclose(infer(model, x), wanted, rtol=1e-5, atol=1e-6)


def test_clip_bounds_are_constants():
    net = Function(lambda x: functional.relu6(x))
    found = call(load_model(net, input_shapes={"x": [2, 3]}), "clip")
    assert (found.args[1].value, found.args[2].value) == (0.0, 6.0)


def test_batch_norm_without_scale_and_offset_has_buffers_for_them():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False))
    model = load_model(net, input_shapes={"input": [2, 3, 5, 5]})
    assert {"1.weight", "1.bias"} <= model.buffers and set(model.parameters) > model.buffers


@pytest.mark.parametrize("persistent", [True, False])
def test_a_buffer_is_a_parameter_that_is_not_trained(persistent):
    net = Function(lambda x: x)
    net.register_buffer("mean", torch.arange(3.0), persistent=persistent)
    net.function = lambda x: x - net.mean
    model = load_model(net, input_shapes={"x": [2, 3]})
    assert list(model.parameters) == ["factor", "mean"] and model.buffers == {"mean"}


def test_a_literal_tensor_is_a_buffer():
    net = Function(lambda x: x + torch.tensor([1.0, 2.0, 3.0]))
    model = load_model(net, input_shapes={"x": [2, 3]})
    assert len(model.buffers) == 1 and set(model.parameters) == {"factor"} | model.buffers
    np.testing.assert_array_equal(model.parameters[next(iter(model.buffers))], [1, 2, 3])


def test_other_dynamic_dimensions_need_shapes():
    net = nn.Conv2d(3, 4, 3)
    sizes = {"input": {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=4)}}
    program = torch.export.export(net, (torch.randn(2, 3, 9, 8),), dynamic_shapes=sizes)
    with pytest.raises(UserError, match="axis 2 of input 'input' is dynamic: give its shape by input_shapes"):
        load_model(program)
    model = load_model(program, input_shapes={"input": [1, 3, 7, 8]}, batch=2)
    assert static_shape(model.function.body.body) == (2, 4, 5, 6)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x):
        return self.a(self.a(x))


def with_parameter(value, dtype=torch.float32):
    net = nn.Linear(4, 2)
    net.weight.data[1, 2] = value
    return net.to(dtype)


@pytest.mark.parametrize(
    "net,shape,message",
    [
        (Tied(), [1, 4], "a.weight, b.weight are one shared tensor"),
        (Twice(), [1, 4], "parameter 'a.weight' is shared by the layers a.matmul, a.matmul_2"),
        (with_parameter(math.nan), [1, 4], "parameter 'weight' holds NaN"),
        (with_parameter(math.inf), [1, 4], "parameter 'weight' holds infinity"),
        (nn.ReLU(), [1, 4], "no trainable parameters"),
        (Function(torch.erfinv), [1, 4], "operator erfinv in layer 'erfinv' is not supported"),
        (nn.Sequential(nn.Linear(4, 4), nn.GELU()), [1, 4], "operator nn.gelu in layer '1' is not supported"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.InstanceNorm2d(1)), [1, 1, 4, 4], "layer '1' normalises"),
        (nn.BatchNorm2d(3, track_running_stats=False), [1, 3, 4, 4], "track_running_stats=True"),
        (
            Function(lambda x: functional.avg_pool2d(x, 2, divisor_override=3)),
            [1, 1, 4, 4],
            "layer 'avg_pool2d' (avg_pool2d) sets divisor_override",
        ),
        (Function(lambda x: x if x.sum() > 0 else -x), [1, 4], "torch.export cannot export it"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(net, shape, message):
    name = "x" if not isinstance(net, nn.Sequential | nn.Linear | nn.ReLU | nn.BatchNorm2d) else "input"
    with pytest.raises(UserError) as caught:
        load_model(net, input_shapes={name: shape}, batch=shape[0])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_another_type_is_refused():
    net = with_parameter(0.0, torch.float64)
    program = torch.export.export(net, (torch.randn(2, 4, dtype=torch.float64),))
    with pytest.raises(UserError, match="of type float64: only float32"):
        load_model(program)


def test_a_module_without_shapes_is_refused():
    with pytest.raises(UserError, match="ConvNet: the shapes of its inputs are not known"):
        load_model(conv_net())


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 broken"])
def test_a_damaged_file_is_refused(tmp_path, content, capfd):
    (tmp_path / "net.pt2").write_bytes(content)
    with pytest.raises(UserError, match=r"net\.pt2: not a readable torch\.export program"):
        load_model(tmp_path / "net.pt2")
    assert capfd.readouterr() == ("", "")


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "net.pt2"
    torch.export.save(exported(conv_net()), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"not a readable torch\.export program"):
        load_model(path)


def test_nothing_is_printed(capfd):
    load_model(conv_net(), input_shapes={"x": [1, 3, 8, 8]})
    for net in (Function(torch.erfinv), nn.GroupNorm(1, 3, affine=False), Function(torch.sum)):
        name = "input" if isinstance(net, nn.GroupNorm) else "x"
        with pytest.raises(UserError):
            load_model(net, input_shapes={name: [2, 3]})
    out, err = capfd.readouterr()
    assert out == "" and err == ""
