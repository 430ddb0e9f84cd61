"""Charts of a choice, drawn by matplotlib without a display."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from karaffe.training.choose.outcome import Outcome

DPI = 110


def draw_scores(outcomes: Sequence[Outcome], figure: str, label: str, path: Path) -> None:
    """Draw each candidate's mean with its 95 % interval, and every seed as a point."""
    canvas = Figure(figsize=(6.4, 0.55 * len(outcomes) + 1.2), layout="constrained")
    axes = canvas.subplots()
    for row, outcome in enumerate(reversed(outcomes)):
        values, interval = outcome.figures[figure], outcome.interval(figure)
        axes.plot(values, [row] * len(values), "o", color="0.6", markersize=4)
        mean = outcome.mean(figure)
        if interval:
            axes.plot(interval, [row, row], color="C0", linewidth=2)
        axes.plot([mean], [row], "D", color="C0", markersize=6)
    axes.set_yticks(range(len(outcomes)), [o.candidate for o in reversed(outcomes)])
    _finish(canvas, axes, label, "", path)


def draw_curves(outcomes: Sequence[Outcome], label: str, path: Path) -> None:
    """Draw the score on the selection split over the steps: the mean over the seeds, and their range."""
    canvas = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = canvas.subplots()
    for outcome in outcomes:
        curves = [curve for curve in outcome.curves if curve]
        if not curves:
            continue
        length = min(map(len, curves))
        steps = [step for step, _ in curves[0][:length]]
        values = np.array([[value for _, value in curve[:length]] for curve in curves])
        (line,) = axes.plot(steps, values.mean(0), label=outcome.candidate)
        axes.fill_between(steps, values.min(0), values.max(0), color=line.get_color(), alpha=0.12, linewidth=0)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9)
    _finish(canvas, axes, "step", label, path)


def _finish(canvas: Figure, axes: Axes, x: str, y: str, path: Path) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, axis="both" if y else "x", color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    scratch = path.with_name(f".{path.name}")
    # No date and no version in the file: the same figures give the same bytes.
    canvas.savefig(scratch, dpi=DPI, format="png", metadata={"Software": None})
    scratch.replace(path)


def shown(value: float, digits: int = 4) -> str:
    """Return a figure as tables show it."""
    return "" if math.isnan(value) else f"{value:.{digits}f}"
