"""What the code that packs latents and the code that unpacks them share: blocks of values, and shares.

A *block* is what one pass of the assembly's hardware loop works on: whole groups of the layout, of a size
that fits the core's own instruction cache.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import chain

from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.interleave import Instruction, Stretch, share_fpu_in_all
from tvm_pulp.schedules.microkernels.latent_layout import LatentLayout

_LEAST = 16
_BLOCKS = "a2"
_MANY = 64
_REGISTERS = ("a2", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a4", "a5", "a6", "a7", "ra",
              "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")  # fmt: skip
"""Free ones, those first that need not be saved; a2 has the number of blocks until the loop starts."""


def block_values(bits: int) -> int:
    """Return the values of a block.

    Behind the last whole block there is no whole group, or bytes lie as they do in groups.
    """
    return max(_LEAST, LatentLayout(bits).values) if bits == 8 else LatentLayout(bits).values


def block_bytes(bits: int) -> int:
    """Return the packed bytes of a block."""
    return block_values(bits) * bits // 8


def share(block: int) -> str:
    """Return C that finds a worker's share, ``number`` of ``count / block`` blocks, from ``first`` on.

    Worker 0, which drives the DMA in the meantime, has less by as many blocks as take that long.
    """
    return f"""\
  const int32_t blocks = (uint32_t)count / {block};
  const uint32_t all = blocks + driving, each = all / PULP_CORES, rest = all % PULP_CORES;
  const uint32_t worker = core, before = worker * each + (worker < rest ? worker : rest);
  const int32_t lacks = driving ? pulp_max(driving - (int32_t)before, 0) : 0;
  const int32_t first = before - driving + lacks, number = each + (worker < rest) - lacks;"""


class BlockCode(ABC):
    """A loop of assembly over blocks: arguments from in a0, to in a1, blocks in a2, a table in a3.

    Accesses are by offsets, so that they can be put in any order: one load and one store of a section, which
    a pointer points to when it begins, move the pointer on.

    Parameters
    ----------
    working
        Registers for values: fewer need not be saved, more leave the order free.
    free
        Further registers without a use.
    sources
        Pointers that are loaded from, registers of arguments.
    """

    def __init__(self, working: int, free: tuple[str, ...] = (), sources: tuple[str, ...] = ("a0",)) -> None:
        self._all, self._working = [name for name in (*free, *_REGISTERS) if name not in sources], working
        self._sources = sources
        self._begin([f"any{number}" for number in range(_MANY)])

    def _begin(self, registers: list[str]) -> None:
        self.free = registers
        self.constants: dict[int, str] = {}
        self.presets: dict[str, int] = {}
        self.sections = [_Section()]

    @abstractmethod
    def write(self) -> None:
        """Append the instructions for a block."""

    def _write_all(self) -> None:
        """Append the instructions twice: constants, which the first time shows, get registers first."""
        self.write()
        constants, presets = list(self.constants), len(self.presets)
        self._begin(self._all[: presets + self._working])
        for bits in constants:
            self.constant(bits)
        self.write()

    def take(self) -> str:
        """Return a register, the one that has been free for longest."""
        return self.free.pop(0)

    def release(self, *registers: str) -> None:
        """Free registers whose values are used no more."""
        self.free += registers

    def preset(self, bits: int) -> str:
        """Return a register that has a value of 32 bits when the loop starts."""
        # the number of blocks is still needed then
        register = next(name for name in self.free if name != _BLOCKS)
        self.free.remove(register)
        self.presets[register] = bits
        return register

    def constant(self, bits: int) -> str:
        """Return the register that holds a constant of 32 bits all along."""
        if bits not in self.constants:
            self.constants[bits] = self.preset(bits)
        return self.constants[bits]

    def section(self, count: int = 1, load_step: int = 0, store_step: int = 0) -> None:
        """Begin a section that is run `count` times, further on by so many bytes each time."""
        counter = self.constant(count) if count > 1 else ""
        self.sections.append(_Section(count, {"a0": load_step, "a1": store_step}, counter))

    def add(self, name: str, to: str, *sources: str | int, accumulates: bool = False) -> None:
        """Append an instruction or macro whose first operand is written, and read, too, if it accumulates."""
        operands = ", ".join(str(operand) for operand in (to, *sources))
        text = f"{name}({operands})" if name.isupper() else f"{name} {operands}"
        reads = {operand for operand in sources if isinstance(operand, str)} | (
            {to} if accumulates else set()
        )
        self.sections[-1].lines.append(Instruction(text, frozenset(reads), frozenset({to})))

    def load(self, to: str, size: int, place: int, source: int = 0) -> None:
        """Append a load of an unsigned byte or a word, `place` bytes behind the start of a source's block."""
        self.sections[-1].lines.append(_Access(to, self._sources[source], size, place))

    def store(self, value: str, place: int) -> None:
        """Append a store of a word."""
        self.sections[-1].lines.append(_Access(value, "a1", 4, place))

    def function(self, name: str, declaration: str, steps: tuple[int, int], around: tuple[str, str]) -> str:
        """Return C with the function.

        Parameters
        ----------
        name, declaration
            Of the function.
        steps
            By how many bytes the sources and a1 move on from block to block.
        around
            Instructions in front of the loop and behind it, or nothing.
        """
        self._write_all()
        starts = self._place_pointers({**dict.fromkeys(self._sources, steps[0]), "a1": steps[1]})
        body = self._body()
        used = self._all[: len(self.presets) + self._working]
        saved = [name for name in used if name == "ra" or name.startswith("s")]
        text = AssemblyText()
        text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
        text.add(f".type {name}, @function", f"{name}:")
        if saved:
            text.add(f"addi sp, sp, -{4 * len(saved)}")
            text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(saved)))
        text.add(*_set(self.presets))
        text.add(*(f"addi {pointer}, {pointer}, {place}" for pointer, place in starts.items() if place))
        text.add(*filter(None, around[:1]), f"LP_SETUP(1, {_BLOCKS}, {_length(body)}, 6)")
        text.add(*body[:-1], "6:", body[-1], *filter(None, around[1:]))
        if saved:
            text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(saved)))
            text.add(f"addi sp, sp, {4 * len(saved)}")
        text.add("ret", f".size {name}, .-{name}", ".option pop", ".popsection")
        return f"{declaration};\n__asm__(\n{text}\n);"

    def _body(self) -> list[str]:
        """Return the lines of a block, in the order in which two workers that share an FPU wait least."""
        sections = [section for section in self.sections if section.lines]
        placed = share_fpu_in_all([section.stretch() for section in sections])
        return list(chain(*(section.text(one.lines) for section, one in zip(sections, placed, strict=True))))

    def _place_pointers(self, steps: dict[str, int]) -> dict[str, int]:
        """Turn accesses into instructions, and return where the pointers must be at the start of the loop."""
        starts: dict[str, int] = {}
        for pointer, step in steps.items():
            sections = [section for section in self.sections if section.accesses(pointer)]
            for start in reversed(sections[0].places(pointer)):
                route = _route(sections, pointer, start, start + step)
                if route:
                    break
            else:
                raise ValueError(f"no access by {pointer} can take it from section to section")
            starts[pointer] = start
            for section, (at, after) in zip(sections, route, strict=True):
                section.place(pointer, at, after)
        return starts


def _route(sections: list[_Section], pointer: str, at: int, end: int) -> list[tuple[int, int]]:
    """Return for each section the place of a pointer at its start, where an access is, and after one run.

    An empty list where there is no way from ``at`` to ``end``.
    """
    section, *further = sections
    if at not in section.places(pointer):
        return []
    if section.count > 1:
        ways = [at + section.steps[pointer]]
    else:
        ways = list(reversed(further[0].places(pointer))) if further else [end]
    for after in ways:
        reached = at + (after - at) * section.count
        if not further and reached == end:
            return [(at, after)]
        rest = _route(further, pointer, reached, end) if further else []
        if rest:
            return [(at, after), *rest]
    return []


def _set(presets: dict[str, int]) -> list[str]:
    """Return instructions that set registers, each by one instruction from another where that is possible."""
    text: list[str] = []
    done: dict[int, str] = {}
    for register, bits in presets.items():
        near = next((value for value in done if -2048 <= bits - value < 2048), None)
        if bits in range(2048):
            text.append(f"li {register}, {bits}")
        elif near is not None:
            text.append(f"addi {register}, {done[near]}, {bits - near}")
        elif bits ^ 0xFFFFFFFF in done:
            text.append(f"not {register}, {done[bits ^ 0xFFFFFFFF]}")
        else:
            text.append(f"li {register}, {bits}")
        done[bits] = register
    return text


def _length(body: list[str]) -> int:
    return sum(1 for line in body if not line.endswith(":"))


class _Section:
    """Instructions, and accesses before they are instructions, that are run several times perhaps."""

    def __init__(self, count: int = 1, steps: dict[str, int] | None = None, counter: str = "") -> None:
        self.count, self.steps, self.counter = count, steps or {}, counter
        self.lines: list[Instruction | _Access] = []

    def accesses(self, pointer: str) -> list[_Access]:
        """Return the accesses by a pointer."""
        return [line for line in self.lines if isinstance(line, _Access) and line.pointer == pointer]

    def places(self, pointer: str) -> list[int]:
        """Return the places of these accesses."""
        return [access.place for access in self.accesses(pointer)]

    def place(self, pointer: str, at: int, after: int) -> None:
        """Turn accesses by a pointer into instructions: the one at the place ``at`` moves it to ``after``."""
        mover = next(access for access in self.accesses(pointer) if access.place == at)
        for number, line in enumerate(self.lines):
            if not isinstance(line, _Access) or line.pointer != pointer:
                continue
            is_mover = line is mover
            self.lines[number] = line.instruction(after - at if is_mover else line.place - at, moves=is_mover)
            at = after if is_mover else at

    def stretch(self) -> Stretch:
        """Return the instructions, when all accesses are some."""
        return Stretch([line for line in self.lines if isinstance(line, Instruction)], self.count)

    def text(self, lines: list[Instruction]) -> list[str]:
        """Return the lines of assembly of the section's instructions in an order."""
        body = [line.text for line in lines]
        if self.count == 1:
            return body
        return [f"LP_SETUP(0, {self.counter}, {len(body)}, 5)", *body[:-1], "5:", body[-1]]


@dataclass(frozen=True, eq=False)
class _Access:
    """A load, or a store to a1, of a byte or a word, by its place in the block."""

    register: str
    pointer: str
    size: int
    place: int

    def instruction(self, offset: int, *, moves: bool) -> Instruction:
        """Return the access at an offset, or at the pointer itself, which moves on by it then."""
        is_load = self.pointer != "a1"
        name = {(True, 1): "lbu", (True, 4): "lw", (False, 4): "sw"}[is_load, self.size]
        text = f"{name} {self.register}, {offset}({self.pointer})"
        if moves:
            text = f"P_{name.upper()}({self.register}, {offset}, {self.pointer})"
        moved = frozenset({self.pointer} if moves else ())
        if is_load:
            return Instruction(text, frozenset({self.pointer}), moved | {self.register})
        return Instruction(text, frozenset({self.pointer, self.register}), moved)
