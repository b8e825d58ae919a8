"""The assembly of a strip of a quantised depthwise convolution: what all strips share.

A strip's function goes from channel to channel; its subclasses write the rows of results of one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE, AssemblyText
from tvm_pulp.schedules.microkernels.quantized_depthwise_shape import DepthwiseShape
from tvm_pulp.schedules.microkernels.requantize_even import HALF_EVEN, even_constant, round_half_even
from tvm_pulp.schedules.microkernels.requantize_own_shifts import prepare_channel, scale_sums

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.dot_panel import Epilogue

SUMS = ("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")
SCRATCH = ("t0", "t1", "t2")
"""Words of the image while products are summed."""
MULTIPLIER, CONSTANT, ZERO_POINT = "t4", "t5", "a1"
SHIFT = ZERO_POINT
"""Of a channel, where each has its own: its zero point is added as an immediate operand."""
IN_PITCH, OUT_PITCH = "t6", "ra"
IN, OUT = "gp", "tp"
HALVES = "t3"
_SAVED = ("ra", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "gp", "tp")
_FRAME = 96
FROM_CHANNEL_TO_CHANNEL = ("weight", "bias", "result_next", "image_next", "weight_end", "rows")
"""What is kept in registers that are free, else in the frame: the pointers to a channel's weights and bias,
the bytes from the end of a channel to the start of the next one, the end of the weights, the rows."""

_FIELDS = ("image", "result", "weight", "bias", "channels", "image_bytes", "result_bytes", "rows")


class StripWriter(ABC):
    """Writes the function of strips of a width.

    Parameters
    ----------
    s, e
        The convolution, and from sums to bytes.
    width
        Columns of the strip.
    """

    end: ClassVar[str]
    """The register with the end of a channel's results."""

    def __init__(self, s: DepthwiseShape, e: Epilogue, width: int) -> None:
        self.s, self.e, self.width = s, e, width
        self.text = AssemblyText()
        self.words = s.window_row(width).words
        self.channel_words = s.kernel[0] * s.weight_words
        # the bias is in the sums already
        self.starts_with_bias = False
        self.kept: dict[str, str] = {}

    @abstractmethod
    def rows(self) -> None:
        """Write the rows of results of a channel."""

    @abstractmethod
    def load_weights(self, pointer: str) -> None:
        """Write what moves the pointer from the channel's weights to the next one's."""

    def write(self) -> str:
        """Return the function as C with top-level ``__asm__``."""
        text, name = self.text, f"depthwise_strip_{self.width}"
        text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
        text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
        text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
        self.start()
        text.add(".balign 16", "1:")
        self.start_channel()
        self.rows()
        text.add(f"bne {self.fetch('weight', 't0')}, {self.fetch('weight_end', 't1')}, 1b")
        text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
        text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {name}, .-{name}", ".option pop", ".popsection")
        return f"void {name}(const struct depthwise_run *);\n__asm__(\n{text}\n);"

    @property
    def constant(self) -> int:
        """What is added before the shift, where it is the same for all channels."""
        e = self.e
        if e.rounding == HALF_EVEN:
            return even_constant(e.shift, e.zero_point)
        wide = not (e.narrow or e.short or e.halfword or e.own_shifts)
        return e.zero_point << (e.shift - 32) if wide else 0

    def fetch(self, name: str, scratch: str) -> str:
        """Return the register of something that is kept, after a load to `scratch` if it is in the frame."""
        if name not in self.kept:
            self.text.add(f"lw {scratch}, {_place(name)}(sp)")
        return self.kept.get(name, scratch)

    def keep(self, name: str, register: str) -> None:
        """Put something where `fetch` finds it."""
        if name not in self.kept:
            self.text.add(f"sw {register}, {_place(name)}(sp)")
        elif self.kept[name] != register:
            self.text.add(f"mv {self.kept[name]}, {register}")

    def start(self) -> None:
        """Load what is the same for all channels."""
        text, s = self.text, self.s
        text.add(_field("t0", "weight"), _field("t1", "channels"), f"li t2, {4 * self.channel_words}")
        text.add("mul t1, t1, t2", "add t1, t0, t1")
        self.keep("weight", "t0")
        self.keep("weight_end", "t1")
        for name in ("bias", "rows"):
            text.add(_field("t1", name))
            self.keep(name, "t1")
        # a channel begins with a step from the end of the one before it; the pointer is at the last word of a
        # row, whose load moves it on
        text.add(_field("t1", "image_bytes"), "li t0, 4", "sub t1, t0, t1")
        self.keep("image_next", "t1")
        text.add(_field(IN, "image"), f"addi {IN}, {IN}, {(self.words - 1) * 4 * s.pixel}")
        text.add(f"sub {IN}, {IN}, t1", _field("t1", "result_bytes"), "li t0, 1", "sub t1, t0, t1")
        self.keep("result_next", "t1")
        text.add(_field(self.end, "result"), f"sub {self.end}, {self.end}, t1")
        text.add(f"li {IN_PITCH}, {s.image_pitch}", f"li {OUT_PITCH}, {s.result_pitch}")
        text.add(f"li {HALVES}, 0x00020001")
        if self.constant:
            text.add(f"li {ZERO_POINT}, {self.constant}")

    def start_channel(self) -> None:
        """Load what belongs to a channel."""
        text, e = self.text, self.e
        weight, at = self.fetch("weight", "t0"), self.fetch("bias", "t1")
        self.load_weights(weight)
        self.keep("weight", weight)
        bias = "t0" if self.e.folds_bias else CONSTANT
        text.add(f"P_LW({bias}, 4, {at})")
        self.keep("bias", at)
        vectors = (MULTIPLIER, SHIFT) if e.own_shifts else (MULTIPLIER,)
        for number, register in enumerate(vectors, 1):
            text.add(*_load_at(register, number * e.multipliers - 4, at))
        text.add(f"add {IN}, {IN}, {self.fetch('image_next', 't1')}")
        text.add(f"add {OUT}, {self.end}, {self.fetch('result_next', 't1')}")
        if self.e.folds_bias:  # what the product of a sum, without bias, is added to
            text.add(f"li {CONSTANT}, {e.zero_point << e.shift}", f"P_MAC({CONSTANT}, t0, {MULTIPLIER})")
        elif e.own_shifts:
            text.add(*prepare_channel(MULTIPLIER, SHIFT, e.rounding, spare_bit=e.spare_bit))
        elif e.short:
            text.add(f"PV_PACK_H({MULTIPLIER}, {MULTIPLIER}, {MULTIPLIER})")

    def straddle(self, words: tuple[str, ...], number: int) -> str:
        """Return the instruction that puts a word's upper half below the lower half of the next one."""
        if number + 1 == self.words:
            return f"srli {words[number]}, {words[number]}, 16"
        return f"PV_SHUFFLE2_H({words[number]}, {words[number + 1]}, {HALVES})"

    def load_row(self, words: tuple[str, ...]) -> None:
        """Write the loads of a row of the image; the last one moves the pointer to the next row."""
        pixel = 4 * self.s.pixel
        self.text.add(
            *(f"lw {w}, {(i - self.words + 1) * pixel}({IN})" for i, w in enumerate(words[: self.words - 1]))
        )
        self.text.add(f"P_LWR({words[self.words - 1]}, {IN_PITCH}, {IN})")

    def close_loop(self, level: int, count: str, start: int) -> None:
        """Make what has been written since some line a hardware loop."""
        lines = self.text.lines
        instructions = sum(1 for line in lines[start:] if not line.endswith(":"))
        label = 5 + level
        lines.insert(start, f"LP_SETUP({level}, {count}, {instructions}, {label})")
        lines.insert(-1, f"{label}:")

    def add_bias(self, to: tuple[str, ...], sums: tuple[str, ...]) -> None:
        """Add the bias to sums, with the results in other registers."""
        self.text.add(*(f"add {result}, {total}, {CONSTANT}" for result, total in zip(to, sums, strict=True)))

    def requantize(self, sums: tuple[str, ...]) -> None:
        """Turn a row of sums into bytes and store them, the first column last: that moves the pointer on."""
        text, e = self.text, self.e
        if e.adds_bias and not self.starts_with_bias:
            self.add_bias(sums, sums)
        if e.own_shifts:
            text.add(
                *scale_sums(
                    sums, MULTIPLIER, SHIFT, "t0", e.rounding, negative=e.negative, spare_bit=e.spare_bit
                )
            )
            for total in sums:
                text.add(*([f"addi {total}, {total}, {e.zero_point}"] if e.zero_point else []))
                text.add(f"P_CLIPU({total}, {total}, 9)")
        elif e.halfword:
            text.add(*(f"P_ADDRN({total}, {total}, {CONSTANT}, {e.first_shift})" for total in sums))
            text.add(*(f"P_MULS_ROUND({total}, {total}, {MULTIPLIER}, {e.shift})" for total in sums))
            if e.zero_point:
                text.add(*(f"addi {total}, {total}, {e.zero_point}" for total in sums))
            text.add(*(f"P_CLIPU({total}, {total}, 9)" for total in sums))
        elif e.short:
            for i, total in enumerate(sums):
                value = ("t0", "t1")[i % 2]
                text.add(f"P_MULU_SHIFT({value}, {total}, {MULTIPLIER}, 16)")
                text.add(f"P_MACHHS_ROUND({value}, {total}, {MULTIPLIER}, {e.shift - 16})")
                text.add(*([f"addi {value}, {value}, {e.zero_point}"] if e.zero_point else []))
                text.add(f"P_CLIPU({total}, {value}, 9)")
        else:
            product, added, shift = "mul", CONSTANT, e.shift
            if not e.narrow:
                product, added, shift = "mulh", ZERO_POINT if self.constant else "zero", e.shift - 32
            text.add(*(f"{product} {total}, {total}, {MULTIPLIER}" for total in sums))
            for total in sums:
                if e.rounding == HALF_EVEN:
                    text.add(*round_half_even(total, ZERO_POINT if self.constant else "zero", "t0", e.shift))
                else:
                    text.add(f"P_ADDRN({total}, {total}, {added}, {shift})")
            text.add(*(f"P_CLIPU({total}, {total}, 9)" for total in sums))
        for name, bound, neutral in (("MAX", e.low, 0), ("MIN", e.high, 255)):
            if bound != neutral:
                text.add(f"li t0, {bound}", *(f"P_{name}({total}, {total}, t0)" for total in sums))
        for column in range(1, self.width):
            text.add(f"sb {sums[column]}, {column * self.s.column_distance}({OUT})")
        text.add(f"P_SBR({sums[0]}, {OUT_PITCH}, {OUT})")


def _field(register: str, name: str) -> str:
    return f"lw {register}, {4 * _FIELDS.index(name)}(a0)"


def _place(name: str) -> int:
    return 4 * (len(_SAVED) + FROM_CHANNEL_TO_CHANNEL.index(name))


def _load_at(register: str, offset: int, pointer: str) -> list[str]:
    """Return instructions that load a word at any distance from a pointer, which stays."""
    if offset <= LARGEST_IMMEDIATE:
        return [f"lw {register}, {offset}({pointer})"]
    lines = [f"li {register}, {offset}", f"add {register}, {register}, {pointer}"]
    return [*lines, f"lw {register}, 0({register})"]
