"""The report of a choice: one table as Markdown, HTML and JSON, its charts and pictures, and the recommendation."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from karaffe.evaluation.results import plain
from karaffe.evaluation.staging import staged_folder
from karaffe.training.choose.charts import draw_curves, draw_scores, shown
from karaffe.training.choose.outcome import Choice, Outcome

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.25rem .75rem;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%}"
)


@dataclass(frozen=True)
class Report:
    """Where a report was written, and its figures as data."""

    files: tuple[Path, ...]
    figures: dict[str, Any]


def write_report(choice: Choice) -> Report:
    """Write ``report.md``, ``report.html``, ``report.json`` and their pictures into the choice's folder.

    Raises:
        FileError: the folder cannot be written.
    """
    figures = to_dict(choice)
    with staged_folder(choice.folder, overwrite=True) as stage:
        pictures: list[tuple[str, str]] = []
        if choice.outcomes:
            draw_scores(choice.outcomes, choice.figure, choice.label, stage / "scores.png")
            draw_curves(choice.outcomes, f"{choice.label}, selection split", stage / "curves.png")
            pictures = [("scores.png", f"{choice.label}, means with 95 % intervals; points are seeds")]
            pictures.append(("curves.png", "Over the training: means over the seeds, and their range"))
        for sheet in choice.sheets:
            sheet.image.save(stage / sheet.file, optimize=True)
            pictures.append((sheet.file, sheet.caption))
        (stage / "report.md").write_text(to_markdown(choice, pictures), encoding="utf-8")
        (stage / "report.html").write_text(to_html(choice, pictures), encoding="utf-8")
        (stage / "report.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    names = ("report.md", "report.html", "report.json", *(name for name, _ in pictures))
    return Report(tuple(choice.folder / name for name in names), figures)


def table(choice: Choice) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the rows of the table."""
    head = ["", "seeds", *(f"{label} ± s.e." for label in choice.columns.values())]
    head += ["parameters", "multiply-adds", "ms a step"]
    rows = []
    for outcome in choice.outcomes:
        cells = [outcome.candidate, str(len(outcome.seeds))]
        for figure in choice.columns:
            error = shown(outcome.error(figure), choice.digits)
            cells.append(shown(outcome.mean(figure), choice.digits) + (f" ± {error}" if error else ""))
        cost = outcome.cost
        cells += [f"{cost.parameters:,}", f"{cost.macs / 1e6:,.0f} M", f"{1000 * cost.seconds:.1f}"]
        rows.append(cells)
    return head, rows


def notes(choice: Choice) -> list[str]:
    """Return what the table's figures are, and the tests of the best candidate against the others."""
    found = [choice.note, f"Every run: {choice.steps} steps. s.e.: standard error of the mean over the seeds."]
    if choice.recommendation:
        for test in choice.recommendation.tests:
            found.append(
                f"{test.first} - {test.second}, image by image: {test.difference:+.{choice.digits}f}, higher on "
                f"{test.wins}, lower on {test.losses}, p = {test.wilcoxon:.2g} (Wilcoxon, one test; "
                "the recommendation corrects for their number)"
            )
    if choice.undone:
        found.append(f"Not trained yet: {', '.join(choice.undone)}.")
    return found


def _verdict(choice: Choice) -> str:
    return choice.recommendation.text if choice.recommendation else "Too few finished runs to recommend anything."


def to_markdown(choice: Choice, pictures: Sequence[tuple[str, str]]) -> str:
    """Return the report as Markdown."""
    head, rows = table(choice)
    lines = [f"# {choice.title}", "", f"**{_verdict(choice)}**", ""]
    lines += [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *(f"- {note}" for note in notes(choice))]
    for name, caption in pictures:
        lines += ["", f"![{caption}]({name})"]
    return "\n".join(lines) + "\n"


def to_html(choice: Choice, pictures: Sequence[tuple[str, str]]) -> str:
    """Return the report as a page; its pictures lie beside it."""
    head, rows = table(choice)

    def cells(tag: str, values: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values) + "</tr>"

    body = [f"<h1>{html.escape(choice.title)}</h1>", f"<p><strong>{html.escape(_verdict(choice))}</strong></p>"]
    body += ["<table>", cells("th", head), *(cells("td", row) for row in rows), "</table>"]
    body += ["<ul>", *(f"<li>{html.escape(note)}</li>" for note in notes(choice)), "</ul>"]
    for name, caption in pictures:
        text = html.escape(caption, quote=True)
        body.append(f'<figure><img src="{name}" alt="{text}"><figcaption>{text}</figcaption></figure>')
    start = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(choice.title)}</title>'
    return "\n".join([start, f"<style>{_STYLE}</style>", *body, "</html>"]) + "\n"


def to_dict(choice: Choice) -> dict[str, Any]:
    """Return everything as data, ready for JSON."""

    def facts(outcome: Outcome) -> dict[str, Any]:
        means = {
            figure: {"mean": outcome.mean(figure), "standard_error": outcome.error(figure)}
            | {"interval": outcome.interval(figure), "seeds": outcome.figures[figure]}
            for figure in outcome.figures
        }
        return {"seeds": outcome.seeds, "figures": means, "cost": asdict(outcome.cost), "curves": outcome.curves}

    advice = choice.recommendation
    value = {
        "title": choice.title,
        "steps": choice.steps,
        "figure": choice.figure,
        "candidates": {outcome.candidate: facts(outcome) for outcome in choice.outcomes},
        "recommendation": asdict(advice) if advice else None,
        "undone": choice.undone,
    }
    result: dict[str, Any] = plain(value)
    return result
