import numpy as np
import torch
from tvm import relax

from tests.passes.small_models import build_model, random_input, run
from tvm_pulp.oracle.forward import forward

NAMES = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
PARAMETERS = {name: np.abs(random_input(4, seed=i)) + 0.5 for i, name in enumerate(NAMES)}


def norm(builder, x, *parameters):
    y = builder.emit(relax.op.nn.batch_norm(x, *parameters, axis=1, momentum=0.3, epsilon=1e-3))
    return builder.emit(relax.op.multiply(builder.emit(y[0]), relax.const(np.float32(2))))


def tensors(values):
    return {name: torch.from_numpy(value.copy()) for name, value in values.items()}


def test_batch_norm_with_running_statistics_leaves_them():
    model = build_model(norm, parameters=PARAMETERS)
    x = random_input(2, 4, 6, 6)
    parameters = tensors(PARAMETERS)
    output, logits = forward(model, tensors({"x": x}), parameters)
    np.testing.assert_allclose(output.numpy(), run(model, x), rtol=1e-5, atol=1e-5)
    assert logits is output
    for name, value in PARAMETERS.items():
        np.testing.assert_array_equal(parameters[name].numpy(), value)


def test_batch_norm_in_training_mode_updates_them_as_pytorch_does():
    model = build_model(norm, parameters=PARAMETERS)
    x = random_input(2, 4, 6, 6)
    parameters = tensors(PARAMETERS)
    output, _ = forward(model, tensors({"x": x}), parameters, {"bn"})
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    shape = (1, 4, 1, 1)
    normal = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-3)
    scale, offset = PARAMETERS["bn.weight"].reshape(shape), PARAMETERS["bn.bias"].reshape(shape)
    np.testing.assert_allclose(output.numpy(), 2 * (normal * scale + offset), rtol=1e-4, atol=1e-5)
    unbiased = x.var((0, 2, 3), ddof=1)
    for name, new in (("bn.running_mean", mean), ("bn.running_var", unbiased)):
        np.testing.assert_allclose(parameters[name].numpy(), 0.7 * PARAMETERS[name] + 0.3 * new, rtol=1e-5)


def test_logits_are_what_goes_into_a_softmax_over_classes_at_the_end():
    def body(builder, x, axis=1):
        y = builder.emit(relax.op.nn.softmax(x, axis))
        return builder.emit(relax.op.nn.log_softmax(y, axis))

    x = tensors({"x": random_input(3, 5)})
    output, logits = forward(build_model(body, {"x": (3, 5)}), x, {})
    torch.testing.assert_close(logits, torch.softmax(x["x"], 1))
    torch.testing.assert_close(output, torch.log_softmax(logits, 1))
    output, logits = forward(build_model(lambda b, v: body(b, v, 0), {"x": (3, 5)}), x, {})
    assert logits is output


def test_constants_take_the_type_of_the_inputs():
    model = build_model(lambda b, x: b.emit(relax.op.multiply(x, relax.const(np.float32(0.1)))))
    x = torch.from_numpy(random_input(2, 4, 6, 6)).double()
    assert forward(model, {"x": x}, {})[0].dtype is torch.float64
