"""Streams in assembly on the simulator against their plain C form on the host, operation by operation."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tvm_pulp.measure.program import FORK_WORKERS
from tvm_pulp.runtime.sim import Configuration, Machine
from tvm_pulp.schedules.microkernels.batch_norm_streams import NONE, NormSizes, both_sweeps
from tvm_pulp.schedules.microkernels.inline_stream import inline_stream
from tvm_pulp.schedules.microkernels.stream import stream_assembly, streams_source
from tvm_pulp.schedules.microkernels.stream_definition import Step, Stream, instructions
from tvm_pulp.target import Features
from tvm_pulp.target.project import write_runtime
from tvm_pulp.target.toolchain import find

LENGTHS, SEGMENTS, SKIP, SIZE = (1, 3, 4, 5, 8, 13, 16, 19), 3, 2, 64
KERNELS = Path(__file__).resolve().parents[3] / "runtime" / "kernels"


def unary(operation: str, *others: str) -> tuple[Step, ...]:
    return (
        Step("load", "value", ("x",)),
        Step("load", "other", ("y",)),
        Step(operation, "result", ("value", *others)),
        Step("store", "", ("y", "result")),
    )


STREAMS = [
    Stream("adds", ("x", "y"), (), (), unary("add", "other")),
    Stream("subtracts", ("x", "y"), ("p",), (), unary("subtract", "p")),
    Stream("multiplies", ("x", "y"), ("p",), (), unary("multiply", "p")),
    Stream("multiplies_adds", ("x", "y"), ("p", "q"), (), unary("multiply_add", "p", "other")),
    Stream("maximum", ("x", "y"), (), (), unary("maximum", "other")),
    Stream("minimum", ("x", "y"), (), (), unary("minimum", "other")),
    Stream("rectifies", ("x", "y"), (), (), unary("rectify")),
    Stream("opens", ("x", "y"), (), (), unary("where_positive", "other")),
    Stream(
        "opens_and_keeps",
        ("x", "y", "z"),
        (),
        (),
        (
            Step("load", "value", ("x",)),
            Step("load", "other", ("y",)),
            Step("where_positive", "result", ("value", "other")),
            Step("add", "both", ("result", "other")),
            Step("store", "", ("z", "both")),
        ),
    ),
    Stream("opens_between", ("x", "y"), ("p",), (), unary("where_between", "other", "p")),
    Stream(
        "limits",
        ("x", "y"),
        ("p",),
        (),
        (
            Step("load", "value", ("x",)),
            Step("clip", "result", ("value", "p")),
            Step("store", "", ("y", "result")),
        ),
    ),
    Stream(
        "accumulates",
        ("x", "y", "z"),
        ("p", "q"),
        ("total", "products"),
        (
            Step("load", "a", ("x",)),
            Step("load", "b", ("y",)),
            Step("multiply_add", "c", ("a", "p", "q")),
            Step("where_positive", "d", ("c", "b")),
            Step("store", "", ("z", "d")),
            Step("add", "total", ("total", "d")),
            Step("multiply_add", "products", ("d", "a", "products")),
        ),
    ),
]
LOADS = (Step("load", "a", ("x",)), Step("load", "b", ("y",)))
DOT = Stream(
    "multiplies_and_sums",
    ("x", "y"),
    (),
    ("total", "products"),
    (
        *LOADS,
        Step("add", "total", ("total", "b")),
        Step("multiply_add", "products", ("a", "b", "products")),
    ),
)
ONE_SUM = Stream("adds_up", ("x",), (), ("total",), (LOADS[0], Step("add", "total", ("total", "a"))))
SUMS_AND_STORES = both_sweeps(NormSizes(1, 1, 1, NONE, 0.0, 1e-5, False, False))
SUMMING = (STREAMS[-1], DOT, ONE_SUM, SUMS_AND_STORES)
WHOLE = [replace(s, name=f"{s.name}_whole", single=True, whole_rounds=True) for s in SUMMING]
STREAMS += [*SUMMING[1:], *WHOLE]
STREAMS += [*(replace(s, name=f"{s.name}_{n}", length=n) for s in SUMMING for n in LENGTHS)]

_CALLS = """
static void (*const streams[])(struct stream *) = {{{names}}};
static const int32_t lengths[] = {{{lengths}}}, known[] = {{{known}}}, whole[] = {{{whole}}};
#define TESTS {tests}
static void test(int number, float *x, float *y, float *z, float *sums) {{
  const int32_t stream = number / {length_count}, any = lengths[number % {length_count}];
  const int32_t length = known[stream] ? known[stream] : whole[stream] ? any & ~3 : any;
  struct stream s = {{.length = length, .segments = whole[stream] ? 1 : {segments},
                     .skip = whole[stream] ? 0 : 4 * {skip},
                     .at = {{x, y, z}}, .scalar = {{0.5f, -0.25f}}}};
  streams[stream](&s);
  sums[0] = s.sum[0], sums[1] = s.sum[1];
}}
"""

_MAIN = """
#include "pulp_runtime.h"
#include "pulp_math.h"
{source}
{calls}
PULP_PERSISTENT float data[TESTS][3][{size}], sums[TESTS][2];
PI_CL_L1 float inner[3][{size}];
static void worker(void *argument) {{
  (void)argument;
  if (pi_core_id()) return;
  for (int n = 0; n < TESTS; ++n) {{
    memcpy(inner, data[n], sizeof inner);
    test(n, inner[0], inner[1], inner[2], sums[n]);
    memcpy(data[n], inner, sizeof inner);
  }}
}}
"""

_HOST = """
#include <stdint.h>
#include <stdio.h>
#include "pulp_math.h"
{source}
{calls}
static float data[TESTS][3][{size}], sums[TESTS][2];
int main(void) {{
  if (fread(data, sizeof data, 1, stdin) != 1) return 1;
  for (int n = 0; n < TESTS; ++n) test(n, data[n][0], data[n][1], data[n][2], sums[n]);
  return fwrite(data, sizeof data, 1, stdout) + fwrite(sums, sizeof sums, 1, stdout) != 2;
}}
"""


@pytest.mark.parametrize("form", [stream_assembly, inline_stream])
def test_assembly_does_what_the_plain_form_does(
    form: Callable[[Stream], str], chip: Features, tmp_path: Path
) -> None:
    tests = len(STREAMS) * len(LENGTHS)
    calls = _CALLS.format(
        names=", ".join(stream.name for stream in STREAMS),
        lengths=", ".join(map(str, LENGTHS)),
        known=", ".join(str(stream.length) for stream in STREAMS),
        whole=", ".join(str(int(stream.whole_rounds)) for stream in STREAMS),
        length_count=len(LENGTHS),
        tests=tests,
        segments=SEGMENTS,
        skip=SKIP,
    )
    data = np.random.default_rng(0).uniform(-1, 1, (tests, 3, SIZE)).astype(np.float32)
    data[:, 0, ::7] = 0.0
    data[:, 0, 3::7] = 0.5  # at the bound

    host = tmp_path / "host.c"
    plain = streams_source(STREAMS, assembly=False)
    host.write_text(_HOST.format(source=plain, calls=calls, size=SIZE))
    program = tmp_path / "host"
    command = [
        "gcc",
        "-std=gnu11",
        "-O1",
        "-Wall",
        "-Werror",
        "-Wno-unused",
        "-I",
        str(KERNELS),
        str(host),
        "-o",
        str(program),
    ]
    subprocess.run(command, check=True)
    output = subprocess.run([str(program)], input=data.tobytes(), capture_output=True, check=True).stdout
    expected = np.frombuffer(output, np.float32)

    directory = tmp_path / "cluster"
    write_runtime(directory, "program", chip)
    source = streams_source(STREAMS, assembly=True, form=form)
    main = _MAIN.format(source=source, calls=calls, size=SIZE) + FORK_WORKERS
    (directory / "templates" / "main.c").write_text(main)
    machine = Machine(Configuration.from_dict(chip.simulator_configuration()), checks=True)
    machine.load(find().build(directory))
    machine.write(machine.symbols["data"].address, data.tobytes())
    result = machine.run()
    assert result.exit_code == 0 and not result.reports, result.reports[:3]
    found = machine.read(machine.symbols["data"].address, data.nbytes)
    found += machine.read(machine.symbols["sums"].address, 8 * tests)
    actual = np.frombuffer(found, np.float32)
    # the plain form rounds products, the assembly's multiply-adds do not
    np.testing.assert_allclose(actual[: data.size], expected[: data.size], atol=2e-7)
    used = [bool(stream.sums) for stream in STREAMS for _ in LENGTHS]
    sums = (values[data.size :].reshape(tests, 2)[used] for values in (actual, expected))
    np.testing.assert_allclose(*sums, atol=2e-6)


def test_instructions_are_counted() -> None:
    assert [instructions(stream) for stream in STREAMS[:2]] == [4, 4]
    accumulates = next(stream for stream in STREAMS if stream.name == "accumulates")
    assert instructions(accumulates) == 3 + 1 + 2 + 2
    kept = next(stream for stream in STREAMS if stream.name == "opens_and_keeps")
    assert instructions(kept) == 3 + 3 + 1


def test_too_many_values_are_refused() -> None:
    loads = tuple(Step("load", f"v{n}", ("x",)) for n in range(8))
    stores = tuple(Step("store", "", ("x", f"v{n}")) for n in range(8))
    with pytest.raises(ValueError, match="more registers"):
        streams_source([Stream("wide", ("x",), (), (), loads + stores)], assembly=True)


@pytest.mark.parametrize("stream", [DOT, SUMS_AND_STORES])
def test_loads_of_sums_run_ahead(stream: Stream) -> None:
    """Where half of the instructions are the FPU's, every other one is: who shares it need not wait."""
    count = 4 * instructions(stream)
    lines = stream_assembly(stream).splitlines()
    start = next(n for n, line in enumerate(lines) if "LP_SETUP(0," in line) + 1
    loop = [line.strip(' "') for line in lines[start : start + count + 1] if '"1:' not in line]
    floats = [line.startswith("f") for line in loop]
    assert floats == count // 2 * [floats[0], not floats[0]]
