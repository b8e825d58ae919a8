"""The assembly of a strip of a quantised depthwise convolution, see `quantized_depthwise`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.microkernels.assembly import AssemblyText, add_constant
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
_FRAME = 80
_RUN = 60

_FIELDS = ("image", "result", "weight", "bias", "channels", "result_bytes")


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

    def write(self) -> str:
        """Return C with the function."""
        text, s, name = self.text, self.s, f"depthwise_strip_{self.width}"
        text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
        text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
        text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)), f"sw a0, {_RUN}(sp)")
        text.add(f"li {_IN_PITCH}, {4 * s.pixel * s.words}", f"li {_OUT_PITCH}, {s.columns * s.channels}")
        text.add(f"li {_HALVES}, 0x00020001")
        text.add("1:")
        self.start_channel()
        for row in range(s.kernel[0] - s.strides[0]):
            self.image_row(row)
        if self.moves_sums:
            self.add_bias(0, 0)
        text.add("2:")
        rows = 1 if self.moves_sums else s.rows_of_sums
        for row in range(rows):
            for above in range(s.strides[0], 0, -1):
                self.image_row(row * s.strides[0] + s.kernel[0] - above)
            self.requantize(row)
            if self.moves_sums:
                self.move_sums()
            branch = "beq" if row < rows - 1 else "bne"
            text.add(f"{branch} {_OUT}, {_END}, {'3f' if branch == 'beq' else '2b'}")
        text.add(
            "3:", f"lw a0, {_RUN}(sp)", _field("a1", "channels"), "addi a1, a1, -1", _set("a1", "channels")
        )
        text.add("bnez a1, 1b")
        text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
        text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {name}, .-{name}", ".option pop", ".popsection")
        return f"void {name}(struct depthwise_run *);\n__asm__(\n{text}\n);"

    def start_channel(self) -> None:
        """Load what belongs to a channel, and move the run's pointers on to the next one."""
        text, s, e = self.text, self.s, self.e
        text.add(f"lw a0, {_RUN}(sp)")
        text.add(_field(_IN, "image"), _field(_OUT, "result"), _field("t0", "weight"), _field("t1", "bias"))
        text.add(f"addi t2, {_IN}, 4", _set("t2", "image"), f"addi t2, {_OUT}, 1", _set("t2", "result"))
        text.add(
            f"addi t2, t0, {4 * s.kernel[0]}", _set("t2", "weight"), "addi t2, t1, 4", _set("t2", "bias")
        )
        text.add(*(f"lw {_WEIGHTS[i]}, {4 * i}(t0)" for i in range(s.kernel[0])))
        text.add(_field("t0", "result_bytes"), "lw t2, 0(t1)")
        if e.own_shifts:
            for register in (_MULTIPLIER, _SHIFT):
                text.add(*add_constant("t1", e.multipliers, register), f"lw {register}, 0(t1)")
        elif e.multipliers <= 2047:
            text.add(f"lw {_MULTIPLIER}, {e.multipliers}(t1)")
        else:
            text.add(
                f"li {_MULTIPLIER}, {e.multipliers}", f"add t1, t1, {_MULTIPLIER}", f"lw {_MULTIPLIER}, 0(t1)"
            )
        if s.strides[1] == 1:  # the windows of the second and fourth column start in a word's second byte
            text.add(*(f"slli {_WEIGHTS[3 + i]}, {_WEIGHTS[i]}, 8" for i in range(s.kernel[0])))
        if e.narrow:  # what the product of a sum, without bias, is added to
            text.add(f"li {_CONSTANT}, {e.zero_point << e.shift}")
            text.add(f"P_MAC({_CONSTANT}, t2, {_MULTIPLIER})")
        else:
            text.add(f"mv {_CONSTANT}, t2")
            if e.own_shifts:
                text.add(*prepare_channel(_MULTIPLIER, _SHIFT, e.rounding))
            elif e.short:
                text.add(f"PV_PACK_H({_MULTIPLIER}, {_MULTIPLIER}, {_MULTIPLIER})")
            elif e.zero_point:
                text.add(f"li {_ZERO_POINT}, {e.zero_point << (e.shift - 32)}")
        text.add(f"add {_END}, {_OUT}, t0")
        if self.words > 1:  # the pointer is at the last word, whose load moves it on
            text.add(f"addi {_IN}, {_IN}, {(self.words - 1) * 4 * s.pixel}")

    def image_row(self, row: int) -> None:
        """Add a row's products to the sums of its windows."""
        s, text = self.s, self.text
        rows = []  # rows of sums that it belongs to, and its row in their windows
        for result in range(row // s.strides[0] + 1):
            tap = row - result * s.strides[0]
            if 0 <= tap < s.kernel[0]:
                rows.append((result % s.rows_of_sums, tap))
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
        if not e.narrow and not self.moves_sums:
            self.add_bias(row, row)
        if e.own_shifts:
            for total in sums:
                text.add(*scale_sum(total, _MULTIPLIER, _SHIFT, "t0", e.rounding, negative=e.negative))
                text.add(*([f"addi {total}, {total}, {e.zero_point}"] if e.zero_point else []))
                text.add(f"P_CLIPU({total}, {total}, 9)")
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
                product, added, shift = "mulh", _ZERO_POINT if e.zero_point else "zero", e.shift - 32
            text.add(*(f"{product} {total}, {total}, {_MULTIPLIER}" for total in sums))
            text.add(*(f"P_ADDRN({total}, {total}, {added}, {shift})" for total in sums))
            text.add(*(f"P_CLIPU({total}, {total}, 9)" for total in sums))
        for name, bound, neutral in (("MAX", e.low, 0), ("MIN", e.high, 255)):
            if bound != neutral:
                text.add(f"li t0, {bound}", *(f"P_{name}({total}, {total}, t0)" for total in sums))
        for column in range(1, self.width):
            text.add(f"sb {sums[column]}, {column * self.s.channels}({_OUT})")
        text.add(f"P_SBR({sums[0]}, {_OUT_PITCH}, {_OUT})")


def _field(register: str, name: str) -> str:
    return f"lw {register}, {4 * _FIELDS.index(name)}(a0)"


def _set(register: str, name: str) -> str:
    return f"sw {register}, {4 * _FIELDS.index(name)}(a0)"
