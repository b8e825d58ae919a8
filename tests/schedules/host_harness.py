"""Run printed kernels on the host: workers are threads, L1 is a poisoned buffer, DMA is memcpy.

``deferred`` moves the bytes of a transfer only at ``dma_wait``, so that a missing wait, or a buffer that is
overwritten while it is stored, gives wrong results.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
import tvm

from tvm_pulp.measure import random_arguments
from tvm_pulp.schedules.base import lower
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape

KERNELS = Path(__file__).resolve().parents[2] / "runtime" / "kernels"

_RUNTIME_H = r"""
#ifndef PULP_RUNTIME_H
#define PULP_RUNTIME_H
#include <stdint.h>
#include <stddef.h>
#define PULP_CORES 8
void cluster_barrier(void);
void dma_start_1d(int slot, const volatile void *l1, const volatile void *l2, uint32_t bytes, int direction);
void dma_start_2d(int slot, const volatile void *l1, const volatile void *l2, uint32_t bytes, uint32_t stride,
                  uint32_t line, int direction);
void dma_wait(int slot);
#define PULP_DMA_STATE(slots) enum { KERNEL_SLOTS = slots }
#define dma_open(slot) check_slot(slot, KERNEL_SLOTS)
#define dma_start_1d(slot, ...) (check_slot(slot, KERNEL_SLOTS), dma_start_1d(slot, __VA_ARGS__))
#define dma_start_2d(slot, ...) (check_slot(slot, KERNEL_SLOTS), dma_start_2d(slot, __VA_ARGS__))
void check_slot(int slot, int slots);
#endif
"""

_HARNESS_C = r"""
#include <pthread.h>
#include <string.h>
#include <stdlib.h>
#include "pulp_runtime.h"

#define SLOTS 16
#define LIMIT 4096

struct copy { void *to; const void *from; uint32_t bytes; };
static struct copy pending[SLOTS][LIMIT];
static int count[SLOTS];
static int deferred;
static int errors;
static char *l1_start;
static size_t l1_size;
static pthread_barrier_t team;

void cluster_barrier(void) { pthread_barrier_wait(&team); }

static void move(int slot, const volatile void *l1, const volatile void *l2, uint32_t bytes, int direction) {
  if (slot < 0 || slot >= SLOTS || count[slot] == LIMIT || bytes == 0 ||
      (char *)l1 < l1_start || (char *)l1 + bytes > l1_start + l1_size) { ++errors; return; }
  struct copy c = {(void *)(direction ? l1 : l2), (const void *)(direction ? l2 : l1), bytes};
  if (deferred) pending[slot][count[slot]++] = c;
  else memcpy(c.to, c.from, c.bytes);
}

/* A kernel has as many slots as it says. */
void check_slot(int slot, int slots) {
  if (slot < 0 || slot >= slots) ++errors;
}

void (dma_start_1d)(int slot, const volatile void *l1, const volatile void *l2, uint32_t bytes,
                    int direction) {
  move(slot, l1, l2, bytes, direction);
}

void (dma_start_2d)(int slot, const volatile void *l1, const volatile void *l2, uint32_t bytes,
                    uint32_t stride, uint32_t line, int direction) {
  if (line == 0 || bytes % line) { ++errors; return; }
  for (uint32_t i = 0; i < bytes / line; ++i)
    move(slot, (const volatile char *)l1 + i * line, (const volatile char *)l2 + i * stride, line, direction);
}

void dma_wait(int slot) {
  for (struct copy *c = pending[slot]; c < pending[slot] + count[slot]; ++c) memcpy(c->to, c->from, c->bytes);
  count[slot] = 0;
}

void kernel_under_test(int core, char *l1, void **arguments);

struct job { int core; char *l1; void **arguments; };
static void *work(void *job) {
  struct job *j = job;
  kernel_under_test(j->core, j->l1, j->arguments);
  return NULL;
}

/* Returns the number of wrong or unfinished transfers. */
int run(void **arguments, int l1_bytes, int defer) {
  pthread_t threads[PULP_CORES];
  struct job jobs[PULP_CORES];
  char *l1 = aligned_alloc(16, (l1_bytes + 31) / 16 * 16);
  memset(l1, 0xff, l1_bytes); /* NaN */
  l1_start = l1, l1_size = l1_bytes, deferred = defer, errors = 0;
  memset(count, 0, sizeof count);
  pthread_barrier_init(&team, NULL, PULP_CORES);
  for (int i = 0; i < PULP_CORES; ++i) {
    jobs[i] = (struct job){i, l1, arguments};
    pthread_create(&threads[i], NULL, work, &jobs[i]);
  }
  for (int i = 0; i < PULP_CORES; ++i) pthread_join(threads[i], NULL);
  for (int i = 0; i < SLOTS; ++i) errors += count[i];
  pthread_barrier_destroy(&team);
  free(l1);
  return errors;
}
"""


_MAIN_C = r"""
/* A program for sanitizers, which do not like to be loaded into Python. */
int main(void) {
  void *arguments[] = {ARGUMENTS};
  return run(arguments, L1_BYTES, 1) != 0;
}
"""


def write_sources(function: PrimFunc, folder: Path) -> str:
    """Write kernel, runtime and harness to a folder; returns the kernel's text."""
    source = print_kernel(function, "kernel")
    arguments = ", ".join(f"arguments[{i}]" for i in range(len(function.params)))
    body = f"{{ kernel(core, l1, {arguments}); }}"
    wrapper = f"void kernel_under_test(int core, char *l1, void **arguments) {body}\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pulp_runtime.h").write_text(_RUNTIME_H)
    (folder / "kernel.c").write_text(source)
    (folder / "harness.c").write_text(f'#include "kernel.c"\n{_HARNESS_C}\n{wrapper}')
    return source


def compile_c(source: Path, output: Path, *flags: str) -> None:
    """Compile for the host, warnings as errors."""
    command = ["gcc", "-std=gnu11", "-Wall", "-Werror", "-Wno-unused", "-fno-math-errno"]
    command += ["-pthread", *flags]
    command += ["-I", str(source.parent), "-I", str(KERNELS), str(source), "-o", str(output), "-lm"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


class HostKernel:
    """A cluster-dialect function compiled for the host."""

    def __init__(self, function: PrimFunc, directory: Path) -> None:
        self.function = function
        key = hashlib.sha256(print_kernel(function, "kernel").encode()).hexdigest()[:16]
        self.source = write_sources(function, directory / key)
        library = directory / key / "kernel.so"
        if not library.exists():
            compile_c(directory / key / "harness.c", library, "-O1", "-fPIC", "-shared")
        self.library = ctypes.CDLL(str(library))

    def __call__(self, arrays: list[np.ndarray], deferred: bool = True) -> None:
        """Run in place on the arrays, one for each argument."""
        for array, parameter in zip(arrays, self.function.params, strict=True):
            assert array.flags.c_contiguous and array.dtype == buffer_dtype(parameter)
            assert array.size == int(np.prod(buffer_shape(parameter), dtype=np.int64))
        pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
        l1_bytes = int(self.function.attrs["pulp.l1_bytes"])
        errors = self.library.run(pointers, max(l1_bytes, 16), int(deferred))
        assert errors == 0, f"{errors} wrong or unfinished DMA transfers"


def run_reference(function: PrimFunc, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Run the function itself by TVM on LLVM; returns all arguments afterwards."""
    built = tvm.compile(function, target="llvm")
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    built(*tensors)
    return [tensor.numpy() for tensor in tensors]


def check(function: PrimFunc, features: object, directory: Path, *, rtol: float = 2e-5, deferred: bool = True,
          arrays: list[np.ndarray] | None = None) -> HostKernel:  # fmt: skip
    """Lower, print, compile and run a function; compare every argument with TVM on LLVM.

    ``rtol`` is relative to the largest value of the tensor.
    """
    lowered = lower(function, features)
    assert int(lowered.attrs["pulp.l1_bytes"]) <= features.kernel_l1_bytes  # type: ignore[attr-defined]
    arrays = random_arguments(function) if arrays is None else arrays
    expected = run_reference(function, [a.copy() for a in arrays])
    kernel = HostKernel(lowered, directory)
    results = [a.copy() for a in arrays]
    kernel(results, deferred)
    for parameter, want, got in zip(function.params, expected, results, strict=True):
        scale = float(np.abs(want).max(initial=0.0)) or 1.0
        assert not np.isnan(got.astype(np.float64)).any(), f"{parameter.name}: NaN"
        error = float(np.abs(want.astype(np.float64) - got).max(initial=0.0)) / scale
        assert error <= rtol, f"{parameter.name}: error {error:.3g}\n{kernel.source}"
    return kernel


def run_with_sanitizer(function: PrimFunc, directory: Path, sanitizer: str) -> None:
    """Run a cluster-dialect function on arguments of zeros under a sanitizer; fails at its first report."""
    write_sources(function, directory)
    sizes = [
        int(np.prod(buffer_shape(p), dtype=np.int64)) * np.dtype(buffer_dtype(p)).itemsize
        for p in function.params
    ]
    arguments = ", ".join(f"calloc({size}, 1)" for size in sizes)
    main = _MAIN_C.replace("ARGUMENTS", arguments).replace(
        "L1_BYTES", str(int(function.attrs["pulp.l1_bytes"]))
    )
    harness = directory / "harness.c"
    harness.write_text(harness.read_text() + main)
    program = directory / "program"
    compile_c(harness, program, "-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all")
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "halt_on_error=1"}
    result = subprocess.run([str(program)], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[:4000]
