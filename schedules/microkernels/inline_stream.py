"""Streams as inline functions of C around one assembly statement.

Where a stream is short, what a call costs matters: the fields of its struct, registers to save, the return.
The C compiler keeps the fields of a struct that nothing else sees in registers, and those registers that the
statement takes free.
"""

from __future__ import annotations

from functools import lru_cache

from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.stream import segment_lines
from tvm_pulp.schedules.microkernels.stream_definition import Stream
from tvm_pulp.schedules.microkernels.stream_registers import assign_registers

_COUNTER = "%[counter]"
_OTHERS = 1
"""Registers that the compiler has for what is neither a value of the loop nor an operand."""


@lru_cache(maxsize=256)
def inline_stream(stream: Stream) -> str:
    """Return C of ``static inline void name(struct stream *)``, for streams without masks.

    Registers of values within the loop are fixed, all others are the compiler's choice.

    Raises
    ------
    ValueError
        Where there are not enough registers.
    """
    fields = _fields(stream)
    registers = assign_registers(stream, len(fields) + _OTHERS)
    chains = {total: list(dict.fromkeys(registers[total])) for total in stream.sums}
    sums = {total: [f"{total}{n}" for n in range(len(chains[total]))] for total in stream.sums}
    operands = {name: [f"%[{name}]"] * len(registers[name]) for name in (*stream.pointers, *stream.scalars)}
    operands["counter"] = [_COUNTER]
    for total, found in chains.items():
        names = dict(zip(found, sums[total], strict=True))
        operands[total] = [f"%[{names[register]}]" for register in registers[total]]
    fixed = {name: lanes for name, lanes in registers.items() if name not in operands}
    clobbered = sorted({register for lanes in fixed.values() for register in lanes})

    text = AssemblyText()
    text.add(".balign 4", ".option push", ".option norvc")
    text.add(*(f"mv %[{name}], zero" for names in sums.values() for name in names))
    segment = segment_lines(stream, operands | fixed, _COUNTER, f"mv {_COUNTER}, %[length]")
    if stream.single:
        text.add(*segment)
    else:
        *moves, last = (f"add %[{name}], %[{name}], %[skip]" for name in stream.pointers)
        count = sum(1 for line in (*segment, *moves, last) if not line.endswith(":"))
        text.add(f"mv {_COUNTER}, %[segments]", f"LP_SETUP(1, {_COUNTER}, {count}, 6)")
        text.add(*segment, *moves, "6:", last)
    text.add(".option pop")

    lines = [f"static inline void {stream.name}(struct stream *s) {{"]
    lines += [f"  float *{name} = s->at[{i}];" for i, name in enumerate(stream.pointers)]
    lines += [f"  const float {name} = s->scalar[{i}];" for i, name in enumerate(stream.scalars)]
    lines += [f"  float {', '.join(names)};" for names in sums.values()]
    lines += ["  int32_t counter;", "  __asm__ volatile(", str(text)]
    outputs = [f'[{name}] "+r"({name})' for name in stream.pointers]
    written = ["counter", *(name for names in sums.values() for name in names)]
    outputs += [f'[{name}] "=&r"({name})' for name in written]
    inputs = [f'[{name}] "r"(s->{name})' for name in fields]
    inputs += [f'[{name}] "r"({name})' for name in stream.scalars]
    lines += [f"    : {', '.join(outputs)}", f"    : {', '.join(inputs)}"]
    lines += [f"    : {', '.join(f'{chr(34)}{register}{chr(34)}' for register in (*clobbered, 'memory'))});"]
    lines += [f"  s->sum[{i}] = {_tree(names)};" for i, names in enumerate(sums.values())]
    return "\n".join([*lines, "}"])


def fits_inline(stream: Stream) -> bool:
    """Tell whether an inline function has registers for two chains of each sum: one would be long."""
    try:
        registers = assign_registers(stream, len(_fields(stream)) + _OTHERS)
    except ValueError:
        return False
    return all(len(set(registers[total])) > 1 for total in stream.sums)


def _fields(stream: Stream) -> list[str]:
    """Return the fields of the struct that the loops need."""
    return ["length"] if stream.single else ["length", "segments", "skip"]


def _tree(terms: list[str]) -> str:
    """Return the sum of terms, added in pairs."""
    while len(terms) > 1:
        terms = [f"({a} + {b})" for a, b in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0].removeprefix("(").removesuffix(")") if "+" in terms[0] else terms[0]
