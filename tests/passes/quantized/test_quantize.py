import numpy as np
import pytest
import torch
from torch import nn
from tvm import relax

from examples.digits import digits
from examples.models.mobilenet import mobilenet_digits
from examples.models.residual import residual_digits
from tests.passes.quantized.networks import Varied
from tests.passes.small_models import build_model, run
from tests.passes.torch_training import Residual
from tvm_pulp.calibration.calibrate import calibrate
from tvm_pulp.calibration.samples import open_samples
from tvm_pulp.frontends import load_model
from tvm_pulp.oracle.integer import dequantize, run_integer
from tvm_pulp.passes.fold_batch_norm import fold_batch_norm
from tvm_pulp.passes.quantized.quantize import needed_ranges, quantize_model
from tvm_pulp.target.errors import UserError


def signal_to_noise(exact, found):
    return 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum())


def integer_and_float(network, x, **options):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.from_numpy(x))
        exact = network.eval()(torch.from_numpy(x)).numpy()
    model = fold_batch_norm(load_model(torch.export.export(network, (torch.from_numpy(x[:1]),))))
    data = {model.inputs[0]: x}
    graph = quantize_model(model, calibrate(model, open_samples(data, model)), **options)
    return graph, dequantize(run_integer(graph, data)[graph.output.name], graph.output), exact


@pytest.mark.parametrize(
    ("make", "least"), [(mobilenet_digits, 25), (residual_digits, 35), (Residual, 35), (Varied, 30)]
)
def test_integers_come_close_to_floats(make, least):
    torch.manual_seed(0)
    if make in (mobilenet_digits, residual_digits):
        x = digits(32)[0][:64]
    else:
        x = np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)
    _, found, exact = integer_and_float(make(), x)
    assert signal_to_noise(exact, found) > least


def test_weights_of_4_bits_lie_within_7_and_lose_more():
    x = digits(32)[0][:64]
    graph, found, exact = integer_and_float(mobilenet_digits(), x, weight_bits=4)
    weights = [operator.weight for operator in graph.operators if hasattr(operator, "weight")]
    assert max(int(np.abs(weight).max()) for weight in weights) == 7
    eight = signal_to_noise(exact, integer_and_float(mobilenet_digits(), x)[1])
    assert 5 < signal_to_noise(exact, found) < eight


def test_a_channel_of_zeros_gives_its_bias():
    def body(builder, x, weight, bias):
        y = builder.emit(relax.op.nn.conv2d(x, weight))
        return builder.emit(relax.op.add(y, builder.emit(relax.op.reshape(bias, (1, 2, 1, 1)))))

    weight = np.zeros((2, 4, 1, 1), np.float32)
    weight[0] = 0.5
    model = build_model(body, {"x": (1, 4, 3, 3)}, {"weight": weight, "bias": np.array([0, 1.5], np.float32)})
    graph = quantize_model(model, dict.fromkeys(needed_ranges(model), (-4.0, 4.0)))
    x = np.random.default_rng(0).uniform(-2, 2, (1, 4, 3, 3)).astype(np.float32)
    found = dequantize(run_integer(graph, {"x": x})[graph.output.name], graph.output)
    np.testing.assert_allclose(found, run(model, x), atol=3 * graph.output.scale)


def linear(inputs=4, weight=1.0):
    def body(builder, x, w):
        return builder.emit(relax.op.matmul(x, w), "product")

    return build_model(body, {"x": (1, inputs)}, {"w": np.full((inputs, 2), weight, np.float32)})


UNIT = {"x": (0, 1), "product": (0, 1)}


@pytest.mark.parametrize(
    ("model", "ranges", "options", "message"),
    [
        (linear(), UNIT | {"x": (0, 0)}, {}, "layer x: it yields 0 for all calibration data"),
        (linear(), {}, {}, "layer x: tensor 'x' has no calibrated range"),
        (linear(), UNIT | {"product": (0, np.nan)}, {}, "layer w: its calibrated range is from 0 to nan"),
        (linear(weight=np.nan), UNIT, {}, "layer w: its weight or bias holds NaN"),
        (linear(70_000), UNIT, {}, "layer w: a sum of 70000 products may reach 226"),
        (linear(), UNIT, {"weight_bits": 5}, "weights of 5 bits are not possible"),
    ],
)
def test_bad_input(model, ranges, options, message):
    with pytest.raises(UserError, match=message):
        quantize_model(model, ranges, **options)


def test_an_operator_without_integer_form_is_named():
    model = build_model(lambda builder, x: builder.emit(relax.op.nn.softmax(x, 1)), {"x": (1, 4)})
    with pytest.raises(
        UserError, match=r"layer \w+: nn.softmax has no integer form: choose a latent layer before"
    ):
        needed_ranges(model)
