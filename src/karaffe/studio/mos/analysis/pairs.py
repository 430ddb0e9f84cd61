"""Strengths from pair comparisons: Bradley–Terry, with ties as Davidson has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats
from scipy.sparse import csgraph

from karaffe.errors import ArgumentError
from karaffe.studio.mos.analysis.opinion import CONFIDENCE
from karaffe.studio.mos.analysis.ratings import Array

ITERATIONS = 100
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Strengths:
    """Log-strengths, zero in the mean.

    Attributes:
        strength: ``(items,)``; NaN where there is no maximum of the likelihood.
        halfwidth: Half of the 95 % interval. covariance: ``(items, items)``.
        tie: Davidson's ν; 0 without ties.
        groups: Which items can be compared: items of one number have wins leading from each to each.
    """

    strength: Array
    halfwidth: Array
    covariance: Array
    tie: float
    groups: tuple[int, ...]

    @property
    def connected(self) -> bool:
        """Whether all items can be compared; if not, strengths are infinite or arbitrary and so not given."""
        return len(set(self.groups)) == 1

    @property
    def warning(self) -> str | None:
        """Why there are no strengths."""
        if self.connected:
            return None
        return (
            "the graph of comparisons is not connected by wins in both directions: there is no finite estimate; "
            "more answers, or more pairs, are needed"
        )

    def difference(self, first: int, second: int) -> tuple[float, float, float]:
        """Return strength of ``first`` minus that of ``second``, its standard error, and the two-sided p (Wald)."""
        delta = self.strength[first] - self.strength[second]
        variance = self.covariance[first, first] + self.covariance[second, second] - 2 * self.covariance[first, second]
        error = float(np.sqrt(max(variance, 0)))
        return float(delta), error, float(2 * stats.norm.sf(abs(delta) / error)) if error else np.nan


def fit_pairs(wins: Array, ties: Array | None = None) -> Strengths:
    """Fit log-strengths θ by maximum likelihood.

    Bradley and Terry, Biometrika 39, 1952: ``P(i beats j) = e^θi / (e^θi + e^θj)``. With ties R. R. Davidson,
    JASA 65, 1970: weights ``e^θi``, ``e^θj`` and ``ν e^((θi + θj) / 2)`` for the tie. Both are concave in θ and
    log ν; solved by Newton's method. Intervals are Wald's, from the pseudo-inverse of the information. A finite
    maximum exists where the graph of wins (ties count both ways) is strongly connected (Ford, 1957).

    Args:
        wins: ``(items, items)``, how often the row's item was preferred to the column's. ties: Same shape, symmetric.

    Raises:
        ArgumentError: Shapes that do not fit, or negative counts.
    """
    wins = np.asarray(wins, dtype=np.float64)
    tied = np.zeros_like(wins) if ties is None else np.asarray(ties, dtype=np.float64)
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1] or tied.shape != wins.shape:
        raise ArgumentError(f"wins and ties must be square and of one shape; got {wins.shape} and {tied.shape}")
    if (wins < 0).any() or (tied < 0).any() or not np.array_equal(tied, tied.T):
        raise ArgumentError("wins and ties must not be negative, and ties must be symmetric")
    items = len(wins)
    beats = sparse.csr_matrix((wins + tied) > 0)
    _, groups = csgraph.connected_components(beats, directed=True, connection="strong")
    found = tuple(int(group) for group in groups)
    if len(set(found)) != 1 or items < 2:
        missing = np.full(items, np.nan)
        return Strengths(missing, missing, np.full((items, items), np.nan), 0.0, found)
    parameters, information = _newton(wins, tied)
    covariance = np.linalg.pinv(information, hermitian=True)[:items, :items].astype(np.float64)
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    tie = float(np.exp(parameters[items])) if tied.any() else 0.0
    theta = parameters[:items]
    return Strengths(theta, z * np.sqrt(np.diag(covariance)), covariance, tie, found)


def _newton(wins: Array, ties: Array) -> tuple[Array, Array]:
    """Maximise the likelihood; return (θ, log ν) with θ zero in the mean, and the information there."""
    items = len(wins)
    parameters = np.zeros(items + 1)
    value = _likelihood(parameters, wins, ties)[0]
    for _ in range(ITERATIONS):
        _, gradient, information = _likelihood(parameters, wins, ties)
        step = np.linalg.pinv(information, hermitian=True) @ gradient
        size = 1.0
        # A full step may overshoot far from the maximum; the likelihood is concave, so a shorter one rises.
        while (better := _likelihood(parameters + size * step, wins, ties)[0]) < value - 1e-12 and size > 1e-6:
            size /= 2
        parameters, value = parameters + size * step, better
        if np.abs(step).max() < TOLERANCE:
            break
    parameters[:items] -= parameters[:items].mean()
    return parameters, _likelihood(parameters, wins, ties)[2]


def _likelihood(parameters: Array, wins: Array, ties: Array) -> tuple[float, Array, Array]:
    """Log-likelihood, its gradient and its negative Hessian in (θ, log ν)."""
    items = len(wins)
    theta, tied = parameters[:items], bool(ties.any())
    total = 0.0
    gradient, information = np.zeros(items + 1), np.zeros((items + 1, items + 1))
    for i in range(items):
        for j in range(i + 1, items):
            observed = np.array([wins[i, j], wins[j, i], ties[i, j]])
            if not observed.any():
                continue
            features = np.zeros((3, items + 1))
            features[0, i] = features[1, j] = 1
            features[2, [i, j, items]] = 0.5, 0.5, 1
            kept = 3 if tied else 2
            features, observed = features[:kept], observed[:kept]
            scores = features @ np.concatenate([theta, parameters[items:]])
            log_p = scores - np.logaddexp.reduce(scores)
            p = np.exp(log_p)
            expected = features.T @ p
            total += float(observed @ log_p)
            gradient += features.T @ observed - observed.sum() * expected
            information += observed.sum() * (features.T @ (features * p[:, None]) - np.outer(expected, expected))
    return total, gradient, information
