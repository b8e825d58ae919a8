"""The references by NumPy against what TVM computes on the host from the same kernels."""

import numpy as np
import pytest

from tests.schedules.host_harness import HostKernel, run_reference
from tvm_pulp.measure import random_arguments
from tvm_pulp.measure.bound import bound_of
from tvm_pulp.measure.workloads import KINDS, make_workload
from tvm_pulp.schedules.base import lower
from tvm_pulp.target import features, parse
from tvm_pulp.target.errors import UserError

STEPS = ("forward", "data-grad", "weight-grad")
TEXTS = [
    *(f"matmul:m=5,n=7,k=3,layout={layout}" for layout in ("nn", "tn", "nt", "tt")),
    *(f"matmul:m=5,n=7,k=3,layout={layout},batch=3" for layout in ("nn", "tt")),
    "matmul:m=4,n=6,k=8,layout=nt,dtype=int8",
    "matmul:m=5,n=7,k=3,layout=tn,dtype=float16",
    *(f"conv2d:cin=4,cout=6,h=7,w=5,stride=2,pad=1,batch=2,dtype=float16,step={step}" for step in STEPS),
    *(f"linear:inputs=12,outputs=5,batch=3,step={step}" for step in STEPS),
    *(f"conv2d:cin=4,cout=6,h=7,w=5,kernel=3,stride=2,pad=1,batch=2,step={step}" for step in STEPS),
    *(f"conv2d:cin=4,cout=6,h=9,w=8,kernel=3,dilation=2,groups=2,pad=2,step={step}" for step in STEPS),
    *(f"conv2d:cin=4,cout=6,h=3,w=5,kernel=1,batch=2,step={step}" for step in STEPS),
    *(f"conv2d:cin=4,cout=6,h=1,w=1,kernel=1,batch=2,step={step}" for step in STEPS),
    *(f"depthwise:channels=3,h=6,w=8,kernel=3,pad=1,stride=1,step={step}" for step in STEPS),
    "conv2d:cin=1,cout=2,h=70,w=70,kernel=3,batch=2,step=weight-grad",
    "conv2d:cin=1,cout=2,h=34,w=34,kernel=3,batch=8,step=weight-grad",
    *(f"{name}:elements=37" for name in ("relu", "relu6", "add", "multiply", "sigmoid", "tanh", "sgd")),
    "relu:elements=37,step=data-grad",
    "relu6:elements=37,step=data-grad",
    "sgd:elements=37,momentum=yes",
    "softmax:classes=10,batch=3",
    "cross_entropy:classes=10,batch=3",
    "cross_entropy:classes=10,batch=3,step=data-grad",
    "cross_entropy:classes=10,batch=3,step=training",
    *(f"{pool}:channels=3,h=8,w=6,batch=2,step={step}"
      for pool in ("max_pool", "avg_pool", "mean", "batch_norm") for step in STEPS[:2]),
    *(f"{pool}:channels=3,h=9,w=7,window=3,pad=1,step={step}"
      for pool in ("max_pool", "avg_pool") for step in STEPS[:2]),
    *(f"batch_norm:channels=3,h=9,w=7,relu=yes,step={step}" for step in STEPS[:2]),
    "bias_gradient:channels=3,h=5,w=4,batch=2",
    *(f"latents_{way}:elements=37,bits={bits}"
      for way in ("pack", "repack", "unpack") for bits in (8, 7, 6, 1)),
    "latents_pack:elements=37,relu=no",
    *(f"latents_gather:elements=37,samples=5,bits={bits}" for bits in (8, 7)),
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_reference(text):
    workload = make_workload(text)
    arrays = random_arguments(workload.function, seed=3)
    expected = workload.expected([array.copy() for array in arrays])
    found = run_reference(workload.function, arrays)
    assert expected
    for number, want in expected.items():
        assert want.shape == found[number].shape
        assert np.abs(want).max() > 0
        limit = max(workload.tolerance, 1e-7) * np.abs(want).max()
        np.testing.assert_allclose(found[number], want, rtol=0, atol=limit)
    unchanged = [n for n in range(len(arrays)) if n not in expected]
    assert all(np.array_equal(arrays[n], found[n]) for n in unchanged)


@pytest.mark.parametrize(
    "text",
    [
        "conv2d:cin=5,cout=6,h=9,w=8,pad=1,stride=2,dtype=int8",
        "conv2d:cin=8,cout=6,h=5,w=4,kernel=1,batch=2,dtype=int8",
        "conv2d:cin=8,cout=16,h=7,w=6,pad=2,dilation=2,groups=2,dtype=int8",
        "conv2d:cin=6,cout=4,h=9,w=10,groups=2,dtype=int8",
        "depthwise:channels=7,h=9,w=10,pad=1,dtype=int8",
        "depthwise:channels=8,h=9,w=10,pad=1,stride=2,batch=2,dtype=int8",
        *(f"add:elements=377,dtype=int8,rounding={way}" for way in ("half-up", "half-even", "tflite")),
        "multiply:elements=377,dtype=int8",
        "max_pool:channels=8,h=9,w=10,window=3,pad=1,dtype=int8",
        "avg_pool:channels=8,h=9,w=10,dtype=int8",
        "mean:channels=64,h=3,w=2,dtype=int8",
    ],
)
def test_bytes_are_exact(text, tmp_path):
    workload = make_workload(text)
    arrays = random_arguments(workload.function, seed=3)
    ((number, want),) = workload.expected([array.copy() for array in arrays]).items()
    HostKernel(lower(workload.function, features(parse("pulp"))), tmp_path)(arrays)
    np.testing.assert_array_equal(arrays[number], want)
    assert len(np.unique(want)) > 20 and want.max() < 256
    assert workload.tolerance == 0


def test_every_kind_is_tried():
    assert {text.partition(":")[0] for text in TEXTS} == set(KINDS)


def test_a_convolution_of_one_tap_is_a_product():
    workload = make_workload("conv2d:cin=4,cout=6,h=3,w=5,kernel=1,step=data-grad")
    assert workload.function.attrs["pulp.operator"] == "matmul"
    assert workload.cost.macs == 4 * 6 * 15


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv2d:cin=4,cout=6,h=8,w=8,groups=4", "groups=4 does not divide cout=6"),
        ("conv2d:cin=4,cout=6,h=2,w=8,kernel=3", "larger than the image"),
        ("conv2d:cin=4,cout=6,h=8,w=8,dtype=int8,step=data-grad", "integer networks have no gradients"),
        ("max_pool:channels=4,h=8,w=8,dtype=int8,step=data-grad", "integer networks have no gradients"),
        ("avg_pool:channels=4,h=8,w=8,window=3,pad=1,dtype=int8", "are measured without padding"),
        ("max_pool:channels=4,h=8,w=8,pad=2", "pad=2 is more than half the window of 2"),
        ("avg_pool:channels=4,h=8,w=2,window=3", "larger than the image"),
    ],
)
def test_shapes_that_cannot_be(text, message):
    with pytest.raises(UserError, match=message):
        make_workload(text)


def test_bounds():
    """By hand: 4 FMA a cycle, 8 bytes a cycle each way, 8 cores."""
    chip = features(parse("pulp"))
    assert chip.fpus == 4
    product = bound_of(make_workload("matmul:m=64,n=64,k=64"), chip, [2])
    assert (product.compute, product.dma, product.limit) == (65536, 2 * 64 * 64 * 4 / 8, "compute")
    assert bound_of(make_workload("matmul:m=64,n=64,k=64,source=l1"), chip, [2]).dma == 0
    row = bound_of(make_workload("linear:inputs=256,outputs=64"), chip, [2])
    assert (row.cycles, row.limit) == ((256 * 64 + 256) * 4 / 8, "DMA")
    update = bound_of(make_workload("sgd:elements=8000"), chip, [0])
    assert (update.compute, update.dma) == (4000, (2 * 8000 + 1) * 4 / 8)
    bytes_ = bound_of(make_workload("matmul:m=64,n=64,k=64,dtype=int8,source=l1"), chip, [2])
    assert bytes_.cycles == 64**3 / 32
    added = bound_of(make_workload("add:elements=8000,dtype=int8"), chip, [2])
    assert (added.compute, added.dma) == (8000 * 4.25 / 8, 2000)
    pooled = bound_of(make_workload("max_pool:channels=16,h=8,w=8,dtype=int8,source=l1"), chip, [1])
    assert pooled.cycles == (1024 / 4 + 256 / 4 + 3 * 256 / 4) / 8
    unpacked = bound_of(make_workload("latents_unpack:elements=8000,bits=7"), chip, [1])
    assert (unpacked.compute, unpacked.dma) == (3000, 8000 * 4 / 8)
    into_l1 = bound_of(make_workload("latents_unpack:elements=8000,bits=7,floats=l1"), chip, [1])
    assert (into_l1.compute, into_l1.dma) == (3000, 7000 / 8)


@pytest.mark.parametrize("step", STEPS)
def test_bound_leaves_out_products_with_padding(step):
    """By hand: 3 rows of taps meet 4 rows of an image 10 times; the other 2 times the padding."""
    chip = features(parse("pulp"))
    shapes = {"conv2d:cin=16,cout=8": 128, "conv2d:cin=16,cout=8,groups=2": 64, "depthwise:channels=8": 8}
    for text, products in shapes.items():
        workload = make_workload(f"{text},h=4,w=4,pad=1,batch=3,step={step},source=l1")
        assert workload.cost.macs == 3 * products * 12 * 12
        assert bound_of(workload, chip, [2]).compute == 3 * products * 10 * 10 / chip.fpus
    strided = make_workload(f"conv2d:cin=1,cout=1,h=5,w=8,kernel=5,stride=2,pad=2,step={step},source=l1")
    assert strided.cost.macs == 3 * 4 * 25
    assert bound_of(strided, chip, [2]).compute == (3 + 5 + 3) * (3 + 5 + 5 + 4) / chip.fpus
