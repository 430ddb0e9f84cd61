"""The report as one HTML page, without script or network; every value is escaped by the template engine."""

from __future__ import annotations

import base64
import hashlib
import math
from importlib import resources
from typing import Any

from karaffe.studio.mos.summary import Summary
from karaffe.studio.web.templates import make_environment

_WIDTH, _LEFT, _ROW = 640, 170, 34


def report_page(summary: Summary, figures: dict[str, Any], note: str) -> str:
    """Return the page.

    Args:
        summary: The study's figures. figures: The same as tables. note: Shown at the top, plain text.
    """
    style = resources.files("karaffe.studio.mos").joinpath("assets", "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        make_environment("karaffe.studio.mos")
        .get_template("report.html")
        .render(
            summary=summary,
            figures=figures,
            note=note,
            style=style,
            policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
            chart=_chart(figures["methods"], "mos" if summary.ratings else "strength"),
            removed=sum(row.get("removed", False) for row in figures["raters"]),
        )
    )


def _chart(methods: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Positions of a dot-and-interval chart: one row a method, best first."""
    rows = [row for row in methods if not math.isnan(row[key])]
    reach = [0.0 if math.isnan(row["halfwidth"]) else row["halfwidth"] for row in rows]
    if key == "mos":
        low, high = 1.0, 5.0
    else:
        low = math.floor(min((r[key] - h for r, h in zip(rows, reach, strict=True)), default=-1))
        high = math.ceil(max((r[key] + h for r, h in zip(rows, reach, strict=True)), default=1))
    span = max(high - low, 1e-9)

    def across(value: float) -> float:
        return round(_LEFT + (min(max(value, low), high) - low) / span * (_WIDTH - _LEFT - 20), 1)

    step = max(1, round((high - low) / 8))
    ticks = [low + i * step for i in range(int((high - low) / step) + 1)]
    return {
        "width": _WIDTH,
        "height": _ROW * len(rows) + 40,
        "bottom": _ROW * len(rows) + 10,
        "ticks": [(across(tick), f"{tick:g}") for tick in ticks],
        "rows": [
            {
                "name": row["method"],
                "y": 22 + _ROW * i,
                "x": across(row[key]),
                "x1": across(row[key] - h),
                "x2": across(row[key] + h),
            }
            for i, (row, h) in enumerate(zip(rows, reach, strict=True))
        ],
    }
