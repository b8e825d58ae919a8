"""Products of bytes with short sums: the weights of four columns stay in registers, rows pass by.

With few words to sum, what stands around a sum in ``dot_panel`` takes longer than the sum. Here weights,
biases and multipliers of four columns are loaded once for all rows of a worker; a row then takes the loads of
its words, the products, the requantisation by half words and one store.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE, AssemblyText, add_constant
from tvm_pulp.schedules.microkernels.dot_panel import Epilogue

COLUMNS = 4
"""That stay in registers together."""
_MOST_WORDS = 4
_PANEL = "stationary_panel"
_A, _B, _BIAS, _C, _ROWS, _GROUPS = "a0", "a1", "a2", "a3", "a4", "a5"
_WORDS = ("a5", "a6")
_SUMS = ("t3", "t4", "t5", "t6")
_HELD = "t0 t1 t2 a7 s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 ra gp tp a1 a2 a4".split()
"""What holds weights, biases and multipliers: arguments that are kept on the stack, too."""
_SAVED = "s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 ra gp tp".split()
_FRAME = 96
_BIAS_PLACE, _MULTIPLIER_PLACE = 60, 64
_PLACES = dict(zip((_A, _B, _BIAS, _C, _ROWS, _GROUPS), range(68, 92, 4), strict=True))
"""Where the arguments are on the stack."""
_CYCLES_A_GROUP = 27
_CYCLES_A_CALL = 60


@dataclass(frozen=True)
class StationaryPanel:
    """What the code depends on.

    Attributes
    ----------
    words : int
        Of a sum, one to four.
    c_row : int
        Bytes, and columns, of a row of results.
    e : Epilogue
        With `halfword`.
    signed : bool
        Whether the data are int8; else they are uint8.
    """

    words: int
    c_row: int
    e: Epilogue
    signed: bool

    @property
    def spills(self) -> bool:
        """Whether bias and multiplier of the last column find no register."""
        return COLUMNS * (self.words + 2) > len(_HELD)


def is_stationary(words: int, n: int, tile_n: int, e: Epilogue) -> bool:
    """Tell whether the panel takes products of n columns, in tiles of ``tile_n``.

    Four results are stored as an aligned word, and their rows lie at a distance that is known.
    """
    whole = n % tile_n == 0 and tile_n % COLUMNS == 0 and tile_n <= LARGEST_IMMEDIATE
    return e.requantize and e.halfword and words <= _MOST_WORDS and whole


def stationary_cycles(rows: int, n: int, p: StationaryPanel) -> float:
    """Return the cycles of rows x n results of one worker."""
    row = len(_row(p)) + (p.words == 1)  # the use of a load waits
    held = COLUMNS * (p.words + 2)
    return n // COLUMNS * (rows * row + held + _CYCLES_A_GROUP) + _CYCLES_A_CALL


def stationary_source(p: StationaryPanel, *, assembly: bool) -> str:
    """Return C for ``quantized_matmul_tile``, which computes a worker's share of a tile: some of its rows.

    Parameters
    ----------
    p
        The sizes.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    panel = _panel_c(p)
    if assembly:
        panel = (
            f'#include "pulp_assembly.h"\n\n#if PULP_ASSEMBLY\n\n{_assembly(p)}\n\n#else\n\n{panel}\n\n#endif'
        )
    return f"""\
{panel}

/* The share of worker `core` in m x n results: some rows. */
static void quantized_matmul_tile(int core, const void *a, const void *b, const int32_t *bias, void *c,
                                  int32_t m, int32_t n) {{
  const int32_t first = pulp_chunk(core, PULP_CORES, m), rows = pulp_chunk(core + 1, PULP_CORES, m) - first;
  if (rows)
    {_PANEL}((const char *)a + first * {4 * p.words}, b, bias, (char *)c + first * {p.c_row}, rows,
{" " * (5 + len(_PANEL))}n / {COLUMNS});
}}
"""


def _panel_c(p: StationaryPanel) -> str:
    kind = "int8_t" if p.signed else "uint8_t"
    value = p.e.c_value("sum", f"bias[j + {p.e.multipliers // 4}]", "")
    return f"""\
/* Some rows of {COLUMNS} columns after the other. */
static void {_PANEL}(const void *a, const void *b, const int32_t *bias, void *c, int32_t rows,
{" " * (13 + len(_PANEL))}int32_t groups) {{
  for (int32_t i = 0; i < rows; ++i)
    for (int32_t j = 0; j < {COLUMNS} * groups; ++j) {{
      int32_t sum = bias[j];
      for (int32_t k = 0; k < {4 * p.words}; ++k)
        sum += ((const {kind} *)a)[i * {4 * p.words} + k] * ((const int8_t *)b)[j * {4 * p.words} + k];
      ((uint8_t *)c)[i * {p.c_row} + j] = {value};
    }}
}}"""


def _registers(p: StationaryPanel) -> tuple[list[list[str]], list[str], list[str]]:
    """Return what holds the weights of each column, the biases and the multipliers, perhaps not the last."""
    pool = iter(_HELD)
    weights = [[next(pool) for _ in range(p.words)] for _ in range(COLUMNS)]
    kept = COLUMNS - p.spills
    return weights, [next(pool) for _ in range(kept)], [next(pool) for _ in range(kept)]


def _row(p: StationaryPanel) -> list[str]:
    """Return the instructions of a row."""
    weights, biases, multipliers = _registers(p)
    kind, e = "SP" if p.signed else "USP", p.e
    lines = [_load_word(p, word) for word in range(min(2, p.words))]
    for word in range(p.words):
        dot = f"PV_SDOT{kind}_B" if word else f"PV_DOT{kind}_B"
        lines += [f"{dot}({_SUMS[c]}, {_WORDS[word % 2]}, {weights[c][word]})" for c in range(COLUMNS)]
        if word + 2 < p.words:
            lines.append(_load_word(p, word + 2))
    if p.spills:  # the words' registers are free by now
        biases, multipliers = [*biases, _WORDS[0]], [*multipliers, _WORDS[1]]
        lines += [f"lw {_WORDS[0]}, {_BIAS_PLACE}(sp)", f"lw {_WORDS[1]}, {_MULTIPLIER_PLACE}(sp)"]
    lines += [f"P_ADDRN({s}, {s}, {bias}, {e.first_shift})" for s, bias in zip(_SUMS, biases, strict=True)]
    lines += [f"P_MULS_ROUND({s}, {s}, {m}, {e.shift})" for s, m in zip(_SUMS, multipliers, strict=True)]
    lines += [f"addi {s}, {s}, {e.zero_point}" for s in _SUMS if e.zero_point]
    lines += [f"P_CLIPU({s}, {s}, 9)" for s in _SUMS]
    for bound, name, neutral in ((e.low, "MAX", 0), (e.high, "MIN", 255)):
        if bound != neutral:
            lines.append(f"li {_WORDS[0]}, {bound}")
            lines += [f"P_{name}({s}, {s}, {_WORDS[0]})" for s in _SUMS]
    first, second, third, fourth = _SUMS
    lines += [f"PV_PACKLO_B({first}, {second}, {first})", f"PV_PACKHI_B({first}, {fourth}, {third})"]
    return [*lines, f"P_SW({first}, {p.c_row}, {_C})"]


def _load_word(p: StationaryPanel, word: int) -> str:
    """Return the load of a word of the row; the last one, which the pointer points at, moves it on."""
    register, last = _WORDS[word % 2], p.words - 1
    if word == last:
        return f"P_LW({register}, {4 * p.words}, {_A})"
    return f"lw {register}, {4 * (word - last)}({_A})"


def _assembly(p: StationaryPanel) -> str:
    weights, biases, multipliers = _registers(p)
    row, text = _row(p), AssemblyText()
    text.add(f'.pushsection .text.{_PANEL},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {_PANEL}, @function", f"{_PANEL}:", f"addi sp, sp, -{_FRAME}")
    text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(*(f"sw {register}, {place}(sp)" for register, place in _PLACES.items()), "1:")
    weight, bias, multiplier, other = _SUMS  # pointers, until the first row
    text.add(f"lw {weight}, {_PLACES[_B]}(sp)", f"lw {bias}, {_PLACES[_BIAS]}(sp)")
    held = [register for column in weights for register in column]
    text.add(*(f"lw {register}, {4 * i}({weight})" for i, register in enumerate(held)))
    text.add(f"mv {multiplier}, {bias}", *add_constant(multiplier, p.e.multipliers, other))
    for pointer, registers, place in (
        (bias, biases, _BIAS_PLACE),
        (multiplier, multipliers, _MULTIPLIER_PLACE),
    ):
        text.add(*(f"lw {register}, {4 * c}({pointer})" for c, register in enumerate(registers)))
        if p.spills:
            text.add(f"lw {other}, {4 * (COLUMNS - 1)}({pointer})", f"sw {other}, {place}(sp)")
    text.add(f"lw {_A}, {_PLACES[_A]}(sp)", f"lw {_C}, {_PLACES[_C]}(sp)")
    text.add(f"lw {_WORDS[0]}, {_PLACES[_ROWS]}(sp)", f"addi {_A}, {_A}, {4 * (p.words - 1)}")
    text.add(f"LP_SETUP(0, {_WORDS[0]}, {len(row)}, 5)", *row[:-1], "5:", row[-1])
    steps = {_B: 4 * COLUMNS * p.words, _BIAS: 4 * COLUMNS, _C: COLUMNS, _GROUPS: -1}
    some = dict(zip(steps, _SUMS, strict=True))  # the arguments on the stack, of the next four columns
    text.add(*(f"lw {register}, {_PLACES[argument]}(sp)" for argument, register in some.items()))
    text.add(*(f"addi {register}, {register}, {steps[argument]}" for argument, register in some.items()))
    text.add(*(f"sw {register}, {_PLACES[argument]}(sp)" for argument, register in some.items()))
    text.add(f"bnez {some[_GROUPS]}, 1b")
    text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {_PANEL}, .-{_PANEL}", ".option pop", ".popsection")
    return f"""\
/* Some rows of {COLUMNS} columns after the other. */
void {_PANEL}(const void *, const void *, const int32_t *, void *, int32_t, int32_t);
__asm__(
{text}
);"""
