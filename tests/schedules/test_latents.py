"""Kernels between latents and the replay store: every bit as in NumPy, on the host and on the simulator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel, run_reference, run_with_sanitizer
from tvm_pulp.measure import measure_kernel
from tvm_pulp.oracle import latents as reference
from tvm_pulp.passes.operators.latents import gather_latents, pack_latents, repack_latents, unpack_latents
from tvm_pulp.passes.quantized.uint_q import UintQ, UintQRequantization
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.latents import LatentsTemplate
from tvm_pulp.schedules.latents_build import LatentsBuilder
from tvm_pulp.schedules.latents_tiles import candidates, l1_bytes
from tvm_pulp.target import Features
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.tvm_names import PrimFunc

Case = tuple[PrimFunc, list[np.ndarray], np.ndarray]
KINDS = ("pack", "pack after ReLU", "repack", "repack int8", "unpack", "gather")
LOW = {"after ReLU": 0.0, "with negatives": -2.0}


def make(kind: str, bits: int, samples: int, elements: int, low: float = 0.0, seed: int = 0) -> Case:
    """Return a function, its arguments, and what the last of them must become."""
    random = np.random.default_rng(seed)
    latents, shape = UintQ.from_range(low, 6.0, bits), (samples, elements)
    packed = np.zeros((samples, latents.packed_bytes(elements)), np.uint8)
    if kind.startswith("pack"):
        relu = kind == "pack after ReLU"
        data = random.uniform(0 if relu else -8, 8, shape).astype(np.float32)
        ties = (random.integers(0, 2**bits, shape) + 0.5) * np.float32(latents.scale)
        data = np.where(random.random(shape) < 0.2, ties, data).astype(np.float32)
        data.flat[random.integers(0, data.size)] = 1e30 if relu else random.choice([1e30, -1e30])
        data.flat[random.integers(0, data.size)] = np.inf if relu else random.choice([np.inf, -np.inf])
        expected = reference.pack(reference.quantize(data, latents), bits)
        return pack_latents("layer", "pack", shape, latents, relu), [data, packed], expected
    if kind.startswith("repack"):
        dtype = "int8" if kind.endswith("int8") else "uint8"
        way = UintQRequantization.of(5 / 255, -120 if dtype == "int8" else 8, latents)
        data = random.integers(0, 256, shape).astype(np.uint8).view(dtype)
        expected = reference.pack(reference.requantize(data, way), bits)
        return repack_latents("layer", "repack", shape, way, dtype), [data, packed], expected
    capacity = samples if kind == "unpack" else 2 * samples + 1
    integers = random.integers(0, 2**bits, (capacity, elements)).astype(np.uint8)
    store, output = reference.pack(integers, bits), np.zeros(shape, np.float32)
    if kind == "unpack":
        function = unpack_latents("layer", "unpack", shape, latents)
        return function, [store, output], reference.dequantize(integers, latents)
    chosen = random.integers(0, capacity, samples).astype(np.int32)
    function = gather_latents("layer", "gather", shape, capacity, latents)
    return function, [store, chosen, output], reference.dequantize(integers[chosen], latents)


def lowered(function: PrimFunc, knobs: dict[str, int] | None, chip: Features) -> PrimFunc:
    """Build with the given knobs where they fit, else with the default."""
    template = LatentsTemplate()
    workload = template.match(function)
    assert workload is not None
    if knobs is None or template.l1_bytes(workload, knobs) > chip.kernel_l1_bytes:
        knobs = template.default(workload, chip)
    built = template.build(workload, knobs, chip)
    assert int(built.attrs["pulp.l1_bytes"]) == template.l1_bytes(workload, knobs) <= chip.kernel_l1_bytes
    return built


@pytest.mark.parametrize("low", LOW)
@pytest.mark.parametrize("kind", KINDS)
def test_all_bits_on_the_host(kind: str, low: str, chip: Features, kernels: Path) -> None:
    """Plain C, and TVM's own code for the same function, against NumPy."""
    for bits in range(1, 9):
        for elements in (37, 64):
            function, arguments, expected = make(kind, bits, 2, elements, LOW[low])
            assert (run_reference(function, [a.copy() for a in arguments])[-1] == expected).all()
            HostKernel(lowered(function, None, chip), kernels)(arguments)
            assert (arguments[-1] == expected).all(), (bits, elements)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(KINDS),
    bits=st.integers(1, 8),
    samples=st.integers(1, 5),
    elements=st.one_of(st.integers(1, 70), st.integers(200, 3000)),
    low=st.sampled_from(sorted(LOW)),
    data=st.data(),
)
def test_any_size_in_any_tiles_on_the_simulator(
    kind: str, bits: int, samples: int, elements: int, low: str, data: st.DataObject, chip: Features,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    function, arguments, expected = make(
        kind, bits, samples, elements, LOW[low], data.draw(st.integers(0, 99))
    )
    choices = LatentsTemplate().knobs(LatentsTemplate().match(function), chip)
    knobs = {name: data.draw(st.sampled_from(values), label=name) for name, values in choices.items()}
    measure_kernel(
        lowered(function, knobs, chip), arguments, chip, tmp_path_factory.mktemp("latents"), runs=1
    )
    assert (arguments[-1] == expected).all()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(KINDS),
    bits=st.integers(1, 8),
    elements=st.one_of(st.integers(1, 70), st.integers(200, 9000)),
    low=st.sampled_from(sorted(LOW)),
    data=st.data(),
)
def test_any_size_of_values_in_l1_in_any_tiles(
    kind: str, bits: int, elements: int, low: str, data: st.DataObject, chip: Features,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """Packed values move while workers access the others where they are, in tiles of different sizes, too."""
    function, arguments, expected = make(kind, bits, 1, elements, LOW[low], data.draw(st.integers(0, 99)))
    workload = LatentsTemplate().match(function)
    assert workload is not None
    placed = replace(workload, values_in_l1=True)
    room = chip.kernel_l1_bytes - elements * workload.item_bytes
    tiles = [tile for tile in candidates(placed) if l1_bytes(placed, tile) <= room]
    tile = data.draw(st.sampled_from([tile for tile in tiles if tile.ends] or tiles))
    built = LatentsBuilder(placed, tile, chip).build()
    assert int(built.attrs["pulp.l1_bytes"]) == l1_bytes(placed, tile)
    values = str(function.params[0 if "pack" in kind and kind != "unpack" else -1].name)
    folder = tmp_path_factory.mktemp("latents")
    measure_kernel(built, arguments, chip, folder, runs=1, resident=[values])
    assert (arguments[-1] == expected).all()


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_in_l1(kind: str, chip: Features, tmp_path: Path) -> None:
    """Where values are in L1, packed ones, or both: the same bits, and only the others move."""
    for samples, elements, bits in ((1, 9000, 7), (3, 704, 6), (4, 333, 8)):
        function, arguments, expected = make(kind, bits, samples, elements)
        names = [str(parameter.name) for parameter in function.params]
        values, packed = (
            (names[0], names[-1]) if "pack" in kind and kind != "unpack" else (names[-1], names[0])
        )
        is_possible = kind != "gather" and (elements * bits % 8 == 0 or elements * bits % 32 == 0)
        for resident in [[values], *([[packed], [values, packed]] if is_possible else [])]:
            arguments[-1][...] = 0
            built = lower(function, chip, resident)
            text = print_kernel(built, "kernel")
            assert built.attrs["pulp.schedule"] == "latents"
            assert ("values_l1" in text, "packed_l1" in text) == (
                values not in resident,
                packed not in resident,
            )
            folder = tmp_path / f"{samples}{len(resident)}{resident[0]}"
            measure_kernel(built, arguments, chip, folder, runs=1, resident=resident)
            assert (arguments[-1] == expected).all(), (elements, resident)


@pytest.mark.parametrize(
    ("kind", "bits", "least"),
    [
        ("pack after ReLU", 8, 2.2),
        ("pack after ReLU", 7, 2.02),
        ("pack after ReLU", 6, 2.13),
        ("repack", 7, 2.2),
        ("unpack", 8, 2.38),
        ("unpack", 7, 2.01),
        ("unpack", 6, 2.1),
    ],
)
def test_values_a_cycle_in_l1(kind: str, bits: int, least: float, chip: Features, tmp_path: Path) -> None:
    function, arguments, _ = make(kind, bits, 1, 8192)
    names = [str(parameter.name) for parameter in function.params]
    built = lower(function, chip, names)
    cycles = measure_kernel(built, arguments, chip, tmp_path, runs=4, resident=names, checks=False).cycles
    assert 8192 / max(cycles[1:]) >= least


@pytest.mark.parametrize(
    ("kind", "bits", "least"),
    [
        ("unpack", 8, 2.17),
        ("unpack", 7, 1.83),
        ("unpack", 6, 1.95),
        ("gather", 8, 2.15),
        ("pack after ReLU", 8, 2.01),
        ("pack after ReLU", 7, 1.85),
        ("pack after ReLU", 6, 1.97),
    ],
)
def test_values_a_cycle_between_l1_and_l2(
    kind: str, bits: int, least: float, chip: Features, tmp_path: Path
) -> None:
    """The first or last tile is a small one: little of the packed values' way is waited for."""
    function, arguments, expected = make(kind, bits, 1, 8192)
    values = str(function.params[0 if kind.startswith("pack") else -1].name)
    built = lower(function, chip, [values])
    measured = measure_kernel(built, arguments, chip, tmp_path, runs=4, resident=[values], checks=False)
    assert (arguments[-1] == expected).all()
    assert 8192 / max(measured.cycles[1:]) >= least


def test_a_packed_tensor_whose_rows_begin_within_words_is_left_to_loops(chip: Features) -> None:
    function, _, _ = make("unpack", 7, 3, 332)
    assert lower(function, chip, ["packed"]).attrs["pulp.schedule"] == "generic"
    assert lower(function, chip, ["output"]).attrs["pulp.schedule"] == "latents"


@pytest.mark.parametrize("shape", [(3, 4, 5, 7), (2, 8, 4, 4)])
def test_latents_of_any_rank(shape: tuple[int, ...], chip: Features, kernels: Path) -> None:
    latents = UintQ.from_range(0.0, 4.0, 7)
    data = np.random.default_rng(1).uniform(-1, 5, shape).astype(np.float32)
    packed = np.zeros((shape[0], latents.packed_bytes(data[0].size)), np.uint8)
    arguments = [data, packed]
    function = pack_latents("layer", "pack", shape, latents)
    expected = reference.pack(reference.quantize(data, latents).reshape(shape[0], -1), 7)
    assert (run_reference(function, [a.copy() for a in arguments])[1] == expected).all()
    HostKernel(lower(function, chip), kernels)(arguments)
    assert (packed == expected).all()
    back = [packed, np.zeros(shape, np.float32)]
    HostKernel(lower(unpack_latents("layer", "unpack", shape, latents), chip), kernels)(back)
    assert (back[1] == reference.dequantize(reference.quantize(data, latents), latents)).all()


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str, chip: Features, tmp_path: Path) -> None:
    for number, kind in enumerate(("pack", "repack", "gather")):
        function, _, _ = make(kind, 7, 3, 600)
        built = lowered(function, {"values": 256, "rows": 1}, chip)
        run_with_sanitizer(built, tmp_path / str(number), sanitizer)


def test_l1_too_small(chip: Features) -> None:
    function, _, _ = make("pack", 8, 1, 4096)
    small = Features(**{**chip.__dict__, "l1_bytes": chip.l1_bytes - chip.kernel_l1_bytes + 64})
    with pytest.raises(UserError, match="latents of kernel 'layer_pack' do not fit L1"):
        lower(function, small)
