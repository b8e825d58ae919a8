"""Loops over elements that lie side by side in L1: loads, a few operations, stores and sums.

A *stream* walks along a few tensors at the same pace: ``segments`` times ``length`` elements, with a
skip after each segment. Its body is a list of operations on one element; the assembly does four elements at a
time, operation by operation, so that no result is used by the next instruction, in a hardware loop with
post-increment accesses. Sums are kept in several chains, which also keeps each of them short.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.interleave import Instruction, share_fpu
from tvm_pulp.schedules.microkernels.stream_operations import OPERATIONS, PACKS

LANES = 4
"""Elements of one pass of the assembly's loop."""

_SCRATCH = ("t0", "t1", "t2", "t3", "t4", "t5", "t6", "a1", "a2", "a3", "a4", "a5", "a6", "a7")
_SAVED = ("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")
POINTERS, SCALARS, _SUMS = 6, 6, 2
_LENGTH, _SEGMENTS, _SKIP, _AT = 0, 4, 8, 12
_SCALAR = _AT + 4 * POINTERS
_SUM = _SCALAR + 4 * SCALARS

STRUCT = f"""\
/* What a stream walks over: pointers move on by 4 * length + skip bytes a segment, neither number is 0. */
struct stream {{
  int32_t length, segments, skip;
  float *at[{POINTERS}];
  float scalar[{SCALARS}];
  float sum[{_SUMS}]; /* results */
}};"""


@dataclass(frozen=True)
class Step:
    """One operation on an element: ``result = operation(sources)``.

    ``load`` has a pointer as its source, ``store`` a pointer and a value; others read values, scalars, sums
    and ``zero``. A result named like a sum goes to the sum.
    """

    operation: str
    result: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Stream:
    """A loop over elements.

    Attributes
    ----------
    name : str
        Of the C function, ``void name(struct stream *)``.
    pointers, scalars, sums : tuple of str
        Names in the order of the fields of ``struct stream``.
    body : tuple of Step
        What is done to an element.
    masks : tuple of str
        Masks of one bit an element, see `schedules.bit_mask`; their pointers follow those of `pointers`. A
        segment is a group of 128 elements then, and nothing is skipped.
    """

    name: str
    pointers: tuple[str, ...]
    scalars: tuple[str, ...]
    sums: tuple[str, ...]
    body: tuple[Step, ...]
    masks: tuple[str, ...] = ()

    def packs(self, mask: str) -> bool:
        """Tell whether the stream makes a mask, rather than reads it."""
        return any(step.operation in PACKS and step.sources[1] == mask for step in self.body)


def instructions(stream: Stream) -> int:
    """Return the instructions that an element takes in the assembly's loop."""
    return sum(
        1 if step.operation in ("load", "store") else len(_form(stream, position)[0])
        for position, step in enumerate(stream.body)
    )


def _form(stream: Stream, position: int) -> tuple[tuple[str, ...], bool]:
    """Return the instructions of a step other than an access, and whether they are those in place."""
    step = stream.body[position]
    operation = OPERATIONS[step.operation]
    if operation.in_place and step.result not in stream.sums:
        values = {earlier.result for earlier in stream.body[:position]} - set(stream.sums)
        needed = {source for later in stream.body[position + 1 :] for source in later.sources}
        overwritten = set(step.sources[:2])
        if len(overwritten) == 2 and overwritten <= values - needed - set(step.sources[2:]):
            return operation.in_place, True
    return operation.instructions, False


def streams_source(streams: Sequence[Stream], *, assembly: bool) -> str:
    """Return C that defines streams: assembly where it can be used, else plain C.

    Parameters
    ----------
    streams
        With different names.
    assembly
        Whether the target has Xpulp; the plain C form is there in any case, for the host.
    """
    plain = "\n\n".join(stream_c(stream) for stream in streams)
    if not assembly:
        return f"{STRUCT}\n\n{plain}"
    fast = "\n\n".join(stream_assembly(stream) for stream in streams)
    return (
        f'#include "pulp_assembly.h"\n\n{STRUCT}\n\n#if PULP_ASSEMBLY\n\n{fast}\n\n#else\n\n{plain}\n\n#endif'
    )


def stream_c(stream: Stream) -> str:
    """Return the plain C form."""

    def text(name: str) -> str:
        if name == "zero":
            return "0.0f"
        return f"{name}[i % {LANES}]" if name in stream.sums else name

    lines = [f"static void {stream.name}(struct stream *s) {{"]
    lines += [f"  float *{name} = s->at[{i}];" for i, name in enumerate(stream.pointers)]
    first = len(stream.pointers)
    lines += [f"  uint32_t *{name} = (uint32_t *)s->at[{first + i}];" for i, name in enumerate(stream.masks)]
    lines += [f"  const float {name} = s->scalar[{i}];" for i, name in enumerate(stream.scalars)]
    lines += [f"  float {name}[{LANES}] = {{0}};" for name in stream.sums]
    lines += ["  for (int32_t segment = 0; segment < s->segments; ++segment) {"]
    lines += ["    for (int32_t i = 0; i < s->length; ++i) {"]
    defined: set[str] = set()
    for step in stream.body:
        if step.operation == "load":
            value = f"{step.sources[0]}[i]"
        elif step.operation == "store":
            lines.append(f"      {step.sources[0]}[i] = {text(step.sources[1])};")
            continue
        else:
            value = OPERATIONS[step.operation].c.format(*(text(source) for source in step.sources))
        if step.operation in PACKS:
            word = f"{step.sources[1]}[i % {LANES}]"
            lines.append(f"      {word} = (i < {LANES} ? 0u : {word} << 1) | {value};")
            continue
        declared = step.result in stream.sums or step.result in defined
        lines.append(f"      {'' if declared else 'float '}{text(step.result)} = {value};")
        defined.add(step.result)
    lines += ["    }"]
    lines += [f"    {name} += s->length + s->skip / 4;" for name in stream.pointers]
    lines += [f"    {name} += {LANES};" for name in stream.masks]
    lines += ["  }"]
    for i, name in enumerate(stream.sums):
        lines.append(f"  s->sum[{i}] = ({name}[0] + {name}[1]) + ({name}[2] + {name}[3]);")
    return "\n".join([*lines, "}"])


@lru_cache(maxsize=256)
def stream_assembly(stream: Stream) -> str:
    """Return C with top-level ``__asm__``."""
    registers = _assign(stream)
    saved = [r for r in _SAVED if any(r in lanes for lanes in registers.values())]
    at = {name: registers[name][0] for name in stream.pointers}
    text = AssemblyText()
    name = stream.name
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:")
    if saved:
        text.add(f"addi sp, sp, -{16 * ((len(saved) + 3) // 4)}")
        text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(saved)))
    text.add(*(f"lw {at[p]}, {_AT + 4 * i}(a0)" for i, p in enumerate(stream.pointers)))
    masks = {name: registers[f"{name} pointer"][0] for name in stream.masks}
    text.add(*(f"lw {r}, {_AT + 4 * (len(at) + i)}(a0)" for i, r in enumerate(masks.values())))
    text.add(*(f"lw {registers[s][0]}, {_SCALAR + 4 * i}(a0)" for i, s in enumerate(stream.scalars)))
    text.add(*(f"mv {register}, zero" for total in stream.sums for register in registers[total]))
    counter = registers["counter"][0]
    many, one = _body(stream, registers, LANES), _body(stream, registers, 1)
    words = {access: [f"{access} {registers[m][lane]}, {4 * lane}({masks[m]})"
                      for m in stream.masks if stream.packs(m) == (access == "sw") for lane in range(LANES)]
             for access in ("lw", "sw")}  # fmt: skip
    segment = [*words["lw"], f"lw {counter}, {_LENGTH}(a0)", f"srli {counter}, {counter}, 2"]
    segment += [f"beqz {counter}, 2f"]
    segment += [f"LP_SETUP(0, {counter}, {len(many)}, 1)", *many[:-1], "1:", many[-1], "2:"]
    segment += [f"lw {counter}, {_LENGTH}(a0)", f"andi {counter}, {counter}, {LANES - 1}"]
    segment += [f"beqz {counter}, 4f", f"LP_SETUP(0, {counter}, {len(one)}, 3)", *one[:-1], "3:", one[-1]]
    moves = [f"add {register}, {register}, {counter}" for register in at.values()]
    groups = [*words["sw"], *(f"addi {register}, {register}, {4 * LANES}" for register in masks.values())]
    segment += ["4:", *groups, f"lw {counter}, {_SKIP}(a0)", *moves[:-1], "6:", moves[-1]]
    length = sum(1 for line in segment if not line.endswith(":"))
    text.add(f"lw {counter}, {_SEGMENTS}(a0)", f"LP_SETUP(1, {counter}, {length}, 6)", *segment)
    for i, total in enumerate(stream.sums):
        chains = list(dict.fromkeys(registers[total]))
        while len(chains) > 1:
            text.add(*(f"fadd.s {a}, {a}, {b}" for a, b in zip(chains[::2], chains[1::2], strict=True)))
            chains = chains[::2]
        text.add(f"sw {chains[0]}, {_SUM + 4 * i}(a0)")
    if saved:
        text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(saved)))
        text.add(f"addi sp, sp, {16 * ((len(saved) + 3) // 4)}")
    text.add("ret", f".size {name}, .-{name}", ".option pop", ".popsection")
    return f"void {name}(struct stream *);\n__asm__(\n{text}\n);"


def _body(stream: Stream, registers: dict[str, list[str]], lanes: int) -> list[str]:
    """Return the instructions for ``lanes`` elements; lane 0, whose access moves the pointer, comes last."""
    last_access = {
        step.sources[0]: position
        for position, step in enumerate(stream.body)
        if step.operation in ("load", "store")
    }
    lines: list[Instruction] = []
    for position, step in enumerate(stream.body):
        if step.operation in ("load", "store"):
            moves = last_access[step.sources[0]] == position
            lines += [_access(step, registers, lane, lanes, moves) for lane in reversed(range(lanes))]
            continue
        for instruction in _form(stream, position)[0]:
            for lane in reversed(range(lanes)):
                sources = [_register(registers, source, lane) for source in step.sources]
                result = _register(registers, step.result, lane)
                text = instruction.format(*sources, d=result)
                written, *reads = re.split(r"[ ,()]+", text)[1:]
                lines.append(Instruction(text, frozenset(reads), frozenset([written])))
    return [instruction.text for instruction in share_fpu(lines)]


def _access(step: Step, registers: dict[str, list[str]], lane: int, lanes: int, moves: bool) -> Instruction:
    """Return a load or store; where it ``moves`` the pointer, that of lane 0 does."""
    load = step.operation == "load"
    at = registers[step.sources[0]][0]
    value = _register(registers, step.result if load else step.sources[1], lane)
    place = f"memory of {step.sources[0]} {lane}"
    if moves and lane == 0:
        text, pointer = f"{'P_LW' if load else 'P_SW'}({value}, {4 * lanes}, {at})", {at}
    else:
        text, pointer = f"{'lw' if load else 'sw'} {value}, {4 * lane}({at})", set()
    if load:
        return Instruction(text, frozenset([at, place]), frozenset([value, *pointer]))
    return Instruction(text, frozenset([at, value]), frozenset([place, *pointer]))


def _register(registers: dict[str, list[str]], name: str, lane: int) -> str:
    return "zero" if name == "zero" else registers[name][lane]


def fits_registers(stream: Stream) -> bool:
    """Tell whether there are registers for all values of a stream."""
    return _try_to_assign(stream, 1) is not None


def _assign(stream: Stream) -> dict[str, list[str]]:
    """Give each name its registers, one a lane; sums have as many chains as there are registers for."""
    for chains in (LANES, LANES // 2, 1):
        found = _try_to_assign(stream, chains)
        if found is not None:
            return found
    raise ValueError(f"stream {stream.name} needs more registers than there are")


def _try_to_assign(stream: Stream, chains: int) -> dict[str, list[str]] | None:
    free = list(_SCRATCH + _SAVED)
    registers: dict[str, list[str]] = {}

    def take(name: str, count: int) -> bool:
        if len(free) < count:
            return False
        taken = [free.pop(0) for _ in range(count)]
        registers[name] = [taken[lane % count] for lane in range(LANES)]
        return True

    for name in (*stream.pointers, *(f"{m} pointer" for m in stream.masks), *stream.scalars, "counter"):
        if not take(name, 1):
            return None
    for name in stream.sums:
        if not take(name, chains):
            return None
    for name in stream.masks:
        if not take(name, LANES):
            return None
    fixed = set(registers)
    last_use = {source: position for position, step in enumerate(stream.body) for source in step.sources}
    for position, step in enumerate(stream.body):
        ending = [s for s in dict.fromkeys(step.sources) if last_use[s] == position and s not in fixed]
        ending = [source for source in ending if source in registers]
        if step.operation not in ("load", "store") and _form(stream, position)[1]:
            registers[step.result] = registers[step.sources[1]]
            free[:0] = registers[step.sources[0]]
            continue
        several = step.operation not in ("load", "store") and (
            len(OPERATIONS[step.operation].instructions) > 1
        )
        early = [s for s in ending if not several or (s == step.sources[0] and step.sources.count(s) == 1)]
        for source in early:
            free[:0] = registers[source]
        if step.operation != "store" and step.result not in fixed and not take(step.result, LANES):
            return None
        for source in ending:
            if source not in early:
                free[:0] = registers[source]
    return registers
