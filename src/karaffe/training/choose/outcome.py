"""What trainings of candidates came to, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import stats

from karaffe.evaluation.statistics import PairedTest, paired_test

LEVEL = 0.05


@dataclass(frozen=True)
class Cost:
    """Of one candidate's network: learned numbers, multiply-adds of one image, seconds of a training step."""

    parameters: int
    macs: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """One candidate's finished runs.

    Attributes:
        figures: by name, one value a seed. images: scores of the test images, one list a seed.
        curves: (step, score) on the selection split, one list a seed.
    """

    candidate: str
    seeds: tuple[int, ...]
    figures: dict[str, tuple[float, ...]]
    images: tuple[tuple[float, ...], ...]
    curves: tuple[tuple[tuple[int, float], ...], ...]
    cost: Cost

    def mean(self, figure: str) -> float:
        """Return the mean over the seeds."""
        return float(np.mean(self.figures[figure]))

    def error(self, figure: str) -> float:
        """Return the standard error of the mean over the seeds; NaN for one seed."""
        values = self.figures[figure]
        return float(stats.sem(values)) if len(values) > 1 else math.nan

    def interval(self, figure: str) -> tuple[float, float] | None:
        """Return Student's 95 % interval of the mean over the seeds; None for one seed."""
        error = self.error(figure)
        if math.isnan(error) or error == 0:
            return None
        low, high = stats.t.interval(0.95, len(self.seeds) - 1, loc=self.mean(figure), scale=error)
        return float(low), float(high)

    def image_means(self) -> list[float]:
        """Return the score of every test image, the mean over the seeds."""
        return np.mean(self.images, axis=0).tolist()


@dataclass(frozen=True)
class Recommendation:
    """Which candidate to take, and why.

    Attributes:
        best: highest mean. choice: the cheapest of those that are not worse than the best beyond doubt.
        significant: some candidate is worse than the best beyond doubt.
        tests: the best against each of the others; p-values are Holm's.
    """

    best: str
    choice: str
    significant: bool
    text: str
    tests: tuple[PairedTest, ...]


@dataclass(frozen=True)
class Sheet:
    """A picture of a report: the name of its file, what it shows, and the picture."""

    file: str
    caption: str
    image: Image.Image


@dataclass(frozen=True)
class Choice:
    """What training the candidates came to, and how to show it.

    Attributes:
        folder: of the runs and the report. steps: of every run.
        outcomes: one a candidate with a finished run, in the given order.
        recommendation: None as long as fewer than two candidates have one.
        undone: names of the runs that the budget left undone; the same call goes on with them.
        figure: what decides; label: its name for people; columns: the figures of the table and their names.
        note: what the figures were measured on.
        sheets: results side by side, where there are any.
    """

    folder: Path
    steps: int
    outcomes: tuple[Outcome, ...]
    recommendation: Recommendation | None
    undone: tuple[str, ...]
    title: str
    figure: str
    label: str
    columns: Mapping[str, str]
    note: str
    digits: int = 4
    sheets: tuple[Sheet, ...] = ()


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for as many tests (S. Holm, Scandinavian Journal of Statistics 6(2), 1979)."""
    adjusted, so_far = [0.0] * len(values), 0.0
    for rank, index in enumerate(np.argsort(values, kind="stable")):
        so_far = max(so_far, min(1.0, (len(values) - rank) * values[index]))
        adjusted[int(index)] = so_far
    return adjusted


def recommend(outcomes: Sequence[Outcome], figure: str) -> Recommendation:
    """Compare the best candidate with every other one and say which to take.

    A candidate is worse beyond doubt when two things hold: image by image (means over the seeds), Wilcoxon's
    signed-rank test with Holm's correction gives p < 0.05; and, with several seeds, its mean lies below the best's by
    more than two standard errors of the difference, so that luck of the training alone does not decide. Of those that
    are not, the one with the shortest training step is recommended.
    """
    ranked = sorted(outcomes, key=lambda o: -o.mean(figure))
    best, others = ranked[0], ranked[1:]
    tests = tuple(paired_test(best.image_means(), o.image_means(), names=(best.candidate, o.candidate)) for o in others)
    adjusted = holm([test.wilcoxon for test in tests])
    worse = {o.candidate for o, p in zip(others, adjusted, strict=True) if p < LEVEL and _apart(best, o, figure)}
    equal = [o for o in ranked if o.candidate not in worse]
    choice = min(equal, key=lambda o: o.cost.seconds)
    return Recommendation(
        best.candidate, choice.candidate, bool(worse), _text(best, choice, worse, equal, figure), tests
    )


def _apart(best: Outcome, other: Outcome, figure: str) -> bool:
    errors = best.error(figure), other.error(figure)
    if any(math.isnan(e) for e in errors):
        return True
    return best.mean(figure) - other.mean(figure) > 2 * math.hypot(*errors)


def _text(best: Outcome, choice: Outcome, worse: set[str], equal: Sequence[Outcome], figure: str) -> str:
    once = "" if len(best.seeds) > 1 else " One seed each: training again may turn this round."
    if not worse:
        return f"No significant difference. Take {choice.candidate}, whose training step is the shortest.{once}"
    if choice is best and len(equal) == 1:
        return f"Take {best.candidate}: every other candidate is significantly worse in {figure}.{once}"
    if choice is best:
        rest = ", ".join(o.candidate for o in equal if o is not best)
        why = f"the best in {figure}, and cheaper than what is not significantly worse ({rest})"
        return f"Take {best.candidate}: {why}.{once}"
    return (
        f"Take {choice.candidate}: {best.candidate} has the highest {figure}, but {choice.candidate} is not "
        f"significantly worse and its training step is shorter.{once}"
    )
