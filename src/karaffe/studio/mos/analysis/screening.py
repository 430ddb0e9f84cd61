"""Which raters do not judge as the others do: two procedures of the standards, both after the study."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karaffe.studio.mos.analysis.ratings import Array, Mask

BT500_SHARE, BT500_BALANCE = 0.05, 0.3
KURTOSIS_LOW, KURTOSIS_HIGH = 2.0, 4.0
P913_CORRELATION = 0.75


@dataclass(frozen=True)
class Bt500:
    """Outcome of BT.500's screening, each ``(raters,)``.

    Attributes:
        rejected: Who is left out. share: ``(P + Q)`` by the number of the rater's votes.
        balance: ``|P - Q| / (P + Q)``, NaN where both are zero.
    """

    rejected: Mask
    share: Array
    balance: Array


def screen_bt500(scores: Array, *, ddof: int = 1) -> Bt500:
    """Screen raters by kurtosis, as ITU-R BT.500 ("Screening of the observers"; Annex 2, 2.3.1 in BT.500-13) says.

    For each picture, votes count as normal when ``2 <= β₂ <= 4``, ``β₂ = m₄ / m₂²``. ``P`` counts a rater's votes at
    or above ``mean + k S``, ``Q`` those at or below ``mean - k S``; k = 2 when normal, else ``sqrt(20)``. Rejected is
    who has ``(P + Q) / votes > 0.05`` and ``|P - Q| / (P + Q) < 0.3``. To be applied once, not again to who is left.

    Args:
        scores: ``(stimuli, raters)``. ddof: 1 for the deviation as in the standard; 0 divides by N instead.
    """
    given = ~np.isnan(scores)
    count = given.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = np.where(given, scores - _mean(scores, 1), 0)
        m2 = np.square(centred).sum(1, keepdims=True) / count
        kurtosis = (centred**4).sum(1, keepdims=True) / count / m2**2
        deviation = np.sqrt(m2 * count / np.where(count > ddof, count - ddof, np.nan))
        normal = (kurtosis >= KURTOSIS_LOW) & (kurtosis <= KURTOSIS_HIGH)
        limit = np.where(normal, 2, np.sqrt(20)) * deviation
        # A picture on which all agree tells nobody apart.
        above = (given & (m2 > 0) & (centred >= limit)).sum(0)
        below = (given & (m2 > 0) & (centred <= -limit)).sum(0)
        share = (above + below) / given.sum(0)
        balance = np.abs(above - below) / np.where(above + below > 0, above + below, np.nan)
        rejected = (share > BT500_SHARE) & (balance < BT500_BALANCE)
    return Bt500(rejected, share, balance)


@dataclass(frozen=True)
class P913:
    """Outcome of P.913's screening: who is ``rejected``, and each rater's ``correlation`` at the end; ``(raters,)``."""

    rejected: Mask
    correlation: Array


def screen_p913(scores: Array, *, threshold: float = P913_CORRELATION) -> P913:
    """Screen raters by Pearson correlation with the mean of all (ITU-T P.913, Annex A, by picture).

    ``r = corr(MOS, the rater's votes)`` over the pictures that the rater judged. While the lowest r is below
    ``threshold``, that rater is left out and the means are taken anew; one at a time, as the Annex asks. A rater
    whose votes are all equal has no correlation and is left out.

    Args:
        scores: ``(stimuli, raters)``. threshold: 0.75.
    """
    rejected = np.zeros(scores.shape[1], dtype=bool)
    correlation = np.full(scores.shape[1], np.nan)
    while (~rejected).sum() > 2:
        kept = np.flatnonzero(~rejected)
        mean = _mean(scores[:, kept], 1)[:, 0]
        correlation[kept] = [_correlation(mean, scores[:, rater]) for rater in kept]
        # A rater with one or two votes shows nothing yet.
        judged = [rater for rater in kept if (~np.isnan(scores[:, rater])).sum() > 2]
        if not judged:
            break
        worst = min(judged, key=lambda rater: np.nan_to_num(correlation[rater], nan=-2.0))
        if correlation[worst] >= threshold:
            break
        rejected[worst] = True
    return P913(rejected, correlation)


def _mean(scores: Array, axis: int) -> Array:
    given = ~np.isnan(scores)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Array = np.where(given, scores, 0).sum(axis, keepdims=True) / given.sum(axis, keepdims=True)
    return mean


def _correlation(mean: Array, votes: Array) -> float:
    both = ~np.isnan(votes) & ~np.isnan(mean)
    x, y = mean[both], votes[both]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])
