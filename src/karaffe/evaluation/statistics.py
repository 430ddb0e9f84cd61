"""How sure a mean over images is: bootstrap intervals, and paired tests between two methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from karaffe.errors import ArgumentError, ShapeError

RESAMPLES = 10_000
CONFIDENCE = 0.95


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of the mean, or None where it says nothing.

    It says nothing for fewer than three values or for infinite ones. 10 000 resamples drawn from ``seed`` (B. Efron,
    "Bootstrap methods: another look at the jackknife", Annals of Statistics 7(1), 1979).

    Raises:
        ArgumentError: ``confidence`` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence must lie between 0 and 1, got {confidence!r}")
    sample = np.asarray(values, dtype=np.float64)
    if sample.size < 3 or not np.isfinite(sample).all():
        return None
    result = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=confidence,
        method="percentile",
        batch=max(1, 2_000_000 // sample.size),
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return float(low), float(high)


@dataclass(frozen=True)
class PairedTest:
    """Method ``first`` against ``second`` on the same images.

    Attributes:
        difference: Mean of first minus second; ``interval`` is its 95 % bootstrap interval.
        wins, losses: Images on which first is higher, and lower.
        t_test, wilcoxon: Two-sided p-values of Student's paired t test and of Wilcoxon's signed-rank test.
    """

    first: str
    second: str
    difference: float
    interval: tuple[float, float] | None
    wins: int
    losses: int
    t_test: float
    wilcoxon: float


def paired_test(
    first: Sequence[float],
    second: Sequence[float],
    *,
    names: tuple[str, str] = ("first", "second"),
    seed: int = 0,
) -> PairedTest:
    """Test whether two methods differ, image by image.

    Raises:
        ShapeError: Different numbers of images, or fewer than two.
        ArgumentError: Values that are not finite.
    """
    a, b = (np.asarray(v, dtype=np.float64) for v in (first, second))
    if a.shape != b.shape or a.ndim != 1 or a.size < 2:
        raise ShapeError(f"paired_test: needs two or more images of both, got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ArgumentError("paired_test: values must be finite")
    d = a - b
    if np.ptp(d) == 0:
        # No spread: the tests' statistics are 0/0 or x/0, and their limits are these.
        t_p = w_p = 1.0 if d[0] == 0 else 0.0
    else:
        t_p = float(stats.ttest_rel(a, b).pvalue)
        w_p = float(stats.wilcoxon(d).pvalue)
    wins, losses = int((d > 0).sum()), int((d < 0).sum())
    return PairedTest(*names, float(d.mean()), bootstrap_interval(d.tolist(), seed=seed), wins, losses, t_p, w_p)
