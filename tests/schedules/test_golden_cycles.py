"""Cycles of a set of kernels: none may get slower unnoticed. ``pytest --update-golden`` renews them."""

import json
import tempfile
from pathlib import Path

import pytest

from tvm_pulp.measure import random_arguments
from tvm_pulp.measure.bench import best_lowering
from tvm_pulp.measure.kernel import run_program
from tvm_pulp.measure.program import build_program
from tvm_pulp.measure.workloads import make_workload
from tvm_pulp.target import Features

GOLDEN = Path(__file__).parent / "golden" / "cycles.json"
LIMIT = 0.02
pytestmark = pytest.mark.xdist_group("golden_cycles")  # one process, as all write the same file
SKEWS = [0, *range(6)]  # the first call fills the instruction caches
STEPS = ("forward", "data-grad", "weight-grad")
KERNELS = [
    "matmul:m=64,n=64,k=64,source=l1",
    "matmul:m=64,n=64,k=64,layout=tn,source=l1",
    "matmul:m=64,n=64,k=64,layout=nt,source=l1",
    "matmul:m=128,n=96,k=80",
    "matmul:m=50,n=37,k=61",
    "matmul:m=64,n=64,k=64,layout=tn,dtype=float16,source=l1",
    "matmul:m=128,n=96,k=80,dtype=float16",
    "matmul:m=64,n=64,k=64,layout=nt,dtype=int8,source=l1",
    "matmul:m=64,n=64,k=64,layout=nn,dtype=int8,source=l1",
    "matmul:m=64,n=64,k=64,layout=tn,dtype=int8,source=l1",
    "matmul:m=50,n=37,k=61,layout=nt,dtype=int8",
    "matmul:m=50,n=37,k=61,layout=tn,dtype=int8",
    "matmul:m=64,n=64,k=64,layout=nn,batch=4,dtype=int8",
    "conv2d:cin=64,cout=64,h=16,w=16,kernel=1,dtype=int8",
    "conv2d:cin=8,cout=16,h=48,w=48,kernel=1,dtype=int8",
    "conv2d:cin=16,cout=16,h=16,w=16,pad=1,dtype=int8",
    "conv2d:cin=16,cout=16,h=16,w=16,pad=2,dilation=2,dtype=int8",
    "conv2d:cin=64,cout=64,h=8,w=8,pad=1,groups=4,dtype=int8",
    "conv2d:cin=3,cout=8,h=48,w=48,pad=1,stride=2,dtype=int8",
    "depthwise:channels=64,h=16,w=16,pad=1,dtype=int8",
    "depthwise:channels=16,h=24,w=24,pad=1,stride=2,dtype=int8",
    "depthwise:channels=16,h=24,w=24,pad=1,stride=2,dtype=int8,source=l1",
    "depthwise:channels=32,h=16,w=16,kernel=5,pad=2,dtype=int8",
    "depthwise:channels=32,h=16,w=16,kernel=5,pad=2,stride=2,dtype=int8",
    "depthwise:channels=32,h=16,w=16,kernel=7,pad=3,dtype=int8",
    "depthwise:channels=32,h=16,w=16,pad=2,dilation=2,dtype=int8",
    "add:elements=16384,dtype=int8",
    "add:elements=16384,dtype=int8,rounding=tflite",
    "max_pool:channels=16,h=32,w=32,dtype=int8",
    "max_pool:channels=16,h=32,w=32,window=3,stride=1,pad=1,dtype=int8",
    "avg_pool:channels=16,h=32,w=32,dtype=int8",
    "mean:channels=64,h=8,w=8,dtype=int8",
    *(f"linear:inputs=256,outputs=64,step={step}" for step in STEPS),
    *(f"linear:inputs=1024,outputs=10,step={step}" for step in STEPS),
    *(f"linear:inputs=128,outputs=128,step={step}" for step in STEPS),
    "linear:inputs=64,outputs=12",
    "linear:inputs=64,outputs=10,batch=8,step=weight-grad",
    *(f"conv2d:cin=16,cout=16,h=16,w=16,pad=1,step={step}" for step in STEPS),
    *(f"conv2d:cin=16,cout=32,h=16,w=16,pad=1,stride=2,step={step}" for step in STEPS),
    *(f"conv2d:cin=32,cout=64,h=8,w=8,kernel=1,batch=2,step={step}" for step in STEPS),
    *(f"depthwise:channels=32,h=12,w=12,pad=1,batch=2,step={step}" for step in STEPS),
    *(f"depthwise:channels=64,h=16,w=16,pad=1,stride=2,step={step}" for step in STEPS),
    "depthwise:channels=16,h=18,w=18,step=data-grad,source=l1",
    "depthwise:channels=64,h=12,w=12,pad=1,stride=2,step=data-grad",
    "relu:elements=8192",
    "relu:elements=8192,step=data-grad",
    "add:elements=8192",
    "sgd:elements=8192,momentum=yes",
    *(f"batch_norm:channels=16,h=16,w=16,batch=2,relu=yes,step={step}" for step in ("forward", "data-grad")),
    *(f"batch_norm:channels=16,h=32,w=32,batch=4,step={step}" for step in ("forward", "data-grad")),
    *(f"max_pool:channels=16,h=16,w=16,batch=2,step={step}" for step in ("forward", "data-grad")),
    "max_pool:channels=16,h=16,w=16,batch=2,window=3,pad=1,step=data-grad",
    "mean:channels=64,h=8,w=8,batch=2",
    "cross_entropy:classes=10,batch=8,step=data-grad",
    "cross_entropy:classes=10,batch=8,step=training",
    "latents_pack:elements=8192,bits=7",
    "latents_repack:elements=8192,bits=6",
    "latents_unpack:elements=8192,bits=7,floats=l1",
    *(f"latents_{way}:elements=8192,bits=7,source=l1" for way in ("pack", "unpack")),
    *(f"latents_{way}:elements=8192,bits=6,floats=l1" for way in ("pack", "unpack")),
    "latents_gather:elements=8192,samples=4,bits=7",
]


def mean_cycles(text: str, chip: Features) -> float:
    workload = make_workload(text)
    names = workload.resident
    lowered = best_lowering(workload.function, chip, names)
    with tempfile.TemporaryDirectory() as folder:
        elf = build_program(lowered, chip, Path(folder), names)
        cycles = run_program(elf, lowered, random_arguments(workload.function), chip, SKEWS).cycles[1:]
    return sum(cycles) / len(cycles)


def slower(text: str, before: float, now: float) -> str | None:
    """Tell in a line what has become slower, None where nothing has."""
    if now <= before * (1 + LIMIT):
        return None
    return (
        f"{text}: {now:.0f} cycles, {now / before - 1:.1%} more than the {before:.0f} in {GOLDEN.name} "
        f"(at most {LIMIT:.0%} are allowed): make it as fast as before, or run pytest --update-golden"
    )


@pytest.mark.parametrize("text", KERNELS)
def test_no_kernel_gets_slower(text: str, chip: Features, request: pytest.FixtureRequest) -> None:
    now = mean_cycles(text, chip)
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if request.config.getoption("--update-golden"):
        merged = {name: known[name] for name in KERNELS if name in known} | {text: round(now, 1)}
        ordered = {name: merged[name] for name in KERNELS if name in merged}
        GOLDEN.write_text(json.dumps(ordered, indent=2) + "\n")
        return
    assert text in known, f"{text} is not in {GOLDEN.name}: run pytest --update-golden"
    message = slower(text, known[text], now)
    assert message is None, message


def test_two_percent_are_told_from_three() -> None:
    assert slower("matmul", 1000, 1020) is None
    assert slower("matmul", 1000, 900) is None
    message = slower("matmul", 1000, 1030)
    assert message is not None
    assert message.startswith("matmul: 1030 cycles, 3.0% more than the 1000 in cycles.json")


def test_the_file_names_these_kernels_only() -> None:
    assert list(json.loads(GOLDEN.read_text())) == KERNELS
