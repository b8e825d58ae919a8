import numpy as np
import pytest
import torch

from tests.passes.torch_training import Residual
from tvm_pulp.calibration.calibrate import calibrate
from tvm_pulp.calibration.samples import open_samples
from tvm_pulp.frontends import load_model
from tvm_pulp.passes.fold_batch_norm import fold_batch_norm
from tvm_pulp.passes.quantized.quantize import quantize_model
from tvm_pulp.reports.quantization import layer_errors, quantization_report


@pytest.fixture(scope="module")
def stage():
    torch.manual_seed(0)
    model = fold_batch_norm(load_model(torch.export.export(Residual().eval(), (torch.zeros(1, 3, 8, 8),))))
    x = np.random.default_rng(0).standard_normal((20, 3, 8, 8)).astype(np.float32)
    samples = open_samples({model.inputs[0]: x}, model)
    return model, samples, calibrate(model, samples), x


def test_every_layer_is_close_and_none_saturates_inside_its_range(stage):
    model, samples, ranges, x = stage
    errors = layer_errors(model, quantize_model(model, ranges), samples)
    assert len(errors) >= 8
    assert min(error.decibels for error in errors) > 30
    assert min(error.cosine for error in errors) > 0.999
    assert errors[0].values == x.size and errors[0].saturated == 0
    text = quantization_report(errors)
    assert all(error.layer in text for error in errors) and "layers that lose most: " in text


def test_a_range_that_is_too_small_shows_as_saturation(stage):
    model, samples, ranges, x = stage
    name = model.inputs[0]
    narrow = {**ranges, name: (-1.0, 1.0)}
    error = layer_errors(model, quantize_model(model, narrow), samples)[0]
    step = 2 / 255
    assert error.saturated == pytest.approx(int((np.abs(x) > 1 + 1.5 * step).sum()), abs=0.01 * x.size)
    assert error.decibels < 15
