import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import build_model, call
from tvm_pulp.passes.canonical_attributes import canonical_attributes
from tvm_pulp.target.errors import UserError

WEIGHT = {"w": np.ones((8, 2, 3, 3), "float32")}


def test_conv2d_has_four_paddings_and_no_output_type():
    def body(builder, x, w):
        return builder.emit(relax.op.nn.conv2d(x, w, 2, 1, groups=2, out_dtype="float32"))

    attributes = call(canonical_attributes(build_model(body, parameters=WEIGHT)), "nn.conv2d").attrs
    assert [int(e) for e in attributes.padding] == [1, 1, 1, 1]
    assert [int(e) for e in attributes.strides] == [2, 2] and attributes.groups == 2
    assert attributes.out_dtype is None


def test_axes_count_from_the_front():
    for operator, function in (
        ("nn.softmax", lambda x: relax.op.nn.softmax(x, -1)),
        ("nn.log_softmax", lambda x: relax.op.nn.log_softmax(x, -1)),
        ("concat", lambda x: relax.op.concat([x, x], -1)),
    ):
        after = canonical_attributes(build_model(lambda b, x, f=function: b.emit(f(x))))
        assert call(after, operator).attrs.axis == 3


def test_matmul_has_no_output_type():
    def body(builder, x):
        return builder.emit(relax.op.matmul(x, x, out_dtype="float32"))

    assert call(canonical_attributes(build_model(body, {"x": (3, 3)})), "matmul").attrs.out_dtype is None


def test_another_layout_is_refused_with_the_layer():
    weight = {"w": np.ones((3, 3, 6, 8), "float32")}

    def body(builder, x, w):
        return builder.emit(relax.op.nn.conv2d(x, w, data_layout="NHWC", kernel_layout="HWIO"), "features3")

    with pytest.raises(UserError, match=r"features3.*NHWC"):
        canonical_attributes(build_model(body, parameters=weight))
