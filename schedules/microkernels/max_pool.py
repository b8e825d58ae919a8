"""C of maximum pooling of images in L1, forward and backward, images or rows shared out over the workers.

Where a window reaches beyond the image, the taps outside are replaced by the nearest element inside: it is in
the window, too, so that the maximum and the first element that it is found at stay the same.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MaxPoolSettings:
    """Extents (height, width) of an image, of its result and of the window; strides, padding before."""

    image: tuple[int, int]
    pooled: tuple[int, int]
    window: tuple[int, int]
    strides: tuple[int, int]
    before: tuple[int, int]

    @property
    def inside(self) -> tuple[int, int]:
        """First column of the result with its whole window in the image, and the one after the last."""
        first = -(-self.before[1] // self.strides[1])
        last = (self.image[1] - self.window[1] + self.before[1]) // self.strides[1] + 1
        first = min(first, self.pooled[1])
        return first, max(first, min(last, self.pooled[1]))

    @property
    def phases(self) -> int:
        """Rows of windows from one to the next that has no element in common with it."""
        return -(-self.window[0] // self.strides[0])

    @property
    def is_partition(self) -> bool:
        """Whether every element of the image is in one window."""
        covered = tuple(n * step for n, step in zip(self.pooled, self.strides, strict=True))
        return self.strides == self.window and self.before == (0, 0) and covered == self.image


def max_pool_source(settings: MaxPoolSettings) -> str:
    """Return the C of ``max_pool_forward``."""
    s = settings
    first, last = s.inside
    value = _tree([f"row{r}[column + {c}]" for r in range(s.window[0]) for c in range(s.window[1])])
    edge = _tree([f"row{r}[column{c}]" for r in range(s.window[0]) for c in range(s.window[1])])
    return f"""\
/* Rows of results of all images are shared out. */
static void max_pool_forward(int worker, int32_t images, const float *data, float *output) {{
  const int32_t end = pulp_chunk(worker + 1, PULP_CORES, images * {s.pooled[0]});
  for (int32_t i = pulp_chunk(worker, PULP_CORES, images * {s.pooled[0]}); i < end; ++i) {{
    const int32_t number = i / {s.pooled[0]}, y = i - number * {s.pooled[0]};
    const float *const image = data + number * {s.image[0] * s.image[1]};
    float *const result = output + i * {s.pooled[1]};
    const int32_t top = y * {s.strides[0]} - {s.before[0]};
{_row_pointers(s)}
{_edges(s, 0, first, f"result[x] = {edge};")}\
    for (int32_t x = {first}, column = {first * s.strides[1] - s.before[1]}; x < {last};
         ++x, column += {s.strides[1]})
      result[x] = {value};
{_edges(s, last, s.pooled[1], f"result[x] = {edge};")}\
  }}
}}"""


def max_pool_gradient_source(settings: MaxPoolSettings) -> str:
    """Return the C of ``max_pool_clear`` and ``max_pool_backward``.

    The first of a window's largest elements takes its gradient. Where windows share elements, all is cleared
    first, and rows of windows that may share elements belong to different phases, with barriers between.
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
{_every_tap(s) if s.is_partition else _largest_tap(s)}\
  }}
}}"""
    return backward if s.is_partition else f"{_clear(area)}\n\n{backward}"


def _clear(area: int) -> str:
    return f"""\
static void max_pool_clear(int worker, int32_t images, float *at) {{
  const int32_t end = pulp_chunk(worker + 1, PULP_CORES, images * {area});
  int32_t i = pulp_chunk(worker, PULP_CORES, images * {area});
  for (; i + 4 <= end; i += 4)
    at[i] = 0.0f, at[i + 1] = 0.0f, at[i + 2] = 0.0f, at[i + 3] = 0.0f;
  for (; i < end; ++i) at[i] = 0.0f;
}}"""


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


def _largest_tap(s: MaxPoolSettings) -> str:
    """Return the loops over windows that may share elements, which add up what they get."""
    first, last = s.inside
    taps = [(r, c) for r in range(s.window[0]) for c in range(s.window[1])]

    def search(separator: str) -> str:
        at = [(r, f"column{separator}{c}") for r, c in taps]
        lines = [f"const float largest = {_tree([f'row{r}[{c}]' for r, c in at])};", "int32_t place;"]
        lines += [f"if (row{r}[{c}] == largest) place = offset{r} + {c}; else" for r, c in at[:-1]]
        lines += [f"place = offset{at[-1][0]} + {at[-1][1]};", "result[place] += gradient[x];"]
        return "\n        ".join(lines)

    return f"""\
{_edges(s, 0, first, search(""))}\
      for (int32_t x = {first}, column = {first * s.strides[1] - s.before[1]}; x < {last};
           ++x, column += {s.strides[1]}) {{
        {search(" + ")}
      }}
{_edges(s, last, s.pooled[1], search(""))}\
"""


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
