"""Random programs for eight cores, built with the project's own runtime and toolchain.

``python stress.py OUT.elf SEED COUNT [KIND,...]`` writes one ELF with COUNT cases, by turns of the kinds:
the same code on all cores; other code on each (instruction caches); longer such code; calls between
scattered functions; barriers, mutexes, events and dispatch between cores; DMA.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from pathlib import Path

from tvm_pulp.runtime.sim import _sim
from tvm_pulp.target import features, parse
from tvm_pulp.target.project import write_runtime
from tvm_pulp.target.toolchain import find

HERE = Path(__file__).parent
KINDS = ("same", "differ", "sync", "dma", "long", "calls")
# a0, a1 and a2: private L1, private L2, shared L1; a4: a pointer that moves; a5: constants; s0: iterations;
# s1: the event unit; ra, gp and tp: what a sequence needs for itself
REGISTERS = dict(
    t0=5, t1=6, t2=7, a3=13, a6=16, a7=17, s2=18, s3=19, s4=20, s5=21, s6=22, s7=23, t3=28, t4=29, t5=30
)
FLOATS = ("s8", "s9", "s10")
SAVED = ("s0", "s1", *(f"s{n}" for n in range(2, 12)), "ra", "gp", "tp")
BARRIER, MUTEX, WAIT, DISPATCH = 0x21C, 0xC0, 0x3C, 0x80
DMA_AREA, DMA_BYTES, OUTSIDE_AREA, OUTSIDE_BYTES = 1152, 1024, 512, 2048

_OTHER = (
    "l",
    "s",
    "p.l",
    "p.elw",
    "p.s",
    "p.b",
    "b",
    "j",
    "csr",
    "fence",
    "e",
    "m",
    "w",
    "flw",
    "fsw",
    "div",
    "rem",
    "auipc",
)
_KEPT = ("slt", "sll", "srl", "sra", "sub", "mul")
ARITHMETIC = sorted(
    (name, mask, match)
    for name, mask, match in _sim.encodings()
    if name.startswith(_KEPT) or not name.startswith(_OTHER)
)
PROFILES = {
    "mix": "alu*6 mul*2 high use*2 load*4 store*2 narrow*2 misaligned outside fma*4 divide post*2 branch*2 "
    "jump shared loop back any*8 call",
    "any": "any*10 load*2 store",
    "memory": "alu*4 load*6 store*4 narrow*3 post*3 misaligned shared*2 use*3",
    "float": "alu*3 fma*10 load*2 store any*4",
    "divide": "alu*5 fma*4 divide*2 integer_divide branch",
    "control": "alu*6 branch*5 jump*3 load store mul call*2 back",
    "outside": "alu*6 outside*3 load*2 fma*2 branch integer_divide",
    "loops": "alu*3 load*2 fma*2 post loop*3 branch",
    "transfers": "alu*6 load*2 store*2 fma*2 dma*2 wait branch mul",
}


class Generator:
    """Draws instructions; every draw comes from one seeded source."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.labels = 0
        self.in_flight = 0

    def register(self) -> str:
        return self.random.choice(tuple(REGISTERS))

    def number(self, low: int, high: int) -> int:
        """A number from low to high - 1."""
        return self.random.randrange(low, high)

    def label(self) -> str:
        self.labels += 1
        return f".L{self.labels}"

    def body(self, profile: str, size: int) -> list[str]:
        kinds = [part.partition("*")[::2] for part in PROFILES[profile].split()]
        weights = [int(times or 1) for _, times in kinds]
        lines: list[str] = []
        while len(lines) < size:
            self.add(self.random.choices([kind for kind, _ in kinds], weights)[0], lines)
        return [*lines, *self.wait()] if "dma" in PROFILES[profile] else lines

    def add(self, kind: str, lines: list[str], depth: int = 0) -> None:
        r, n, choice = self.register, self.number, self.random.choice
        if kind == "alu":
            lines.append(choice((
                f"addi {r()}, {r()}, {n(-2048, 2048)}",
                f"{choice(('slli', 'srai'))} {r()}, {r()}, {n(1, 31)}",
                f"lui {r()}, {n(1, 1 << 20)}", f"li {r()}, {n(-32, 32)}",
                f"{choice(('add', 'sub', 'xor', 'or', 'and', 'sltu'))} {r()}, {r()}, {r()}",
            )))  # fmt: skip
        elif kind == "mul":
            lines.append(f"mul {r()}, {r()}, {r()}")
        elif kind == "high":
            chained = r()
            lines += [f"mul {chained}, {chained}, {r()}", f"mulhu {r()}, {chained}, {chained}"]
        elif kind == "integer_divide":
            divisor = r()
            operation = choice(("div", "rem", "divu", "remu"))
            lines += [f"ori {divisor}, {divisor}, 1", f"{operation} {r()}, {r()}, {divisor}"]
        elif kind == "use":
            loaded = r()
            lines += [f"lw {loaded}, {4 * n(0, 64)}(a0)", f"add {r()}, {loaded}, {r()}"]
        elif kind in ("load", "store", "shared"):
            operation = "sw" if kind == "store" else "lw"
            lines.append(f"{operation} {r()}, {4 * n(0, 32)}({'a2' if kind == 'shared' else 'a0'})")
        elif kind == "narrow":
            lines.append(f"{choice(('lb', 'lbu', 'sb'))} {r()}, {n(0, 256)}(a0)")
            lines.append(f"{choice(('lh', 'lhu', 'sh'))} {r()}, {2 * n(0, 128)}(a0)")
        elif kind == "misaligned":
            lines.append(
                f"{choice(('lw', 'sw'))} {r()}, {4 * n(0, 30) + n(1, 4)}({choice(('a0', 'a0', 'a1'))})"
            )
        elif kind == "outside":
            lines.append(f"{choice(('lw', 'sw', 'lbu', 'sh'))} {r()}, {4 * n(0, 32)}(a1)")
        elif kind == "fma":
            f = [choice(FLOATS) for _ in range(4)]
            lines.append(
                choice((f"fmadd.s {', '.join(f)}", f"fnmsub.s {', '.join(f)}", f"fadd.s {', '.join(f[:3])}"))
            )
        elif kind == "divide":
            lines.append(
                choice((f"fdiv.s {', '.join(FLOATS)}", f"fsqrt.s {choice(FLOATS)}, {choice(FLOATS)}"))
            )
        elif kind == "post":
            step = choice((4, -4, 8, -8))
            lines.append(
                choice((f".insn i 0x0b, 2, {r()}, {step}(a4)", f".insn s 0x2b, 2, {r()}, {step}(a4)"))
            )
        elif kind == "any":
            lines.append(self.arithmetic())
        elif kind in ("branch", "jump"):
            end, inside = self.label(), []
            for _ in range(n(1, 6)):
                self.add(choice(("alu", "alu", "load", "fma", "mul")), inside)
            taken = (
                f"{choice(('beq', 'bne', 'blt', 'bgeu'))} {r()}, {r()}, {end}"
                if kind == "branch"
                else f"j {end}"
            )
            lines += [taken, *inside, f"{end}:"]
        elif kind == "back":
            start, inside = self.label(), []
            for _ in range(n(1, 6)):
                self.add(choice(("alu", "load", "fma", "mul", "use")), inside)
            lines += [f"li tp, {n(1, 6)}", f"{start}:", *inside, "addi tp, tp, -1", f"bnez tp, {start}"]
        elif kind == "call":
            function, after = self.label(), self.label()
            lines += [f"jal gp, {function}", f"j {after}", f"{function}:"]
            self.add("alu", lines)
            lines += ["jr gp", f"{after}:"]
        elif kind == "loop":
            self.loop(lines, depth)
        elif kind == "dma":
            lines += self.transfer()
        elif kind == "wait":
            lines += self.wait()
        else:
            raise ValueError(kind)

    def arithmetic(self) -> str:
        """Any arithmetic instruction with drawn registers and immediates, rounding to nearest."""
        name, mask, match = self.random.choice(ARITHMETIC)
        word = match | self.random.getrandbits(32) & ~mask
        for position in (7, 15, 20, 27):
            field = 31 << position
            is_register = position < 20 or (
                not name.startswith(("p.b", "p.e", "p.i", "pv")) and name[-1] != "i"
            )
            if mask & field == 0 and (is_register or position == 20):
                word = word & ~field | REGISTERS[self.register()] << position
        if name.startswith("f") and mask >> 12 & 7 == 0:
            word &= ~(7 << 12)
        return f".4byte 0x{word:08x} # {name}"

    def loop(self, lines: list[str], depth: int) -> None:
        """A hardware loop, perhaps with another one inside."""
        inside: list[str] = []
        for _ in range(self.number(1, 10)):
            inner = depth == 0 and self.number(0, 5) == 0
            self.add(
                "loop" if inner else self.random.choice(("alu", "load", "fma", "mul", "store", "use")),
                inside,
                1,
            )
        self.add("alu", inside)
        setup, end, level = self.label(), self.label(), 1 - depth
        lines += [f"li tp, {self.number(1, 9)}"]
        lines += [f"{setup}: .4byte (({end} - {setup}) << 19) | {4 << 15 | 4 << 12 | level << 7 | 0x7B}"]
        lines += [*inside[:-1], f"{end}:", inside[-1]]

    def transfer(self) -> list[str]:
        """Start a DMA transfer; at most two identifiers are in use by a core."""
        size = self.random.choice((4, 16, 32, 64, 128, 256, 512, 1000, self.number(1, 600)))
        rows, to_l1 = self.number(0, 2), self.number(0, 2)
        length = min(size, self.random.choice((4, 8, 16, 32, 64, self.number(1, 100))))
        stride = 0
        if rows:
            lines = size // length
            size = lines * length
            stride = length + self.number(0, max(1, (OUTSIDE_BYTES - size) // lines))
        here = self.number(0, DMA_BYTES - size + 1)
        there = self.number(0, OUTSIDE_BYTES - (stride * size // length if rows else size) + 1)
        command = size | to_l1 << 17 | 1 << 18 | rows << 19 | 1 << 20
        result = self.wait() if self.in_flight == 2 else []
        self.in_flight += 1
        result += [
            "lw tp, 0x400(s1)",
            "li gp, 1",
            "sll gp, gp, tp",
            "or ra, ra, gp",
            f"li tp, {command}",
            "sw tp, 0x400(s1)",
        ]
        result += [f"li tp, {DMA_AREA + here}", "add tp, tp, a0", "sw tp, 0x400(s1)"]
        result += [f"li tp, {OUTSIDE_AREA + there}", "add tp, tp, a1", "sw tp, 0x400(s1)"]
        return (
            result + [f"li tp, {length}", "sw tp, 0x400(s1)", f"li tp, {stride}", "sw tp, 0x400(s1)"] * rows
        )

    def wait(self) -> list[str]:
        """Wait for the core's transfers, by polling or asleep, and free their identifiers."""
        again, done = self.label(), self.label()
        self.in_flight = 0
        pause = self.random.choice(("nop", event(WAIT)))
        poll = [f"{again}:", "lw tp, 0x404(s1)", "and tp, tp, ra", f"beqz tp, {done}", pause, f"j {again}"]
        return [*poll, f"{done}:", "sw ra, 0x404(s1)", "li ra, 0", "li tp, 0x100", "sw tp, 0x28(s1)"]

    def together(self) -> list[list[str]]:
        """Eight bodies with the same sequence of synchronisations."""
        bodies: list[list[str]] = [[] for _ in range(8)]
        for _ in range(self.number(4, 12)):
            kind = self.random.choice(("barrier", "mutex", "event", "dispatch"))
            source, number = self.number(0, 8), self.number(0, 4)
            team = self.number(1, 256) & ~(1 << source) or 255 ^ 1 << source
            for core, body in enumerate(bodies):
                body += self.body(
                    self.random.choice(("mix", "control", "float", "memory")), self.number(0, 24)
                )
                if kind == "mutex":
                    body += [event(MUTEX), *self.body("memory", self.number(1, 12)), f"sw zero, {MUTEX}(s1)"]
                    continue
                body.append(event(BARRIER))
                work = self.body("mix", self.number(0, 20))
                if kind == "event" and core == source:
                    body += [*work, f"li tp, {team}", f"sw tp, {0x100 + 4 * number}(s1)"]
                elif kind == "event" and team >> core & 1:
                    mask = [f"li tp, {1 << number}", "sw tp, 0x08(s1)"]
                    body += [*work, *mask, event(WAIT), f"li tp, {1 << number}", "sw tp, 0x04(s1)"]
                elif kind == "dispatch" and core == 0:
                    body += ["li tp, 0xfe", "sw tp, 0x84(s1)", *work, f"sw tp, {DISPATCH}(s1)"]
                elif kind == "dispatch":
                    body += [*work, event(DISPATCH)]
        return bodies

    def function(self, name: str, body: list[str], compressed: bool, skew: int = 0) -> str:
        """A C function around a body; it repeats it and stores the registers at the end."""
        again, end = self.label(), self.label()
        lines = [
            f'.section .text.{name},"ax"',
            f".option {'' if compressed else 'no'}rvc",
            f".balign {4 << 2 * (skew % 2)}",
        ]
        lines += [f"{name}:", "addi sp, sp, -96", *(f"sw {r}, {4 * k}(sp)" for k, r in enumerate(SAVED))]
        lines += ["sw a4, 80(sp)", "mv s0, a3", "li ra, 0", "lui s1, 0x10204"]
        lines += [f"lw {r}, {4 * k}(a0)" for k, r in enumerate(REGISTERS)]
        lines += ["nop"] * skew + [f"{again}:", "addi a4, a0, 640"]
        lines += [*(f"lw {r}, {4 * k}(a5)" for k, r in enumerate(FLOATS)), *body]
        lines += [
            "addi s0, s0, -1",
            f"beqz s0, {end}",
            f"j {again}",
            f"{end}:",
            *self.wait(),
            "lw a4, 80(sp)",
        ]
        lines += [f"sw {r}, {4 * k}(a4)" for k, r in enumerate((*REGISTERS, *FLOATS))]
        return "\n".join(
            [*lines, *(f"lw {r}, {4 * k}(sp)" for k, r in enumerate(SAVED)), "addi sp, sp, 96", "ret"]
        )


def event(offset: int) -> str:
    """Sleep until the event unit answers."""
    return f".insn i 0x03, 6, tp, {offset}(s1)"


def case(draw: Generator, number: int, kind: str, functions: list[str]) -> str:
    """Add the functions of a case and give its row of the table."""
    compressed = bool(draw.number(0, 2))
    iterations, masks = (4, "255, 0, 0") if kind in ("sync", "long") else (8, "1, 0x11, 255")
    quiet = [name for name in PROFILES if "dma" not in PROFILES[name]]
    names = [f"case_{number}_{core}" for core in range(8)]
    if kind == "same":
        names = names[:1] * 8
        bodies = [draw.body(draw.random.choice(quiet), draw.random.choice((6, 20, 48, 110, 260)))]
    elif kind == "sync":
        bodies = draw.together()
    elif kind == "calls":
        callees = [f"case_{number}_callee_{k}" for k in range(draw.random.choice((4, 12)))]
        for callee in callees:
            inside = draw.body(draw.random.choice(("mix", "control", "float")), draw.number(1, 30))
            functions.append(
                "\n".join([f'.section .text.{callee},"ax"', ".balign 16", f"{callee}:", *inside, "jr s11"])
            )
        bodies = [
            [f"jal s11, {draw.random.choice(callees)}" for _ in range(draw.number(3, 20))] for _ in names
        ]
    else:
        low, high = {"differ": (8, 120), "long": (150, 400), "dma": (4, 60)}[kind]
        profiles = ["transfers"] if kind == "dma" else quiet
        bodies = [draw.body(draw.random.choice(profiles), draw.number(low, high)) for _ in names]
    for core, (name, body) in enumerate(zip(names, bodies, strict=False)):
        functions.append(draw.function(name, body, compressed, core))
    return f'  {{{{{", ".join(names)}}}, "{kind}", {iterations}, {{{masks}}}}},'


def build(elf: Path, seed: int, count: int, kinds: tuple[str, ...] = KINDS) -> None:
    """Generate a program and build it for pulp-open."""
    draw, functions = Generator(seed), []
    rows = [case(draw, number, kinds[number % len(kinds)], functions) for number in range(count)]
    signature = "(void *, void *, const void *, uint32_t, uint32_t *, const float *)"
    names = sorted({name for row in rows for name in row.split("{{")[1].split("}")[0].split(", ")})
    text = [f"extern void {name}{signature};" for name in names]
    text += [
        f"static const struct {{ void (*body[8]){signature}; const char *name;",
        "uint32_t iterations, masks[3]; }",
    ]
    text += ["stress_cases[] = {", *rows, "};"]
    assembly = "\n".join(functions).splitlines()
    text += [
        "__asm__(",
        *(f'"{line.replace(chr(34), chr(92) + chr(34))}\\n"' for line in assembly),
        '".text\\n");',
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_runtime(Path(folder), "stress", features(parse("pulp")))
        shutil.copy(HERE / "stress.c", Path(folder, "templates", "main.c"))
        Path(folder, "templates", "stress.h").write_text("\n".join(text) + "\n")
        shutil.copy(find(options="-g0 -s").build(Path(folder)), elf)


if __name__ == "__main__":
    build(
        Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *[tuple(k.split(",")) for k in sys.argv[4:5]]
    )
