import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional
from tvm import relax

from tests.passes.single_operator import check_operator, normal
from tvm_pulp.passes.operators.pooling import Pool2d

CASES = {
    "2x2": ((2, 3, 6, 8), 2, 2, 0, 1, False),
    "remainder": ((2, 3, 7, 9), 2, 2, 0, 1, False),
    "overlapping": ((2, 3, 8, 7), 3, 2, 1, 1, False),
    "stride 1": ((1, 2, 5, 5), 3, 1, 1, 1, False),
    "stride above window": ((1, 2, 9, 9), 2, 3, 0, 1, False),
    "oblong": ((1, 2, 8, 9), (3, 2), (2, 1), (1, 0), 1, False),
    "ceil": ((1, 2, 8, 8), 3, 2, 1, 1, True),
    "ceil without a window in the padding": ((1, 2, 5, 5), 2, 2, 1, 1, True),
}


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


@pytest.mark.parametrize("case", [*CASES, "dilated"])
def test_max_pooling_agrees_with_pytorch(case: str) -> None:
    shape, window, stride, padding, dilation, ceil = {
        **CASES,
        "dilated": ((1, 2, 9, 9), 3, 2, 1, 2, False),
    }[case]
    check_operator(
        lambda builder, x: relax.op.nn.max_pool2d(x, pair(window), stride, padding, dilation, ceil),
        lambda x: functional.max_pool2d(x, window, stride, padding, dilation, ceil),
        {"data": normal(*shape)},
    )


@pytest.mark.parametrize(
    ("shape", "dilation", "kernels"),
    [
        ((1, 2, 8, 8), 1, ["data_gradient"]),
        ((1, 2, 9, 9), 2, ["indices", "data_gradient"]),
        ((1, 1, 64, 64), 1, ["indices", "data_gradient"]),
    ],
)
def test_the_gradient_of_small_images_is_one_kernel(
    shape: tuple[int, ...], dilation: int, kernels: list[str]
) -> None:
    module = check_operator(
        lambda builder, x: relax.op.nn.max_pool2d(x, (2, 2), 2, 0, dilation),
        lambda x: functional.max_pool2d(x, 2, 2, 0, dilation),
        {"data": normal(*shape)},
    )
    names = [variable.name_hint for variable in module.get_global_vars()]
    found = [name for name in names if name.endswith(("_indices", "_data_gradient"))]
    assert sorted(name.split("_", 1)[1] for name in found) == sorted(kernels)


def test_the_first_of_equal_maxima_gets_the_gradient() -> None:
    data = np.random.default_rng(0).integers(0, 3, (2, 3, 8, 8)).astype(np.float32)
    check_operator(
        lambda builder, x: relax.op.nn.max_pool2d(x, (3, 3), 2, 1),
        lambda x: functional.max_pool2d(x, 3, 2, 1),
        {"data": data},
    )


def test_padding_is_no_maximum() -> None:
    check_operator(
        lambda builder, x: relax.op.nn.max_pool2d(x, (3, 3), 2, 1),
        lambda x: functional.max_pool2d(x, 3, 2, 1),
        {"data": -abs(normal(1, 2, 6, 6)) - 1},
    )


@pytest.mark.parametrize("include_padding", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_average_pooling_agrees_with_pytorch(case: str, include_padding: bool) -> None:
    shape, window, stride, padding, _, ceil = CASES[case]
    check_operator(
        lambda builder, x: relax.op.nn.avg_pool2d(
            x, pair(window), stride, padding, ceil_mode=ceil, count_include_pad=include_padding
        ),
        lambda x: functional.avg_pool2d(x, window, stride, padding, ceil, include_padding),
        {"data": normal(*shape)},
    )


@given(st.data())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_any_pooling_agrees_with_pytorch(data: st.DataObject) -> None:
    window = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple(data.draw(st.integers(0, extent // 2)) for extent in window)
    ceil, include = data.draw(st.booleans()), data.draw(st.booleans())
    shape = (1, 2, *(extent + data.draw(st.integers(0, 5)) for extent in window))
    attributes = Pool2d(window, stride, (*padding, *padding), ceil_mode=ceil)
    relaxed = [
        -(-(extent + 2 * pad - k) // s) + 1 if ceil else (extent + 2 * pad - k) // s + 1
        for extent, pad, k, s in zip(shape[2:], padding, window, stride, strict=True)
    ]
    assume(attributes.output_shape(shape)[2:] == tuple(relaxed))
    for kind in ("max", "average"):
        if kind == "max":
            check_operator(
                lambda builder, x: relax.op.nn.max_pool2d(x, window, stride, padding, 1, ceil),
                lambda x: functional.max_pool2d(x, window, stride, padding, 1, ceil),
                {"data": normal(*shape)},
            )
        else:
            check_operator(
                lambda builder, x: relax.op.nn.avg_pool2d(
                    x, window, stride, padding, ceil_mode=ceil, count_include_pad=include
                ),
                lambda x: functional.avg_pool2d(x, window, stride, padding, ceil, include),
                {"data": normal(*shape)},
            )


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 3, 6, 8), (1, 1)),
        ((2, 3, 6, 8), (3, 2)),
        ((2, 3, 7, 5), (3, 2)),
        ((1, 2, 5, 7), (4, 5)),
        ((1, 2, 3, 3), (5, 4)),
        ((8, 2, 40, 40), (1, 1)),
        ((1, 2, 72, 80), (1, 1)),
    ],
)
def test_adaptive_average_pooling_agrees_with_pytorch(
    shape: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    check_operator(
        lambda builder, x: relax.op.nn.adaptive_avg_pool2d(x, size),
        lambda x: functional.adaptive_avg_pool2d(x, size),
        {"data": normal(*shape)},
    )


def test_global_average_pooling_by_a_window_is_a_mean() -> None:
    module = check_operator(
        lambda builder, x: relax.op.nn.avg_pool2d(x, (5, 6)),
        lambda x: torch.mean(x, (2, 3), keepdim=True),
        {"data": normal(2, 3, 5, 6)},
    )
    operators = {str(f.attrs.get("pulp.operator", "")) for f in module.functions.values() if f.attrs}
    assert "avg_pool2d" not in operators and "reduction" in operators
