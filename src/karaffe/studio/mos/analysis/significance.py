"""Which methods differ, and how many more raters it takes to tell."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from karaffe.studio.mos.analysis.opinion import CONFIDENCE, Opinion
from karaffe.studio.mos.analysis.pairs import Strengths
from karaffe.studio.mos.analysis.ratings import Array, Ratings

LARGEST = 100_000


@dataclass(frozen=True)
class Contrast:
    """Two methods compared: the mean difference, p alone, and p after Holm's correction over all pairs of methods."""

    first: str
    second: str
    difference: float
    p: float
    corrected: float

    @property
    def differ(self) -> bool:
        return self.corrected < 1 - CONFIDENCE


def compare_ratings(ratings: Ratings) -> list[Contrast]:
    """Compare every two methods by the paired t-test over raters.

    For each rater the mean difference over the pictures that the rater judged in both; raters are independent, votes
    of one rater are not. p is corrected by Holm, Scand. J. Statist. 6, 1979.
    """
    found = []
    for first, second in itertools.combinations(ratings.methods, 2):
        differences = _differences(ratings, first, second)
        if len(differences) < 2:
            found.append((first, second, float(differences.mean()) if len(differences) else np.nan, np.nan))
        elif np.ptp(differences) == 0:
            # No spread at all: certain if it is not zero.
            found.append((first, second, float(differences[0]), 1.0 if differences[0] == 0 else 0.0))
        else:
            p = float(stats.ttest_1samp(differences, 0).pvalue)
            found.append((first, second, float(differences.mean()), p))
    return _corrected(found)


def _differences(ratings: Ratings, first: str, second: str) -> Array:
    rows = {stimulus: i for i, stimulus in enumerate(ratings.stimuli)}
    contents = [c for c, m in ratings.stimuli if m == first and (c, second) in rows]
    a = ratings.scores[[rows[c, first] for c in contents]]
    b = ratings.scores[[rows[c, second] for c in contents]]
    both = ~np.isnan(a - b)
    judged = both.any(0)
    sums = np.where(both, a - b, 0).sum(0)[judged]
    differences: Array = sums / both.sum(0)[judged]
    return differences


def compare_strengths(methods: list[str], strengths: Strengths) -> list[Contrast]:
    """Compare every two methods of a pair comparison by Wald's test, corrected by Holm."""
    found = []
    for i, j in itertools.combinations(range(len(methods)), 2):
        difference, _, p = strengths.difference(i, j) if strengths.connected else (np.nan, np.nan, np.nan)
        found.append((methods[i], methods[j], difference, p))
    return _corrected(found)


def _corrected(found: list[tuple[str, str, float, float]]) -> list[Contrast]:
    corrected = holm(np.array([p for *_, p in found]))
    return [Contrast(*contrast, float(q)) for contrast, q in zip(found, corrected, strict=True)]


def holm(p: Array) -> Array:
    """Return p values corrected by Holm's step-down procedure; NaN stays NaN and does not count."""
    corrected = np.full(len(p), np.nan)
    order = [i for i in np.argsort(p) if not math.isnan(p[i])]
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, float(p[i]) * (len(order) - rank)))
        corrected[i] = largest
    return corrected


def raters_needed(opinion: Opinion, halfwidth: float) -> int | None:
    """Return how many votes a picture needs for a 95 % interval of ``± halfwidth``; None while that is unknown.

    The smallest n with ``t(n - 1) S / sqrt(n) <= halfwidth``, S pooled over the pictures that have two votes.
    """
    known = ~np.isnan(opinion.deviation)
    freedom = (opinion.count[known] - 1).sum()
    if not freedom:
        return None
    deviation = math.sqrt(float((opinion.deviation[known] ** 2 * (opinion.count[known] - 1)).sum() / freedom))
    low, high = 2, LARGEST
    while low < high:
        middle = (low + high) // 2
        enough = stats.t.ppf((1 + CONFIDENCE) / 2, middle - 1) * deviation / math.sqrt(middle) <= halfwidth
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def pair_votes_needed(strengths: Strengths, votes: int) -> int | None:
    """Return how many votes in all tell the two closest methods apart; None while that is unknown.

    Standard errors shrink with the root of the votes: ``votes · (z · SE / difference)²`` for the pair of neighbours
    that is the least apart, in units of its own error.
    """
    if not strengths.connected or votes == 0:
        return None
    order = np.argsort(strengths.strength)
    needed = 0.0
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    for first, second in itertools.pairwise(order):
        difference, error, _ = strengths.difference(int(second), int(first))
        if difference <= 0:
            return None
        needed = max(needed, votes * (z * error / difference) ** 2)
    return math.ceil(needed) if needed <= LARGEST * votes else None
