"""The report of a study: one HTML page that opens offline, the figures as JSON and CSV, and the raw votes."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from karaffe.errors import FileError, unknown_name
from karaffe.evaluation.staging import staged_folder
from karaffe.studio.mos.database import Database
from karaffe.studio.mos.report_page import report_page
from karaffe.studio.mos.store import Store
from karaffe.studio.mos.summary import PairFigures, RatingFigures, Summary, summarize_study
from karaffe.studio.mos.votes import safe_cell, votes_csv

SCREENINGS = ("bt500", "p913", "none")
Row = dict[str, Any]


def write_report(
    database: str | Path,
    output: str | Path,
    *,
    screening: str = "bt500",
    overwrite: bool = False,
    note: str = "",
) -> Summary:
    """Write the report of a study; at any time, also while it is being served.

    Written are ``report.html``, ``report.json``, ``methods.csv``, ``pictures.csv``, ``raters.csv`` and ``votes.csv``
    (every answer, tidy). They appear together or not at all.

    Args:
        database: A file or URL. output: The folder. overwrite: Replace a report that is there.
        screening: Whose rejections apply to the means: ``bt500``, ``p913`` or ``none``. note: Shown at the top.

    Raises:
        UnknownNameError: Another screening.
        FileError: The database does not open, or the folder cannot be written.
    """
    if screening not in SCREENINGS:
        raise unknown_name("screening", screening, SCREENINGS)
    opened = Database(database)
    try:
        summary = summarize_study(Store(opened), screening=screening)
    finally:
        opened.close()
    figures = figures_of(summary, screening)
    texts = {
        "report.html": report_page(summary, figures, note),
        "report.json": json.dumps(_plain({**figures, "note": note}), indent=2, allow_nan=False) + "\n",
        "votes.csv": votes_csv(summary.votes),
        **{f"{name}.csv": _csv(figures[name]) for name in ("methods", "pictures", "raters")},
    }
    with staged_folder(output, overwrite=overwrite, names=list(texts)) as stage:
        for name, text in texts.items():
            (stage / name).write_text(text, encoding="utf-8", newline="")
    return summary


def figures_of(summary: Summary, screening: str) -> dict[str, Any]:
    """Return every figure as plain values: tables are lists of rows with the same keys."""
    config = summary.config
    common: dict[str, Any] = {
        "study": config.study,
        "title": config.heading,
        "design": config.design,
        "source": config.plan.source,
        "screening": screening,
        "progress": summary.progress,
    }
    if summary.ratings is not None:
        return common | _rating_tables(summary, summary.ratings)
    if summary.pairs is not None:
        return common | _pair_tables(summary, summary.pairs)
    raise FileError("the study has neither ratings nor pairs")


def _rating_tables(summary: Summary, found: RatingFigures) -> dict[str, Any]:
    methods = [{"method": method, **_opinion(found.by_method, i)} for i, method in enumerate(found.ratings.methods)]
    pictures = [
        {
            "content": content,
            "method": method,
            **_opinion(found.opinion, i),
            "unbiased": float(found.unbiased[i]),
            "quality": float(found.subjects.quality[i]) if found.subjects else math.nan,
            "quality_halfwidth": float(found.subjects.quality_halfwidth[i]) if found.subjects else math.nan,
            **summary.measured.get((content, method), {"psnr": math.nan, "ssim": math.nan}),
        }
        for i, (content, method) in enumerate(found.ratings.stimuli)
    ]
    if found.dmos is not None and found.dmos_by_method is not None:
        ratings, opinion = found.dmos
        _beside(pictures, ratings.stimuli, opinion, lambda row: (row["content"], row["method"]))
        _beside(methods, [(m,) for m in ratings.methods], found.dmos_by_method, lambda row: (row["method"],))
    return {
        "methods": _best_first(methods, "mos"),
        "pictures": pictures,
        "raters": _raters(summary, found),
        "contrasts": [asdict(c) for c in found.contrasts],
        "correlations": [asdict(c) for c in found.correlations],
        "warning": None if found.ratings.raters else "there are no answers yet",
        "needed": {"halfwidth": summary.config.halfwidth, "votes_a_picture": found.needed, "now": found.fewest},
    }


def _best_first(rows: list[Row], key: str) -> list[Row]:
    return sorted(rows, key=lambda row: math.inf if math.isnan(row[key]) else -row[key])


def _opinion(opinion: Any, i: int) -> Row:
    return {
        "mos": float(opinion.mean[i]),
        "halfwidth": float(opinion.halfwidth[i]),
        "deviation": float(opinion.deviation[i]),
        "votes": int(opinion.count[i]),
    }


def _beside(rows: list[Row], keys: Sequence[Any], opinion: Any, key: Any) -> None:
    place = {k: i for i, k in enumerate(keys)}
    for row in rows:
        i = place.get(key(row))
        row["dmos"] = math.nan if i is None else float(opinion.mean[i])
        row["dmos_halfwidth"] = math.nan if i is None else float(opinion.halfwidth[i])


def _raters(summary: Summary, found: RatingFigures) -> list[Row]:
    screened, place = found.screened, {r: i for i, r in enumerate(found.screened.raters)}
    rows = []
    for record in summary.attention:
        i = place.get(record.rater)
        row = asdict(record) | {"rejected_bt500": False, "rejected_p913": False, "removed": False}
        row |= {"correlation": math.nan, "bias": math.nan, "inconsistency": math.nan}
        if i is not None and found.subjects is not None:
            row |= {
                "rejected_bt500": bool(screened.bt500[i]),
                "rejected_p913": bool(screened.p913[i]),
                "removed": bool(screened.removed[i]),
                "correlation": float(screened.correlation[i]),
                "bias": float(found.subjects.bias[i]),
                "inconsistency": float(found.subjects.inconsistency[i]),
            }
        rows.append(row)
    return rows


def _pair_tables(summary: Summary, found: PairFigures) -> dict[str, Any]:
    methods = [
        {
            "method": method,
            "strength": float(found.strengths.strength[i]),
            "halfwidth": float(found.strengths.halfwidth[i]),
            "wins": int(found.wins[i].sum()),
            "losses": int(found.wins[:, i].sum()),
            "ties": int(found.ties[i].sum()),
            "group": found.strengths.groups[i],
        }
        for i, method in enumerate(found.methods)
    ]
    return {
        "methods": _best_first(methods, "strength"),
        "pictures": [{"content": c, "method": m, **values} for (c, m), values in summary.measured.items()],
        "raters": [asdict(record) for record in summary.attention],
        "contrasts": [asdict(c) for c in found.contrasts],
        "correlations": [asdict(c) for c in found.correlations],
        "wins": {"methods": found.methods, "wins": found.wins.tolist(), "ties": found.ties.tolist()},
        "tie_parameter": found.strengths.tie,
        "warning": found.strengths.warning if found.methods else "there are no answers yet",
        "needed": {"votes": found.needed, "now": found.votes},
    }


def _plain(value: Any) -> Any:
    """JSON has neither NaN nor infinity: what is not known is null, an infinite PSNR is the text ``inf``."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _csv(rows: Sequence[Row]) -> str:
    buffer = io.StringIO()
    if rows:
        writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: "" if value != value else safe_cell(value) for key, value in row.items()} for row in rows
        )
    return buffer.getvalue()
