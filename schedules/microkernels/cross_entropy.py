"""C of softmax-cross-entropy: loss and gradient of rows of logits in L1, shared out over the workers.

A row is done by one worker, or by a team of several where there are fewer rows than workers. All exponentials
of a row are computed once, and one reciprocal of their sum.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CrossEntropySettings:
    """What is computed.

    Attributes
    ----------
    classes : int
        Logits of a row.
    scale : float
        Factor of the sum of losses.
    loss, gradient : bool
        Which results there are.
    parts : int
        Workers that share a row.
    """

    classes: int
    scale: float
    loss: bool
    gradient: bool
    parts: int


_TEAM = """\
  const int32_t part = worker % PARTS, team = worker / PARTS, teams = PULP_CORES / PARTS;
  if (team >= teams) return;
  const int32_t begin = pulp_chunk(team, teams, rows), end = pulp_chunk(team + 1, teams, rows);"""
_SHARE = """\
  const int32_t first = pulp_chunk(part, PARTS, CLASSES), last = pulp_chunk(part + 1, PARTS, CLASSES);"""


def cross_entropy_source(settings: CrossEntropySettings) -> str:
    """Return the C of ``cross_entropy_exponentials``, ``cross_entropy_results`` and ``cross_entropy_loss``.

    The first is followed by a barrier if a row is shared, the second by one before the third.
    """
    s = settings
    exponential = "gradient[row * CLASSES + c] = " if s.gradient else ""
    exponentials = ", float *gradient" if s.gradient else ""
    results = ", float *gradient" if s.gradient else ""
    results += ", float *losses" if s.loss else ""
    parts = [
        f"""\
enum {{ CLASSES = {s.classes}, PARTS = {s.parts} }};

static float cross_entropy_largest(const float *x) {{
  float top = x[0], other = x[0];
  int32_t c = 0;
  for (; c + 4 <= CLASSES; c += 4) {{
    const float a = x[c], b = x[c + 1], d = x[c + 2], e = x[c + 3];
    top = __builtin_fmaxf(top, a), other = __builtin_fmaxf(other, b);
    top = __builtin_fmaxf(top, d), other = __builtin_fmaxf(other, e);
  }}
  for (; c < CLASSES; ++c) top = __builtin_fmaxf(top, x[c]);
  return __builtin_fmaxf(top, other);
}}

/* Exponentials of the logits less a row's largest, which goes to `largest`; sums of each part to `totals`. */
static void cross_entropy_exponentials(int worker, int32_t rows, const float *logits, float *totals,
                                       float *largest{exponentials}) {{
{_TEAM}
{_SHARE}
  for (int32_t row = begin; row < end; ++row) {{
    const float *x = logits + row * CLASSES;
    const float top = cross_entropy_largest(x);
    float total = 0.0f;
    for (int32_t c = first; c < last; ++c) total += {exponential}pulp_exp_negativef(x[c] - top);
    totals[row * PARTS + part] = total;
    if (part == 0) largest[row] = top;
  }}
}}""",
        f"""\
/* The rest: losses, added up by each worker from tile to tile, gradients in the place of the exponentials.
 * A label that is no class counts as none, and reads and writes nothing. */
static void cross_entropy_results(int worker, int32_t rows, int32_t tile, const float *logits,
                                  const int32_t *labels, const float *totals,
                                  const float *largest{results}) {{
  (void)tile, (void)logits, (void)largest;
{_losses_start(s)}{_TEAM}
{_SHARE if s.gradient else ""}
  for (int32_t row = begin; row < end; ++row) {{
    float total = 0.0f;
    for (int32_t i = 0; i < PARTS; ++i) total += totals[row * PARTS + i];
    const int32_t label = labels[row];
{_loss(s)}{_gradient(s)}  }}
}}""",
    ]
    if s.loss:
        parts.append(f"""\
/* The sum of the workers' losses. */
static void cross_entropy_loss(int worker, const float *losses, float *loss) {{
  if (worker) return;
  float total = 0.0f;
  for (int i = 0; i < PULP_CORES; ++i) total += losses[i];
  *loss = total * {s.scale!r}f;
}}""")
    return "\n\n".join(parts)


def _losses_start(s: CrossEntropySettings) -> str:
    return "  if (tile == 0) losses[worker] = 0.0f;\n" if s.loss else ""


def _loss(s: CrossEntropySettings) -> str:
    if not s.loss:
        return ""
    return """\
    if (part == 0) {
      const float chosen = (uint32_t)label < CLASSES ? logits[row * CLASSES + label] : 0.0f;
      losses[worker] += pulp_logf(total) + (largest[row] - chosen);
    }
"""


def _gradient(s: CrossEntropySettings) -> str:
    if not s.gradient:
        return ""
    return f"""\
    const float factor = {s.scale!r}f * pulp_reciprocalf(total);
    float *const g = gradient + row * CLASSES;
    int32_t c = first;
    for (; c + 4 <= last; c += 4) {{
      const float a = g[c], b = g[c + 1], d = g[c + 2], e = g[c + 3];
      g[c] = a * factor, g[c + 1] = b * factor, g[c + 2] = d * factor, g[c + 3] = e * factor;
    }}
    for (; c < last; ++c) g[c] *= factor;
    if (label >= first && label < last) g[label] -= {s.scale!r}f;
"""
