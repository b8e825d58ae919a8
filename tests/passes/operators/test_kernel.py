import numpy as np
import pytest
from tvm import te

from tests.host_executor import run_kernel
from tvm_pulp.passes.operators.kernel import argument, make_kernel, symbol, within


@pytest.mark.parametrize(
    ("layer", "work", "name"),
    [
        ("conv1", "weight_gradient", "conv1_weight_gradient"),
        ("blocks.0.bn", "forward", "blocks_0_bn_forward"),
        ("model/conv;x", "forward", "model_conv_x_forward"),
        ("0.1", "infer", "_0_1_infer"),
        ("größe", "infer", "gr_e_infer"),
    ],
)
def test_symbols_are_c_identifiers(layer: str, work: str, name: str) -> None:
    assert symbol(layer, work) == name
    assert name.isascii() and name.isidentifier()


def test_only_conditions_that_can_fail_are_checked() -> None:
    position = te.var("position")
    assert within(position, 0, 6, 7) == []
    assert len(within(position, -1, 6, 7)) == 1
    assert len(within(position, -1, 7, 7)) == 2


def test_in_place_outputs_have_no_buffer_of_their_own() -> None:
    data, other = argument("data", (3,)), argument("other", (3,))
    result = te.compute((3,), lambda i: data[i] + other[i], name="result")
    kernel = make_kernel([data, other], [result], operator="accumulate", layer="l", work="w", in_place={0: 0})
    assert [buffer.name for buffer in kernel.params] == ["data", "other"]
    arrays = [np.arange(3, dtype=np.float32), np.ones(3, np.float32)]
    assert run_kernel(kernel, arrays)[0].tolist() == [1, 2, 3]
