"""Mean opinion scores and their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from karaffe.studio.mos.analysis.ratings import Array, Ratings

CONFIDENCE = 0.95
TOP = 5.0


@dataclass(frozen=True)
class Opinion:
    """Means with the half-widths of their 95 % intervals, each ``(rows,)``; NaN where votes are too few.

    Attributes:
        mean: Of the votes. halfwidth: Of the interval. deviation: Of the votes. count: Votes.
    """

    mean: Array
    halfwidth: Array
    deviation: Array
    count: Array


def _t(freedom: Array) -> Array:
    with np.errstate(invalid="ignore"):
        quantile: Array = stats.t.ppf((1 + CONFIDENCE) / 2, np.where(freedom > 0, freedom, np.nan))
    return quantile


def mean_opinion(scores: Array) -> Opinion:
    """Return mean and interval of each row of ``scores``, ``(stimuli, raters)``.

    ``mean ± t S / sqrt(N)``, ``S² = sum (u - mean)² / (N - 1)``: ITU-R BT.500 ("Calculation of mean scores",
    "Calculation of confidence interval"; clauses 2.1 and 2.2.1 of Annex 2 in BT.500-13), with Student's t of N - 1
    degrees of freedom for the 1.96 that holds for many raters, as ITU-T P.1401 has it for few.
    """
    given = ~np.isnan(scores)
    count = given.sum(1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(given, scores, 0).sum(1) / count
        squares = np.where(given, scores - mean[:, None], 0) ** 2
        deviation = np.sqrt(squares.sum(1) / np.where(count > 1, count - 1, np.nan))
        halfwidth = _t(count - 1) * deviation / np.sqrt(count)
    return Opinion(mean, halfwidth, deviation, count)


def differential(ratings: Ratings, reference: str) -> Ratings:
    """Return each rater's differential scores ``DV = V(picture) - V(its reference) + 5``, without the reference.

    ITU-T P.910, ACR-HR; P.913 clause 7.2.2. The mean of them is the DMOS; values above 5 (better than the reference)
    are kept as they are.
    """
    place = {stimulus: i for i, stimulus in enumerate(ratings.stimuli)}
    rows = [i for i, (_, method) in enumerate(ratings.stimuli) if method != reference]
    hidden = [place.get((ratings.stimuli[i][0], reference), -1) for i in rows]
    base = np.vstack([ratings.scores, np.full((1, len(ratings.raters)), np.nan)])[hidden]
    return Ratings(tuple(ratings.stimuli[i] for i in rows), ratings.raters, ratings.scores[rows] - base + TOP)


def method_opinion(ratings: Ratings) -> Opinion:
    """Return mean and interval of each method over all its votes, in the order of ``ratings.methods``.

    Votes of one rater are not independent, so the interval is the one clustered by rater: with ``n`` raters and
    ``N`` votes, ``SE² = n / (n - 1) · sum over raters (sum of the rater's deviations)² / N²`` and Student's t of
    ``n - 1``. Where every rater judged every picture this is the interval of the raters' own means. ``count`` is the
    number of votes. It speaks about other raters and the same pictures.
    """
    columns = [_clustered(ratings.scores[ratings.rows(method)]) for method in ratings.methods]
    return Opinion(*np.array(columns, dtype=np.float64).reshape(-1, 4).T)


def _clustered(scores: Array) -> tuple[float, float, float, float]:
    given = ~np.isnan(scores)
    votes, raters = int(given.sum()), int(given.any(0).sum())
    if not votes:
        return np.nan, np.nan, np.nan, 0.0
    mean = float(scores[given].mean())
    deviation = float(scores[given].std(ddof=1)) if votes > 1 else np.nan
    if raters < 2:
        return mean, np.nan, deviation, votes
    sums = np.where(given, scores - mean, 0).sum(0)
    error = np.sqrt(raters / (raters - 1) * np.square(sums).sum()) / votes
    return mean, float(_t(np.array([raters - 1.0]))[0] * error), deviation, votes
