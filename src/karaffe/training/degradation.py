"""Pairs whose sources have the faults of real pictures: blur, noise, JPEG blocks.

Every variant of a picture is drawn once, from the picture's name and the variant's number, so that it is the same in
every run, on every machine and after every resumption.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image as PillowImage
from scipy.ndimage import gaussian_filter

from karaffe.evaluation.pictures import crop_to_multiple, reduce
from karaffe.training.config import DegradationSection
from karaffe.training.data import Pair, Pixels


def make_pair(
    name: str, picture: Pixels, scale: int, settings: DegradationSection | None = None, variant: int = 0
) -> Pair:
    """Cut ``picture`` to a multiple of ``scale`` and reduce it, as the papers do; with ``settings``, spoil the source.

    Args:
        name, variant: what decides the draws.
        picture: ``(H, W, 3)``, 8-bit RGB.
        scale: the factor.
        settings: the ranges; see :class:`karaffe.training.config.DegradationSection`.
    """
    target = crop_to_multiple(picture, scale, name)
    if settings is None:
        return Pair(name, reduce(target, scale), target)
    seed = int.from_bytes(hashlib.sha256(f"{name} {variant}".encode()).digest()[:8], "big")
    generator = np.random.default_rng(seed)
    blur, noise = generator.uniform(*settings.blur), generator.uniform(*settings.noise)
    source = reduce(_blurred(target, blur) if blur else target, scale)
    if noise:
        values = source + generator.normal(0, 255 * noise, source.shape)
        source = values.round().clip(0, 255).astype(np.uint8)
    if settings.jpeg is not None:
        source = _compressed(source, int(generator.integers(settings.jpeg[0], settings.jpeg[1] + 1)))
    return Pair(name, source, target)


def _blurred(picture: Pixels, sigma: float) -> Pixels:
    blurred = gaussian_filter(picture.astype(np.float64), (sigma, sigma, 0), mode="reflect")
    return blurred.round().clip(0, 255).astype(np.uint8)


def _compressed(picture: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    PillowImage.fromarray(picture).save(file, "JPEG", quality=quality)
    with PillowImage.open(file) as opened:
        return np.asarray(opened.convert("RGB"))
