"""C of maximum pooling of images in L1, forward and backward, images or rows shared out over the workers.

Where a window reaches beyond the image, the taps outside are replaced by the nearest element inside: it is in
the window, too, so that the maximum and the first element that it is found at stay the same.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.max_pool_assembly import clear_loop, forward_loop, gradient_loop
from tvm_pulp.schedules.microkernels.max_pool_settings import MaxPoolSettings


def max_pool_source(settings: MaxPoolSettings, *, assembly: bool) -> str:
    """Return the C of ``max_pool_forward``.

    Parameters
    ----------
    settings
        Sizes.
    assembly
        Whether the target has Xpulp.
    """
    s = settings
    first, last = s.inside
    value = _tree([f"row{r}[column + {c}]" for r in range(s.window[0]) for c in range(s.window[1])])
    edge = _tree([f"row{r}[column{c}]" for r in range(s.window[0]) for c in range(s.window[1])])
    windows = f"""\
{_edges(s, 0, first, f"result[x] = {edge};")}\
    for (int32_t x = {first}, column = {first * s.strides[1] - s.before[1]}; x < {last};
         ++x, column += {s.strides[1]})
      result[x] = {value};
{_edges(s, last, s.pooled[1], f"result[x] = {edge};")}\
"""
    if assembly and s.fits_registers:
        windows = _choice(_fast_windows(s, forward=True), windows)
    head = '#include "pulp_assembly.h"\n\n' if assembly else ""
    return f"""\
{head}/* Rows of results of all images are shared out. */
static void max_pool_forward(int worker, int32_t images, const float *data, float *output) {{
  const int32_t end = pulp_chunk(worker + 1, PULP_CORES, images * {s.pooled[0]});
  for (int32_t i = pulp_chunk(worker, PULP_CORES, images * {s.pooled[0]}); i < end; ++i) {{
    const int32_t number = i / {s.pooled[0]}, y = i - number * {s.pooled[0]};
    const float *const image = data + number * {s.image[0] * s.image[1]};
    float *const result = output + i * {s.pooled[1]};
    const int32_t top = y * {s.strides[0]} - {s.before[0]};
{_row_pointers(s)}
{windows}\
  }}
}}"""


def max_pool_gradient_source(settings: MaxPoolSettings, *, assembly: bool) -> str:
    """Return the C of ``max_pool_clear`` and ``max_pool_backward``.

    The first of a window's largest elements takes its gradient. Where windows share elements, all is cleared
    first, and rows of windows that may share elements belong to different phases, with barriers between.

    Parameters
    ----------
    settings
        Sizes.
    assembly
        Whether the target has Xpulp.
    """
    s = settings
    area = s.image[0] * s.image[1]
    backward = f"""\
/* Each {s.phases}. row of windows of all images, from row `phase` on; these rows are shared out. */
static void max_pool_backward(int worker, int32_t images, int32_t phase, const float *data,
                              const float *output_gradient, float *data_gradient) {{
  const int32_t rows = ({s.pooled[0]} - phase + {s.phases - 1}) / {s.phases};
  const int32_t end = pulp_chunk(worker + 1, PULP_CORES, images * rows);
  for (int32_t i = pulp_chunk(worker, PULP_CORES, images * rows); i < end; ++i) {{
    const int32_t number = i / rows, y = (i - number * rows) * {s.phases} + phase;
    const float *const image = data + number * {area};
    float *const result = data_gradient + number * {area};
    const float *const gradient = output_gradient + (number * {s.pooled[0]} + y) * {s.pooled[1]};
    const int32_t top = y * {s.strides[0]} - {s.before[0]};
{_row_pointers(s)}
{_every_tap(s) if s.is_partition else _largest_tap(s, assembly)}\
  }}
}}"""
    if s.is_partition and assembly and s.fits_registers:
        backward = _choice(_fast_partition(s), f"{backward}\n")
    head = ['#include "pulp_assembly.h"'] if assembly else []
    clear = [] if s.is_partition else [_clear(area, assembly)]
    return "\n\n".join([*head, *clear, backward])


def _choice(fast: str, plain: str) -> str:
    """Return assembly, or C where the target of the compilation has none."""
    return f"#if PULP_ASSEMBLY\n{fast}#else\n{plain}#endif\n"


@dataclass(frozen=True)
class _Run:
    """Windows side by side that have the same columns in the image."""

    first: int
    count: int
    low: int
    high: int


def _runs(s: MaxPoolSettings) -> list[_Run]:
    """Return the windows of a row: those with all columns in the image together, the others one by one."""
    first, last = s.inside
    runs = [_Run(first, last - first, 0, s.window[1])]
    for x in (*range(first), *range(last, s.pooled[1])):
        left = x * s.strides[1] - s.before[1]
        runs.append(_Run(x, 1, max(0, -left), min(s.window[1], s.image[1] - left)))
    return runs


def _fast_windows(s: MaxPoolSettings, forward: bool) -> str:
    """Return the work on a row of windows in assembly; a window at an edge goes without what is outside."""
    text = ""
    for run in _runs(s):
        column = run.first * s.strides[1] - s.before[1] + run.low
        rows = " ".join(f"const float *from{r} = row{r} + {column};" for r in range(s.window[0]))
        shape = s.window[0], run.high - run.low, s.strides[1]
        if forward:
            lines = [f"float *to = result + {run.first};", rows, forward_loop(*shape)]
        else:
            lines = [
                f"const float *from = gradient + {run.first};",
                rows,
                gradient_loop(*shape, partition=False),
            ]
        body = textwrap.indent("\n".join([f"const int32_t count = {run.count};", *lines]), "      ")
        text += f"    {{\n{body}\n    }}\n"
    if forward:
        return text
    numbers = ["four = 4", "away = (int32_t)((uintptr_t)result - (uintptr_t)image)"]
    numbers += [f"apart{r} = 4 * (offset{r} - offset{r - 1})" for r in range(1, s.window[0])]
    return f"    const int32_t {', '.join(numbers)};\n{text}"


def _fast_partition(s: MaxPoolSettings) -> str:
    """Return the gradient where windows share no element: rows of windows follow each other in all images."""
    wide = s.image[1]
    starts = [
        f"const float *from{r} = data + (begin * {s.window[0]} + {r}) * {wide};\n"
        f"  float *to{r} = data_gradient + (begin * {s.window[0]} + {r}) * {wide};"
        for r in range(s.window[0])
    ]
    apart = [f"const int32_t apart{r} = {4 * wide};" for r in range(1, s.window[0])]
    lines = "\n  ".join([*starts, *apart])
    loop = textwrap.indent(gradient_loop(*s.window, s.strides[1], partition=True), "  ")
    return f"""\
/* The windows of all images; their rows are shared out. */
static void max_pool_backward(int worker, int32_t images, int32_t phase, const float *data,
                              const float *output_gradient, float *data_gradient) {{
  const int32_t begin = pulp_chunk(worker, PULP_CORES, images * {s.pooled[0]});
  const int32_t strips = pulp_chunk(worker + 1, PULP_CORES, images * {s.pooled[0]}) - begin;
  const int32_t count = {s.pooled[1]}, skip = {4 * wide * (s.window[0] - 1)};
  const int32_t four = 4, away = (int32_t)((uintptr_t)data_gradient - (uintptr_t)data);
  const float *from = output_gradient + begin * {s.pooled[1]};
  {lines}
  (void)phase;
  if (strips == 0) return;
{loop}
}}
"""


def _clear(area: int, assembly: bool) -> str:
    zeros = """\
  for (; i + 4 <= end; i += 4)
    at[i] = 0.0f, at[i + 1] = 0.0f, at[i + 2] = 0.0f, at[i + 3] = 0.0f;
  for (; i < end; ++i) at[i] = 0.0f;
"""
    if assembly:
        fast = textwrap.indent(clear_loop(), "  ")
        zeros = _choice(
            f"  float *to = at + i;\n  const int32_t count = end - i;\n  if (count > 0)\n{fast}\n", zeros
        )
    return f"""\
static void max_pool_clear(int worker, int32_t images, float *at) {{
  const int32_t end = pulp_chunk(worker + 1, PULP_CORES, images * {area});
  int32_t i = pulp_chunk(worker, PULP_CORES, images * {area});
{zeros}}}"""


def _every_tap(s: MaxPoolSettings) -> str:
    """Return the loop over windows that share no element: each writes all its elements, without a branch."""
    taps = [(r, c) for r in range(s.window[0]) for c in range(s.window[1])]
    values = ", ".join(f"v{n} = row{r}[column + {c}]" for n, (r, c) in enumerate(taps))
    lines = []
    for n, (r, c) in enumerate(taps[:-1]):
        lines.append(f"part = rest & -(int32_t)(v{n} == largest), rest ^= part;")
        lines.append(f"result[offset{r} + column + {c}] = pulp_int_as_float(part);")
    r, c = taps[-1]
    lines.append(f"result[offset{r} + column + {c}] = pulp_int_as_float(rest);")
    text = "\n        ".join(lines)
    return f"""\
      for (int32_t x = 0, column = 0; x < {s.pooled[1]}; ++x, column += {s.strides[1]}) {{
        const float {values};
        const float largest = {_tree([f"v{n}" for n in range(len(taps))])};
        int32_t rest = pulp_float_as_int(gradient[x]), part; /* bits of what no element has taken yet */
        {text}
      }}
"""


def _largest_tap(s: MaxPoolSettings, assembly: bool) -> str:
    """Return the loops over windows that may share elements, which add up what they get."""
    first, last = s.inside
    taps = [(r, c) for r in range(s.window[0]) for c in range(s.window[1])]

    def search(separator: str) -> str:
        at = [(r, f"column{separator}{c}") for r, c in taps]
        lines = [f"const float largest = {_tree([f'row{r}[{c}]' for r, c in at])};", "int32_t place;"]
        lines += [f"if (row{r}[{c}] == largest) place = offset{r} + {c}; else" for r, c in at[:-1]]
        lines += [f"place = offset{at[-1][0]} + {at[-1][1]};", "result[place] += gradient[x];"]
        return "\n        ".join(lines)

    windows = f"""\
{_edges(s, 0, first, search(""))}\
      for (int32_t x = {first}, column = {first * s.strides[1] - s.before[1]}; x < {last};
           ++x, column += {s.strides[1]}) {{
        {search(" + ")}
      }}
{_edges(s, last, s.pooled[1], search(""))}\
"""
    return _choice(_fast_windows(s, forward=False), windows) if assembly and s.fits_registers else windows


def _row_pointers(s: MaxPoolSettings) -> str:
    lines = []
    for r in range(s.window[0]):
        row = _clamped(f"top + {r}", s.image[0], s.before[0] > 0, _overhangs(s, 0))
        lines.append(f"    const int32_t offset{r} = ({row}) * {s.image[1]};")
        lines.append(f"    const float *const row{r} = image + offset{r};")
    return "\n".join(lines)


def _overhangs(s: MaxPoolSettings, axis: int) -> bool:
    """Tell whether the last window reaches beyond the image's end."""
    return (s.pooled[axis] - 1) * s.strides[axis] - s.before[axis] + s.window[axis] > s.image[axis]


def _clamped(position: str, extent: int, below: bool, above: bool) -> str:
    position = f"pulp_max({position}, 0)" if below else position
    return f"pulp_min({position}, {extent - 1})" if above else position


def _edges(s: MaxPoolSettings, first: int, last: int, body: str) -> str:
    """Return the loop over columns of the result whose windows reach beyond the image."""
    if first >= last:
        return ""
    columns = "\n      ".join(
        f"const int32_t column{c} = pulp_min(pulp_max(left + {c}, 0), {s.image[1] - 1});"
        for c in range(s.window[1])
    )
    return f"""\
    for (int32_t x = {first}; x < {last}; ++x) {{
      const int32_t left = x * {s.strides[1]} - {s.before[1]};
      {columns}
      {body}
    }}
"""


def _tree(values: list[str]) -> str:
    """Return the largest of some values, in pairs."""
    while len(values) > 1:
        pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
        values = [f"__builtin_fmaxf({', '.join(pair)})" if len(pair) == 2 else pair[0] for pair in pairs]
    return values[0]
