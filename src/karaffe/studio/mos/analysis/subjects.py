"""Each rater's bias and inconsistency, and scores with both taken into account."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from karaffe.errors import ArgumentError
from karaffe.studio.mos.analysis.opinion import CONFIDENCE, mean_opinion
from karaffe.studio.mos.analysis.ratings import Array

ITERATIONS = 1000
TOLERANCE = 1e-8
# Keeps the weight of a rater finite who agrees with the mean everywhere.
EPSILON = 1e-8


def remove_bias(scores: Array) -> tuple[Array, Array]:
    """Return scores without each rater's bias, and the biases ``(raters,)``.

    ``b_s = mean over e of (x_es - MOS_e)``, ``x_es - b_s``: ITU-T P.913 clause 12.4.
    """
    mean = mean_opinion(scores).mean
    bias = mean_opinion((scores - mean[:, None]).T).mean
    return scores - bias, bias


@dataclass(frozen=True)
class Subjects:
    """The model ``x_es = ψ_e + Δ_s + ν_s · N(0, 1)`` fitted.

    Attributes:
        quality: ψ, ``(stimuli,)``. quality_halfwidth: Half of its 95 % interval.
        bias: Δ, ``(raters,)``, zero in the mean. bias_halfwidth: Half of its 95 % interval.
        inconsistency: ν, ``(raters,)``. inconsistency_low, inconsistency_high: Ends of its 95 % interval.
    """

    quality: Array
    quality_halfwidth: Array
    bias: Array
    bias_halfwidth: Array
    inconsistency: Array
    inconsistency_low: Array
    inconsistency_high: Array


def fit_subjects(scores: Array) -> Subjects:
    """Fit qualities, biases and inconsistencies together (ITU-T P.910, Annex E; P.913 clause 12.6).

    Maximum likelihood by alternating projection, Z. Li et al., "A simple model for subject behavior in subjective
    experiments", HVEI 2020: ν from the residuals, ψ as the mean of the unbiased votes weighted by ``1 / ν²``, Δ as
    the mean residual, in turn until ψ stays. Intervals are those of the paper: ``z / sqrt(sum 1 / ν²)`` for ψ,
    ``z ν / sqrt(n)`` for Δ, and chi-square for ν.

    Raises:
        ArgumentError: A stimulus or a rater has no vote.
    """
    given = ~np.isnan(scores)
    if not scores.size or not given.any(0).all() or not given.any(1).all():
        raise ArgumentError("every stimulus and every rater needs at least one vote")
    quality = mean_opinion(scores).mean
    bias = mean_opinion((scores - quality[:, None]).T).mean
    for _ in range(ITERATIONS):
        before = quality
        residual = scores - quality[:, None] - bias
        variance = _variance(residual)
        weight = np.where(given, 1 / (variance + EPSILON), 0)
        quality = (np.where(given, scores - bias, 0) * weight).sum(1) / weight.sum(1)
        bias = mean_opinion((scores - quality[:, None]).T).mean
        if np.linalg.norm(quality - before) < TOLERANCE:
            break
    deviation = np.sqrt(variance)
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    count = given.sum(0)
    low = deviation * np.sqrt(count / stats.chi2.ppf((1 + CONFIDENCE) / 2, count))
    high = deviation * np.sqrt(count / stats.chi2.ppf((1 - CONFIDENCE) / 2, count))
    shift = bias.mean()
    halfwidth = z / np.sqrt(np.where(given, 1 / (variance + EPSILON), 0).sum(1))
    return Subjects(quality + shift, halfwidth, bias - shift, z * deviation / np.sqrt(count), deviation, low, high)


def _variance(residual: Array) -> Array:
    """Population variance of each column."""
    deviation = mean_opinion(residual.T)
    count = deviation.count
    variance: Array = np.where(count > 1, np.nan_to_num(deviation.deviation) ** 2 * (count - 1) / count, 0.0)
    return variance
