import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import build_model, call
from tvm_pulp.passes.canonical_batch_norm import canonical_batch_norm
from tvm_pulp.target.errors import UserError

NAMES = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
PARAMETERS = {name: np.ones(4, "float32") for name in NAMES}


def batch_norm(**attributes):
    def body(builder, x, *parameters):
        attributes.setdefault("axis", 1)
        return builder.emit(builder.emit(relax.op.nn.batch_norm(x, *parameters, **attributes), "bn")[0])

    return body


def test_statistics_are_buffers_and_the_mode_is_left_open():
    model = build_model(batch_norm(axis=-3, momentum=0.3, epsilon=1e-3, training=True), parameters=PARAMETERS)
    after = canonical_batch_norm(model)
    attributes = call(after, "nn.batch_norm").attrs
    assert (attributes.axis, attributes.momentum, attributes.epsilon) == (1, 0.3, 1e-3)
    assert not attributes.training
    assert after.buffers == {"bn.running_mean", "bn.running_var"}


def test_scale_and_offset_that_the_layer_lacks_are_buffers():
    model = build_model(batch_norm(scale=False, center=False), parameters=PARAMETERS)
    assert canonical_batch_norm(model).buffers == set(NAMES)


def test_another_axis_is_refused():
    parameters = {name: np.ones(6, "float32") for name in NAMES}
    with pytest.raises(UserError, match="'bn' works on axis 3"):
        canonical_batch_norm(build_model(batch_norm(axis=3), parameters=parameters))


def test_computed_parameters_are_refused():
    def body(builder, x, weight, *others):
        scale = builder.emit(relax.op.tanh(weight))
        return builder.emit(builder.emit(relax.op.nn.batch_norm(x, scale, *others, axis=1), "bn")[0])

    with pytest.raises(UserError, match="'bn' computes"):
        canonical_batch_norm(build_model(body, parameters=PARAMETERS))
