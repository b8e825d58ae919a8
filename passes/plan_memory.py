"""Plan where everything lives: named buffers, activations and gradients, L1.

Parameters, running statistics, optimiser state, inputs, labels and results are symbols of their own
in L2. What a step makes and uses up (activations kept for the backward pass, gradients) shares one
arena in L2 by lifetime; the functions of a package run one at a time, so they share it too. L1 (less
the stacks) holds the scratch of the kernel that runs, and what `keep_in_l1` has found worth its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm_pulp.passes.call_sequence import CallSequence, Value, call_sequence
from tvm_pulp.passes.keep_in_l1 import keep_in_l1
from tvm_pulp.passes.l1_residency import CallCost, Tensor, TensorUse
from tvm_pulp.passes.place_buffers import Lifetime, place_buffers
from tvm_pulp.passes.replays_in_l3 import plan_replays_in_l3
from tvm_pulp.passes.training_graph import TrainingGraph
from tvm_pulp.target.features import Features
from tvm_pulp.target.functions import COMMANDS, REPLAY_LABELS
from tvm_pulp.target.kernel import Kernel
from tvm_pulp.target.plan import Buffer, Call, FunctionPlan, MemoryPlan, Stay, Transfer, check_memory

_CYCLES_A_CALL = 500.0  # of the shortest kernels
_CYCLES_A_BYTE = 0.2  # of elementwise kernels and batch norms, their tensors counted together
_MACS_A_CYCLE, _BYTE_MACS_A_CYCLE = 3.5, 14.0
_CODE_BYTES = 200_000  # at most, of most networks' kernels: the linker counts them
_FEWEST_REPLAY_BITS = 6  # that replays are of use with


def plan_memory(graph: TrainingGraph, kernels: Mapping[str, Kernel], features: Features) -> MemoryPlan:
    """Give every tensor of a training graph a level, an offset and a lifetime.

    Parameters
    ----------
    graph : TrainingGraph
        Relax functions whose bodies are `call_tir`, `call_tir_inplace` and `reshape`.
    kernels : mapping of str to Kernel
        By name.
    features : Features
        Memory sizes.

    Returns
    -------
    MemoryPlan
        A buffer a named tensor, a function plan a Relax function.

    Raises
    ------
    UserError
        If L2 or L1 is too small: what is short, by how much, what would fit.
    """
    named: dict[tuple[str, str], Buffer] = {}
    present = {variable.name_hint for variable in graph.module.get_global_vars()}
    planners = {
        name: _FunctionPlanner(call_sequence(name, graph), kernels, features.kernel_l1_bytes)
        for name in COMMANDS
        if name in present
    }
    functions = [planner.plan(name, named) for name, planner in planners.items()]
    external = []
    if graph.replays and graph.config is not None and graph.config.replay_memory == "L3":
        functions, store = plan_replays_in_l3(functions, named, graph.config)
        external.append(store)
    plan = MemoryPlan(
        functions=tuple(functions),
        buffers=(*named.values(), *external),
        arena_bytes=max((f.arena_bytes for f in functions), default=0),
        l1_bytes=max((planner.l1_bytes for planner in planners.values()), default=0),
    )
    check_memory(plan, features, _advice(plan, graph, features))
    return plan


def arena_without_l1(graph: TrainingGraph) -> int:
    """Return the bytes of the arena in L2 if no tensor stayed in L1: quick, and needs no kernels."""
    present = {variable.name_hint for variable in graph.module.get_global_vars()}
    sizes = [0]
    for name in COMMANDS:
        if name in present:
            uses = [use.value for step in call_sequence(name, graph).steps for use in step.uses]
            values = [value for value in dict.fromkeys(uses) if value.kind == "activation"]
            sizes.append(place_buffers([Lifetime(v.bytes, v.first, v.last) for v in values])[1])
    return max(sizes)


def _advice(plan: MemoryPlan, graph: TrainingGraph, features: Features) -> list[str]:
    """Options that make a plan need less L2."""
    largest = max(plan.functions, key=lambda f: f.arena_bytes)
    available = features.l2_bytes - plan.named_bytes()
    replays = _replay_advice(plan, graph, available - plan.arena_bytes)
    if graph.config is None or largest.name == "infer":
        return replays
    advice = [*replays, "a larger frozen part by --freeze-until"]
    smaller = _micro_batch_that_fits(graph.config.samples_per_pass, plan.arena_bytes, available)
    if smaller is not None:
        advice.insert(0, f"--micro-batch {smaller}")
    return advice


def _replay_advice(plan: MemoryPlan, graph: TrainingGraph, available: int) -> list[str]:
    """How many replays, or of how few bits, fit if so many bytes are left (less than 0: missing) of L2."""
    config = graph.config
    if config is None or config.replays is None or graph.frozen is None or config.replay_memory != "L2":
        return []
    assert config.replay_batch is not None
    store = {buffer.name: buffer.bytes for buffer in plan.buffers if buffer.kind == "replays"}
    room = available + sum(store.values()) - _CODE_BYTES
    advice = []
    fitting = room * config.replays // sum(store.values())
    if fitting >= max(config.replay_batch, config.samples_per_pass):
        advice.append(f"--replays {fitting}")
    for bits in range(config.replay_bits - 1, _FEWEST_REPLAY_BITS - 1, -1):
        latents = config.replays * graph.frozen.replay_format(bits).bytes
        if latents + store[REPLAY_LABELS] <= room:
            advice.append(f"--replay-bits {bits}")
            break
    return [*advice, "--replay-memory L3"]


def _micro_batch_that_fits(batch: int, arena_bytes: int, available: int) -> int | None:
    """Largest divisor of the batch whose arena fits, taking the arena as proportional to the batch."""
    divisors = [n for n in range(batch - 1, 0, -1) if batch % n == 0]
    return next((n for n in divisors if arena_bytes * n / batch <= available), None)


class _FunctionPlanner:
    """Plans one Relax function."""

    def __init__(self, sequence: CallSequence, kernels: Mapping[str, Kernel], l1_bytes: int) -> None:
        self.sequence = sequence
        self.kernels = [kernels[step.kernel] for step in sequence.steps]
        used = [use.value for step in sequence.steps for use in step.uses]
        self.values = list(dict.fromkeys([*sequence.arguments, *used]))
        tensors = [Tensor(v.bytes, v.kind != "activation", self._uses(v)) for v in self.values]
        costs = [
            _cost(kernel, [use.value for use in step.uses])
            for kernel, step in zip(self.kernels, sequence.steps, strict=True)
        ]
        self.residency = keep_in_l1(tensors, costs, l1_bytes)
        self.l1_bytes = self.residency.l1_bytes
        self.in_l1 = {(stay.tensor, use.call): stay for stay in self.residency.stays for use in stay.uses}
        self.number = {value: number for number, value in enumerate(self.values)}

    def _uses(self, value: Value) -> tuple[TensorUse, ...]:
        found = []
        for call, (step, kernel) in enumerate(zip(self.sequence.steps, self.kernels, strict=True)):
            moved = kernel.moved or (True,) * len(step.uses)
            uses = [(use, m) for use, m in zip(step.uses, moved, strict=True) if use.value is value]
            if uses:
                read, written = (any(getattr(u, what) for u, _ in uses) for what in ("read", "written"))
                found.append(TensorUse(call, read, written, any(m for _, m in uses)))
        return tuple(found)

    def plan(self, name: str, named: dict[tuple[str, str], Buffer]) -> FunctionPlan:
        """Return the function's plan; adds to the named tensors."""
        in_l2 = [value for value in self.values if value.kind == "activation" and self._is_in_l2(value)]
        offsets, arena_bytes = place_buffers([Lifetime(v.bytes, v.first, v.last) for v in in_l2])
        placed = dict(zip(in_l2, offsets, strict=True))
        buffers = {value: _buffer(value, "L2", placed.get(value)) for value in self.values}
        for value, made in buffers.items():
            key = (value.kind, value.name)
            if value.kind != "activation" and (key not in named or named[key].bytes < made.bytes):
                named[key] = made
        calls = []
        for number, (step, kernel) in enumerate(zip(self.sequence.steps, self.kernels, strict=True)):
            arguments = tuple(self._argument(use.value, number, buffers) for use in step.uses)
            variant = kernel.in_l1 if number in self.residency.calls else kernel
            assert variant is not None
            calls.append(Call(variant.name, arguments, kernel.layer))
        stays, transfers = [], []
        for stay in self.residency.stays:
            value = self.values[stay.tensor]
            stays.append(Stay(_buffer(value, "L1", stay.offset), stay.first, stay.last))
            for move, to_l1 in ((stay.fetch, True), (stay.store, False)):
                if move is not None:
                    transfer = Transfer(buffers[value], stay.offset, to_l1, move.start, move.ready)
                    transfers.append(transfer)
        return FunctionPlan(name, tuple(calls), arena_bytes, tuple(stays), tuple(transfers))

    def _is_in_l2(self, value: Value) -> bool:
        """Tell whether a tensor is in L2 at some time."""
        number = self.number[value]
        stays = [stay for stay in self.residency.stays if stay.tensor == number]
        calls = {use.call for stay in stays for use in stay.uses}
        return any(s.fetch or s.store for s in stays) or any(u.call not in calls for u in self._uses(value))

    def _argument(self, value: Value, call: int, buffers: Mapping[Value, Buffer]) -> Buffer:
        stay = self.in_l1.get((self.number[value], call))
        return buffers[value] if stay is None else _buffer(value, "L1", stay.offset)


def _cost(kernel: Kernel, values: Sequence[Value]) -> CallCost:
    of_bytes = any(value.dtype in ("uint8", "int8") for value in values)
    products = kernel.macs / (_BYTE_MACS_A_CYCLE if of_bytes else _MACS_A_CYCLE)
    return CallCost(
        scratch=kernel.l1_bytes,
        tiles=kernel.tiles,
        scratch_in_l1=None if kernel.in_l1 is None else kernel.in_l1.l1_bytes,
        cycles=_CYCLES_A_CALL + products + sum(value.bytes for value in values) * _CYCLES_A_BYTE,
    )


def _buffer(value: Value, level: str, offset: int | None) -> Buffer:
    return Buffer(
        name=value.name,
        kind=value.kind,
        level=level,
        offset=offset,
        bytes=value.bytes,
        shape=value.shape,
        dtype=value.dtype,
        first=value.first,
        last=value.last,
    )
