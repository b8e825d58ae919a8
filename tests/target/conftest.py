"""A network of three kernels, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tvm_pulp.target import features, parse, project
from tvm_pulp.target.plan import Buffer, Call, FunctionPlan, MemoryPlan

KERNELS = {
    "scale": """
/* y = x * w, rows by DMA */
void net_scale(int core, char *l1, const float *restrict x, const float *restrict w, float *restrict y) {
  float *in = (float *)l1, *weight = in + 128, *out = weight + 16;
  if (core == 0) {
    dma_start_1d(0, in, x, 512, 1);
    dma_start_1d(0, weight, w, 64, 1);
    dma_wait(0);
  }
  cluster_barrier();
  for (int i = core * (128 / PULP_CORES); i < (core + 1) * (128 / PULP_CORES); i++)
    out[i] = in[i] * weight[i % 16];
  cluster_barrier();
  if (core == 0) {
    dma_start_2d(1, out, y, 512, 64, 64, 0);
    dma_wait(1);
  }
}
""",
    "sum_up": """
void net_sum_up(int core, char *l1, const float *restrict y, const int32_t *labels, float *restrict loss) {
  (void)l1;
  if (core != 0) return;
  float sum = 0;
  for (int i = 0; i < 128; i++) sum += y[i];
  loss[0] = sum + (float)labels[7];
}
""",
    "update": """
void net_update(int core, char *l1, float *restrict w, float *restrict m, float *output, const float *y) {
  (void)l1;
  for (int i = core; i < 16; i += PULP_CORES) {
    m[i] = 0.5f * m[i] + 1.0f;
    w[i] -= 0.5f * m[i];
  }
  for (int i = core; i < 128; i += PULP_CORES) output[i] = y[i];
}
""",
}


def buffer(
    name: str, kind: str, shape: tuple[int, ...], dtype: str = "float32", offset: int | None = None
) -> Buffer:
    """A buffer in L2."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return Buffer(name, kind, "L2", offset, size, shape, dtype, 0, 2)


@dataclass(frozen=True)
class HandMade:
    """Plan, kernels and values of the network."""

    plan: MemoryPlan
    kernels: dict[str, str]
    values: dict[str, np.ndarray]

    def write(self, directory: Path, target: str = "pulp", model: str = "net", **options: int) -> None:
        """Write it as a project."""
        chip = features(parse(target))
        project.write(directory, model, self.plan, self.kernels, self.values, chip, **options)

    def with_plan(self, **changes: object) -> HandMade:
        """The same with another plan."""
        return replace(self, plan=replace(self.plan, **changes))  # type: ignore[arg-type]


@pytest.fixture
def hand_made() -> HandMade:
    """y = x * w; loss = sum(y) + labels[7]; momentum and weight change by constants."""
    x = buffer("x", "input", (8, 16))
    w = buffer("features.0.weight", "parameter", (16,))
    m = buffer("momentum:features.0.weight", "state", (16,))
    labels = buffer("labels", "labels", (8,), "int32")
    loss = buffer("loss", "loss", (1,))
    output = buffer("0", "output", (8, 16))
    y = buffer("lv", "activation", (8, 16), offset=64)
    steps = (
        Call("scale", (x, w, y), "features.0"),
        Call("sum_up", (y, labels, loss), "loss"),
        Call("update", (w, m, output, y), "features.0"),
    )
    functions = (
        FunctionPlan("train_step", steps, 576),
        FunctionPlan("infer", (Call("scale", (x, w, output), "features.0"),), 0),
    )
    plan = MemoryPlan(functions, (x, labels, w, m, loss, output), 576, 4 * (128 + 16 + 128))
    values = {w.name: np.arange(16, dtype=np.float32) / 7, m.name: np.zeros(16, np.float32)}
    return HandMade(
        plan, {name: '#include "pulp_runtime.h"\n' + text for name, text in KERNELS.items()}, values
    )


Expected = Callable[[np.ndarray, np.ndarray, int], list[tuple[float, np.ndarray]]]


@pytest.fixture
def expected_steps() -> Expected:
    """What the network does, in NumPy: loss and weight after each step."""

    def steps(x: np.ndarray, weight: np.ndarray, count: int) -> list[tuple[float, np.ndarray]]:
        momentum, results = np.zeros(16, np.float32), []
        for _ in range(count):
            loss = float((x * weight).astype(np.float64).sum() + 7)
            momentum = np.float32(0.5) * momentum + np.float32(1)
            weight = weight - np.float32(0.5) * momentum
            results.append((loss, weight))
        return results

    return steps
