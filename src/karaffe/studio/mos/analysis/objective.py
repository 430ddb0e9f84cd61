"""How well PSNR and SSIM foretell what people said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from karaffe.evaluation import luma, psnr, ssim
from karaffe.studio.mos.analysis.opinion import CONFIDENCE
from karaffe.studio.mos.analysis.ratings import Array

Pixels = npt.NDArray[np.uint8]
SMALLEST = 11


def measure(picture: Pixels, reference: Pixels) -> dict[str, float]:
    """Return PSNR and SSIM of the luma, without a border; SSIM is NaN for pictures below 11 pixels a side."""
    if picture.ndim != reference.ndim:
        picture, reference = (np.stack([p] * 3, 2) if p.ndim == 2 else p for p in (picture, reference))
    a, b = luma(picture), luma(reference)
    return {"psnr": psnr(a, b), "ssim": ssim(a, b) if min(a.shape) >= SMALLEST else math.nan}


@dataclass(frozen=True)
class Correlation:
    """Agreement of a metric with mean opinion over ``count`` pictures; ``low`` and ``high`` are Pearson's interval."""

    metric: str
    count: int
    pearson: float
    low: float
    high: float
    spearman: float
    kendall: float


def correlate(metric: str, values: Sequence[float], opinion: Array) -> Correlation:
    """Return Pearson's, Spearman's and Kendall's coefficients (ITU-T P.1401, "linear correlation", "rank order").

    Pearson's 95 % interval is by Fisher's z: ``tanh(atanh r ± 1.96 / sqrt(n - 3))``. Infinite values (a picture equal
    to its reference) are left out, as are pictures without votes.
    """
    x = np.asarray(values, dtype=np.float64)
    both = np.isfinite(x) & np.isfinite(opinion)
    x, y = x[both], opinion[both]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(metric, len(x), *[math.nan] * 5)
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
    low = high = math.nan
    if len(x) > 3 and abs(r) < 1:
        reach = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) / math.sqrt(len(x) - 3)
        low, high = math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)
    spearman, kendall = stats.spearmanr(x, y).statistic, stats.kendalltau(x, y).statistic
    return Correlation(metric, len(x), r, low, high, float(spearman), float(kendall))


def correlations(
    measured: Mapping[tuple[str, str], Mapping[str, float]], opinion: Mapping[tuple[str, str], float]
) -> list[Correlation]:
    """Return one correlation a metric, over the pictures that are both measured and judged."""
    shared = [key for key in opinion if key in measured]
    judged = np.array([opinion[key] for key in shared])
    metrics = list(next(iter(measured.values()))) if measured else []
    return [correlate(metric, [measured[key][metric] for key in shared], judged) for metric in metrics]
