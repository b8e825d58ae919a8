"""Loops over elements that lie side by side in L1: loads, a few operations, stores and sums.

A *stream* walks along a few tensors at the same pace: ``segments`` times ``length`` elements, with a
skip after each segment. Its body is a list of operations on one element; the assembly does four elements at a
time, operation by operation, so that no result is used by the next instruction, in a hardware loop with
post-increment accesses. Sums are kept in several chains, which also keeps each of them short.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE, AssemblyText
from tvm_pulp.schedules.microkernels.forms import INCLUDE, both_forms
from tvm_pulp.schedules.microkernels.interleave import Instruction, cycles_of_a_pair, share_fpu
from tvm_pulp.schedules.microkernels.stream_definition import LANES, Step, Stream, form
from tvm_pulp.schedules.microkernels.stream_operations import OPERATIONS, PACKS
from tvm_pulp.schedules.microkernels.stream_registers import SAVED, assign_registers

POINTERS, SCALARS, _SUMS = 6, 6, 2
_LENGTH, _SEGMENTS, _SKIP, _AT = 0, 4, 8, 12
_ROUNDS_OF_LOADS_AHEAD = 4
"""From how many rounds of a loop its loads may run ahead."""
_HARDLY_FASTER = 0.975
"""Cycles with loads ahead by those without, from where it is not worth the longer code."""
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


def streams_source(
    streams: Sequence[Stream], *, assembly: bool, form: Callable[[Stream], str] | None = None
) -> str:
    """Return C that defines streams: assembly where it can be used, else plain C.

    Parameters
    ----------
    streams
        With different names.
    assembly
        Whether the target has Xpulp; the plain C form is there in any case, for the host.
    form
        What makes the assembly of a stream, `stream_assembly` if not given.
    """
    plain = "\n\n".join(stream_c(stream) for stream in streams)
    if not assembly:
        return f"{STRUCT}\n\n{plain}"
    fast = "\n\n".join(map(form or stream_assembly, streams))
    return f"{INCLUDE}\n\n{STRUCT}\n\n{both_forms(fast, plain)}"


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
    registers = assign_registers(stream)
    saved = [r for r in SAVED if any(r in lanes for lanes in registers.values())]
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
    moves = [f"add {register}, {register}, {counter}" for register in at.values()]
    words = {access: [f"{access} {registers[m][lane]}, {4 * lane}({masks[m]})"
                      for m in stream.masks if stream.packs(m) == (access == "sw") for lane in range(LANES)]
             for access in ("lw", "sw")}  # fmt: skip
    groups = [*words["sw"], *(f"addi {register}, {register}, {4 * LANES}" for register in masks.values())]
    segment = [*words["lw"], *segment_lines(stream, registers, counter, f"lw {counter}, {_LENGTH}(a0)")]
    segment += [*groups, f"lw {counter}, {_SKIP}(a0)", *moves[:-1], "6:", moves[-1]]
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


def segment_lines(stream: Stream, registers: dict[str, list[str]], counter: str, length: str) -> list[str]:
    """Return the loops over a segment's elements, four at a time, then one by one.

    Parameters
    ----------
    stream
        What is done.
    registers
        Of each name, one a lane.
    counter
        A register that may be overwritten.
    length
        The instruction that sets it to the number of elements.
    """
    elements = _known_segment if stream.length else _any_segment
    return elements(stream, registers, counter, length)


def _any_segment(stream: Stream, registers: dict[str, list[str]], counter: str, length: str) -> list[str]:
    """Return the same where the number of elements is not known."""
    lines = [length, f"srli {counter}, {counter}, 2", f"beqz {counter}, 2f"]
    ahead = _loads_ahead(stream, registers)
    if ahead:
        loads, many, rest = ahead
        lines += [*loads, f"addi {counter}, {counter}, -1", f"beqz {counter}, 7f"]
        lines += [f"LP_SETUP(0, {counter}, {len(many)}, 1)", *many[:-1], "1:", many[-1], "7:", *rest, "2:"]
    else:
        many = _body(stream, registers, LANES)
        lines += [f"LP_SETUP(0, {counter}, {len(many)}, 1)", *many[:-1], "1:", many[-1], "2:"]
    if stream.whole_rounds:
        return lines
    one = _body(stream, registers, 1)
    lines += [length, f"andi {counter}, {counter}, {LANES - 1}"]
    lines += [f"beqz {counter}, 4f", f"LP_SETUP(0, {counter}, {len(one)}, 3)", *one[:-1], "3:", one[-1]]
    return [*lines, "4:"]


def _known_segment(stream: Stream, registers: dict[str, list[str]], counter: str, length: str) -> list[str]:
    """Return the same where it is."""
    rounds, rest = divmod(stream.length, LANES)
    many = _body(stream, registers, LANES)
    before: list[str] = []
    after: list[str] = []
    ahead = _loads_ahead(stream, registers) if rounds >= _ROUNDS_OF_LOADS_AHEAD else None
    if ahead:
        before, many, after = ahead
        rounds -= 1
    lines = many if rounds == 1 else []
    if rounds > 1:
        load = [f"li {counter}, {rounds}"]
        if rounds > LARGEST_IMMEDIATE:  # `li` would be two instructions, or one
            load = [length, f"srli {counter}, {counter}, 2"]
            load += [f"addi {counter}, {counter}, -1"] if before else []
        lines = [*load, f"LP_SETUP(0, {counter}, {len(many)}, 1)", *many[:-1], "1:", many[-1]]
    return [*before, *lines, *after, *(_body(stream, registers, rest) if rest else [])]


def _loads_ahead(
    stream: Stream, registers: dict[str, list[str]]
) -> tuple[list[str], list[str], list[str]] | None:
    """Return a loop that loads a register again behind its last use, for the next elements.

    So loads lie between the FPU's operations everywhere, and two workers that share a FPU keep it busy. The
    last load is one for the same elements: it is there to follow the first operation.

    Returns
    -------
    tuple or None
        The loads before the loop, the loop, and the work on the last elements. None where the stream sums up
        nothing, overwrites all that it reads, or where the loop is hardly faster.
    """
    if not stream.sums or stream.masks:
        return None
    lines = _instructions(stream, registers, LANES, by_lane=True)
    written = {registers[step.sources[0]][0] for step in stream.body if step.operation == "store"}
    read = [line for line in lines if line.is_load and not line.reads & written]
    if not read:
        return None
    *loads, last = read
    work = [last, *(line for line in lines if line not in read)]
    body = share_fpu([*work, *loads])
    plain = share_fpu(_instructions(stream, registers, LANES))
    if cycles_of_a_pair(body) > _HARDLY_FASTER * cycles_of_a_pair(plain):
        return None
    before, loop, after = ([line.text for line in part] for part in (loads, body, share_fpu(work)))
    return before, loop, after


def _body(stream: Stream, registers: dict[str, list[str]], lanes: int) -> list[str]:
    """Return the instructions for ``lanes`` elements; lane 0, whose access moves the pointer, comes last."""
    return [instruction.text for instruction in share_fpu(_instructions(stream, registers, lanes))]


def _instructions(
    stream: Stream, registers: dict[str, list[str]], lanes: int, *, by_lane: bool = False
) -> list[Instruction]:
    """Return the instructions for ``lanes`` elements, step by step, or all of an element together."""
    last_access = {
        step.sources[0]: position
        for position, step in enumerate(stream.body)
        if step.operation in ("load", "store")
    }
    placed: list[tuple[int, Instruction]] = []
    for position, step in enumerate(stream.body):
        if step.operation in ("load", "store"):
            moves = last_access[step.sources[0]] == position
            placed += [
                (lane, _access(step, registers, lane, lanes, moves)) for lane in reversed(range(lanes))
            ]
            continue
        for instruction in form(stream, position)[0]:
            for lane in reversed(range(lanes)):
                sources = [_register(registers, source, lane) for source in step.sources]
                result = _register(registers, step.result, lane)
                text = instruction.format(*sources, d=result)
                written, *reads = re.split(r"[ ,()]+", text)[1:]
                placed.append((lane, Instruction(text, frozenset(reads), frozenset([written]))))
    if by_lane:
        placed.sort(key=lambda entry: -entry[0])
    return [instruction for _, instruction in placed]


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
