"""The assembly of a strip of a quantised depthwise convolution, see `quantized_depthwise`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE, AssemblyText
from tvm_pulp.schedules.microkernels.requantize_even import HALF_EVEN, even_constant, round_half_even
from tvm_pulp.schedules.microkernels.requantize_own_shifts import prepare_channel, scale_sum

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.dot_panel import Epilogue
    from tvm_pulp.schedules.microkernels.quantized_depthwise import DepthwiseShape

STRIP = 4
"""Columns of the results that are computed side by side."""

_SUMS = ("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")
_WEIGHTS = ("a2", "a3", "a4", "a5", "a6", "a7")
_WORDS = ("t0", "t1", "t2")
_MULTIPLIER, _CONSTANT, _ZERO_POINT = "t4", "t5", "a1"
_SHIFT = _ZERO_POINT
"""Of a channel, where each has its own: its zero point is added as an immediate operand."""
_IN_PITCH, _OUT_PITCH = "t6", "ra"
_IN, _OUT, _END = "gp", "tp", "a0"
_HALVES = "t3"
_SAVED = ("ra", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "gp", "tp")
_FRAME = 96
_FROM_CHANNEL_TO_CHANNEL = ("weight", "bias", "result_next", "image_next", "weight_end", "rows")
"""What is kept in registers that are free, else in the frame: the pointers to a channel's weights and bias,
the bytes from the end of a channel to the start of the next one, the end of the weights, the rows."""

_FIELDS = ("image", "result", "weight", "bias", "channels", "image_bytes", "result_bytes", "rows")


def depthwise_strip_assembly(s: DepthwiseShape, e: Epilogue, width: int) -> str:
    """Return the function of strips of so many columns as C with top-level ``__asm__``."""
    return _StripWriter(s, e, width).write()


class _StripWriter:
    """Writes the function of strips of a width."""

    def __init__(self, s: DepthwiseShape, e: Epilogue, width: int) -> None:
        self.s, self.e, self.width = s, e, width
        self.text = AssemblyText()
        self.words = s.words_of(width)
        # rounding twice is long: a loop over all rows of sums would leave the instruction cache
        self.moves_sums = bool(e.own_shifts) and s.rows_of_sums > 1
        self.ends_with_loop = len(s.rests) == 1 and not self.moves_sums
        self.kept = dict(zip(_FROM_CHANNEL_TO_CHANNEL, self.free_registers(), strict=False))
        self.entry = -s.rests[0] % s.rows_of_sums if self.ends_with_loop else 0

    def write(self) -> str:
        """Return C with the function."""
        text, s, name = self.text, self.s, f"depthwise_strip_{self.width}"
        text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
        text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
        text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
        self.start()
        text.add(".balign 16", "1:")
        self.start_channel()
        for row in range(s.kernel[0] - s.strides[0]):
            self.image_row(row, self.entry)
        if self.moves_sums:
            self.loop_over_rows()
        else:
            self.loop_over_rows_of_sums()
        text.add("3:")
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

    def free_registers(self) -> list[str]:
        """Return the registers that the strip leaves alone."""
        s, e = self.s, self.e
        taps = s.kernel[0]
        used = {*_WORDS[: self.words], *_WEIGHTS[:taps]}
        if s.strides[1] == 1:
            used |= {*_WEIGHTS[3 : 3 + taps]}
        if e.own_shifts or self.constant:
            used |= {_SHIFT, _ZERO_POINT}
        used |= {"t0", "t1"}  # of the requantisation
        return [register for register in (*_WORDS, *_WEIGHTS, _ZERO_POINT) if register not in used]

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
        text.add(_field("t0", "weight"), _field("t1", "channels"), f"li t2, {4 * s.kernel[0]}")
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
        text.add(_field(_IN, "image"), f"addi {_IN}, {_IN}, {(self.words - 1) * 4 * s.pixel}")
        text.add(f"sub {_IN}, {_IN}, t1", _field("t1", "result_bytes"), "li t0, 1", "sub t1, t0, t1")
        self.keep("result_next", "t1")
        text.add(_field(_END, "result"), f"sub {_END}, {_END}, t1")
        text.add(f"li {_IN_PITCH}, {4 * s.pixel * s.words}", f"li {_OUT_PITCH}, {s.columns * s.channels}")
        text.add(f"li {_HALVES}, 0x00020001")
        if self.constant:
            text.add(f"li {_ZERO_POINT}, {self.constant}")

    def loop_over_rows_of_sums(self) -> None:
        """Write a loop over as many rows of results as there are rows of sums, which take turns.

        Where the number of rows leaves the same rest in all tiles, the loop is entered so far in that it ends
        with the last row; else each row asks whether it is the last one.
        """
        text, s = self.text, self.s
        if self.entry:
            text.add("j 4f")
        text.add("2:")
        for row in range(s.rows_of_sums):
            text.add(*(["4:"] if row and row == self.entry else []))
            self.image_rows(row)
            self.requantize(row)
            if row == s.rows_of_sums - 1:
                text.add(f"bne {_OUT}, {_END}, 2b")
            elif not self.ends_with_loop:
                text.add(f"beq {_OUT}, {_END}, 3f")

    def loop_over_rows(self) -> None:
        """Write a hardware loop over the rows of results, from one to the next of which the sums move."""
        text = self.text
        self.add_bias(0, 0)
        rows = self.fetch("rows", "t0")
        start = len(text.lines)
        self.image_rows(0)
        self.requantize(0)
        self.move_sums()
        text.lines.insert(start, f"LP_SETUP(0, {rows}, {len(text.lines) - start}, 2)")
        text.lines.insert(-1, "2:")

    def image_rows(self, row: int) -> None:
        """Add the last rows of the image that a row of results needs."""
        s = self.s
        for above in range(s.strides[0], 0, -1):
            self.image_row(row * s.strides[0] + s.kernel[0] - above)

    def start_channel(self) -> None:
        """Load what belongs to a channel."""
        text, s, e = self.text, self.s, self.e
        weight, at = self.fetch("weight", "t0"), self.fetch("bias", "t1")
        text.add(*(f"P_LW({_WEIGHTS[i]}, 4, {weight})" for i in range(s.kernel[0])))
        self.keep("weight", weight)
        bias = "t0" if self.e.folds_bias else _CONSTANT
        text.add(f"P_LW({bias}, 4, {at})")
        self.keep("bias", at)
        vectors = (_MULTIPLIER, _SHIFT) if e.own_shifts else (_MULTIPLIER,)
        for number, register in enumerate(vectors, 1):
            text.add(*_load_at(register, number * e.multipliers - 4, at))
        text.add(f"add {_IN}, {_IN}, {self.fetch('image_next', 't1')}")
        text.add(f"add {_OUT}, {_END}, {self.fetch('result_next', 't1')}", f"addi {_END}, {_END}, 1")
        if s.strides[1] == 1:  # the windows of the second and fourth column start in a word's second byte
            text.add(*(f"slli {_WEIGHTS[3 + i]}, {_WEIGHTS[i]}, 8" for i in range(s.kernel[0])))
        if self.e.folds_bias:  # what the product of a sum, without bias, is added to
            text.add(f"li {_CONSTANT}, {e.zero_point << e.shift}", f"P_MAC({_CONSTANT}, t0, {_MULTIPLIER})")
        elif e.own_shifts:
            text.add(*prepare_channel(_MULTIPLIER, _SHIFT, e.rounding))
        elif e.short:
            text.add(f"PV_PACK_H({_MULTIPLIER}, {_MULTIPLIER}, {_MULTIPLIER})")

    def image_row(self, row: int, first: int = 0) -> None:
        """Add a row's products to the sums of its windows, which begin with a row of sums."""
        s, text = self.s, self.text
        rows = []  # rows of sums that it belongs to, and its row in their windows
        for result in range(row // s.strides[0] + 1):
            tap = row - result * s.strides[0]
            if 0 <= tap < s.kernel[0]:
                rows.append(((result + first) % s.rows_of_sums, tap))
        words = _WORDS[: self.words]
        pixel = 4 * s.pixel
        text.add(*(f"lw {w}, {(i - self.words + 1) * pixel}({_IN})" for i, w in enumerate(words[:-1])))
        text.add(f"P_LWR({words[-1]}, {_IN_PITCH}, {_IN})")
        straddles = False
        for column in range(self.width):
            number, byte = divmod(column * s.strides[1], 4)
            if byte >= 2 and not straddles:
                text.add(self.straddle(number))
            straddles = byte >= 2
            for sums, tap in rows:
                weight = _WEIGHTS[tap + (3 if byte % 2 else 0)]
                dot = "PV_DOTUSP_B" if tap == 0 else "PV_SDOTUSP_B"
                text.add(f"{dot}({_SUMS[STRIP * sums + column]}, {words[number]}, {weight})")

    def straddle(self, number: int) -> str:
        """Return the instruction that puts a word's upper half below the lower half of the next one."""
        word = _WORDS[number]
        if number + 1 == self.words:
            return f"srli {word}, {word}, 16"
        return f"PV_SHUFFLE2_H({word}, {_WORDS[number + 1]}, {_HALVES})"

    def row_of_sums(self, row: int) -> tuple[str, ...]:
        """Return the registers of a row of sums."""
        return _SUMS[STRIP * row : STRIP * row + self.width]

    def add_bias(self, to: int, row: int) -> None:
        """Add the bias to a row of sums, with the results in another one."""
        places = zip(self.row_of_sums(to), self.row_of_sums(row), strict=True)
        self.text.add(*(f"add {result}, {total}, {_CONSTANT}" for result, total in places))

    def move_sums(self) -> None:
        """Make each row of sums the one before it; the first one, whose results come next, gets its bias."""
        self.add_bias(0, 1)
        for row in range(2, self.s.rows_of_sums):
            places = zip(self.row_of_sums(row - 1), self.row_of_sums(row), strict=True)
            self.text.add(*(f"mv {to}, {total}" for to, total in places))

    def requantize(self, row: int) -> None:
        """Turn a row of sums into bytes and store them, the first column last: that moves the pointer on."""
        text, e = self.text, self.e
        sums = self.row_of_sums(row)
        if not (self.e.folds_bias or e.halfword or self.moves_sums):
            self.add_bias(row, row)
        if e.own_shifts:
            for total in sums:
                text.add(*scale_sum(total, _MULTIPLIER, _SHIFT, "t0", e.rounding, negative=e.negative))
                text.add(*([f"addi {total}, {total}, {e.zero_point}"] if e.zero_point else []))
                text.add(f"P_CLIPU({total}, {total}, 9)")
        elif e.halfword:
            text.add(*(f"P_ADDRN({total}, {total}, {_CONSTANT}, {e.first_shift})" for total in sums))
            text.add(*(f"P_MULS_ROUND({total}, {total}, {_MULTIPLIER}, {e.shift})" for total in sums))
            if e.zero_point:
                text.add(*(f"addi {total}, {total}, {e.zero_point}" for total in sums))
            text.add(*(f"P_CLIPU({total}, {total}, 9)" for total in sums))
        elif e.short:
            for i, total in enumerate(sums):
                value = ("t0", "t1")[i % 2]
                text.add(f"P_MULU_SHIFT({value}, {total}, {_MULTIPLIER}, 16)")
                text.add(f"P_MACHHS_ROUND({value}, {total}, {_MULTIPLIER}, {e.shift - 16})")
                text.add(*([f"addi {value}, {value}, {e.zero_point}"] if e.zero_point else []))
                text.add(f"P_CLIPU({total}, {value}, 9)")
        else:
            product, added, shift = "mul", _CONSTANT, e.shift
            if not e.narrow:
                product, added, shift = "mulh", _ZERO_POINT if self.constant else "zero", e.shift - 32
            text.add(*(f"{product} {total}, {total}, {_MULTIPLIER}" for total in sums))
            for total in sums:
                if e.rounding == HALF_EVEN:
                    text.add(*round_half_even(total, _ZERO_POINT if self.constant else "zero", "t0", e.shift))
                else:
                    text.add(f"P_ADDRN({total}, {total}, {added}, {shift})")
            text.add(*(f"P_CLIPU({total}, {total}, 9)" for total in sums))
        for name, bound, neutral in (("MAX", e.low, 0), ("MIN", e.high, 255)):
            if bound != neutral:
                text.add(f"li t0, {bound}", *(f"P_{name}({total}, {total}, t0)" for total in sums))
        for column in range(1, self.width):
            text.add(f"sb {sums[column]}, {column * self.s.channels}({_OUT})")
        text.add(f"P_SBR({sums[0]}, {_OUT_PITCH}, {_OUT})")


def _field(register: str, name: str) -> str:
    return f"lw {register}, {4 * _FIELDS.index(name)}(a0)"


def _place(name: str) -> int:
    return 4 * (len(_SAVED) + _FROM_CHANNEL_TO_CHANNEL.index(name))


def _load_at(register: str, offset: int, pointer: str) -> list[str]:
    """Return instructions that load a word at any distance from a pointer, which stays."""
    if offset <= LARGEST_IMMEDIATE:
        return [f"lw {register}, {offset}({pointer})"]
    lines = [f"li {register}, {offset}", f"add {register}, {register}, {pointer}"]
    return [*lines, f"lw {register}, 0({register})"]
