"""The comparison with PyTorch as a table."""

from __future__ import annotations

from tvm_pulp.comparison import CheckReport
from tvm_pulp.reports.table import table


def check_report(report: CheckReport) -> str:
    """A row a tensor: largest error, relative error, pass or fail, first step that parts.

    "PyTorch's own" is the difference between its float32 and its float64; "rounding" passes where that alone
    exceeds what is allowed.
    """
    rows = [
        [
            row.name,
            f"{row.error:.3e}",
            f"{row.relative:.3e}",
            f"{row.rounding:.1e}",
            f"{row.tolerance:.0e}",
            ("rounding" if row.only_rounding else "pass") if row.passed else "FAIL",
            "-" if row.parts_at is None else str(row.parts_at + 1),
        ]
        for row in report.rows
    ]
    text = table(
        ["tensor", "largest error", "relative", "PyTorch's own", "allowed", "result", "parts at step"], rows
    )
    failed = sum(not row.passed for row in report.rows)
    verdict = (
        f"{failed} of {len(rows)} tensors part from" if failed else f"all {len(rows)} tensors agree with"
    )
    steps = len(report.run.steps)
    lines = [text, f"{verdict} PyTorch over {steps} step{'s' if steps > 1 else ''}"]
    if [row.name for row in report.rows if not row.passed] == ["loss"]:
        lines.append(
            "every single step agrees, but rounding adds up over the steps (a ReLU whose input rounds to "
            "either side of zero?); a smaller learning rate keeps the runs together for longer"
        )
    return "\n".join(lines)
