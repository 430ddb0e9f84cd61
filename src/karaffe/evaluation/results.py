"""Figures as data: one row an image and method, their means with intervals, and the files they are kept in."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from karaffe.evaluation.statistics import PairedTest, bootstrap_interval, paired_test


@dataclass(frozen=True)
class Row:
    """One image enlarged by one model: PSNR in dB, SSIM, wall-clock seconds of the enlargement (NaN: unknown)."""

    image: str
    model: str
    psnr: float
    ssim: float
    seconds: float


@dataclass(frozen=True)
class Summary:
    """Means of one model over ``images`` images, with 95 % bootstrap intervals where there are three or more."""

    model: str
    images: int
    psnr: float
    ssim: float
    seconds: float
    psnr_interval: tuple[float, float] | None
    ssim_interval: tuple[float, float] | None


def summarize(rows: Sequence[Row], *, seed: int = 0) -> list[Summary]:
    """Return one summary a model, in the order in which models first appear."""
    summaries = []
    for model in dict.fromkeys(row.model for row in rows):
        mine = [row for row in rows if row.model == model]
        psnrs, ssims = [row.psnr for row in mine], [row.ssim for row in mine]
        summaries.append(
            Summary(
                model,
                len(mine),
                psnr=sum(psnrs) / len(mine),
                ssim=sum(ssims) / len(mine),
                seconds=sum(row.seconds for row in mine) / len(mine),
                psnr_interval=bootstrap_interval(psnrs, seed=seed),
                ssim_interval=bootstrap_interval(ssims, seed=seed),
            )
        )
    return summaries


def compare_models(rows: Sequence[Row], first: str, second: str, *, metric: str = "psnr", seed: int = 0) -> PairedTest:
    """Test two models of ``rows`` against each other on the images that both have finite figures for.

    Raises:
        ShapeError: There are fewer than two such images.
    """
    by_model = [{r.image: getattr(r, metric) for r in rows if r.model == model} for model in (first, second)]
    images = [image for image in by_model[0] if all(math.isfinite(v.get(image, math.nan)) for v in by_model)]
    a, b = ([values[image] for image in images] for values in by_model)
    return paired_test(a, b, names=(first, second), seed=seed)


def to_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV (RFC 4180) with a heading."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Row)])
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: infinities as ``"inf"`` and ``"-inf"``, what is not a number as None."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
