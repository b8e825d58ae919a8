import numpy as np
from tvm import relax

from tests.passes.small_models import build_model, call, operators, random_input, run
from tvm_pulp.passes.fold_padding import fold_padding

WEIGHT = {"w": random_input(3, 4, 3, 3, seed=1)}
WIDTHS = [0, 0, 0, 0, 1, 2, 3, 4]


def padded(widths, value=0.0, mode="constant"):
    def body(builder, x, w):
        y = builder.emit(relax.op.nn.pad(x, widths, mode, value))
        return builder.emit(relax.op.nn.conv2d(y, w, 2, [1, 0, 0, 1]))

    return body


def test_zero_padding_of_height_and_width_goes_into_the_convolution():
    model = build_model(padded(WIDTHS), parameters=WEIGHT)
    after = fold_padding(model)
    assert operators(after) == ["nn.conv2d"]
    assert [int(e) for e in call(after, "nn.conv2d").attrs.padding] == [2, 3, 2, 5]
    x = random_input(2, 4, 6, 6)
    np.testing.assert_allclose(run(after, x), run(model, x), rtol=1e-5, atol=1e-6)


def test_other_padding_stays():
    wide = {"w": random_input(3, 5, 3, 3, seed=1)}
    for body, parameters in (
        (padded(WIDTHS, value=1.0), WEIGHT),
        (padded(WIDTHS, mode="reflect"), WEIGHT),
        (padded([0, 0, 0, 1, 0, 0, 0, 0]), wide),
    ):
        after = fold_padding(build_model(body, parameters=parameters))
        assert operators(after) == ["nn.pad", "nn.conv2d"]


def test_padding_that_others_read_stays_for_them():
    def body(builder, x, w):
        y = builder.emit(relax.op.nn.pad(x, WIDTHS))
        convolved = builder.emit(relax.op.nn.conv2d(y, w))
        return relax.op.add(convolved, builder.emit(relax.op.mean(y, [1, 2, 3], keepdims=True)))

    model = build_model(body, parameters=WEIGHT)
    after = fold_padding(model)
    assert operators(after) == operators(model)
    assert [int(e) for e in call(after, "nn.conv2d").attrs.padding] == [1, 3, 2, 4]
