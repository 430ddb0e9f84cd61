"""Error as colour: one dark-to-bright map for its size, one blue-white-red map for its sign."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

HEAT = ((9, 9, 20), (52, 24, 108), (142, 36, 118), (221, 74, 70), (247, 160, 58), (255, 246, 190))
SIGNED = ((20, 74, 150), (112, 163, 214), (246, 246, 246), (231, 138, 112), (158, 20, 40))

# The limits an error scale may have, in counts of 255: round numbers that read well beside a colour bar.
LIMITS = (4, 8, 16, 32, 64, 128, 255)


def colour(values: npt.NDArray[np.float64], stops: tuple[tuple[int, int, int], ...]) -> npt.NDArray[np.uint8]:
    """Map values in [0, 1] (clipped) to RGB by linear interpolation between evenly spaced ``stops``."""
    places = np.linspace(0, 1, len(stops))
    channels = [np.interp(values, places, [stop[c] for stop in stops]) for c in range(3)]
    return np.floor(np.stack(channels, axis=-1) + 0.5).astype(np.uint8)


def error_limit(errors: list[npt.NDArray[np.int16]]) -> int:
    """Return the least of :data:`LIMITS` that at most three pixels in a hundred exceed."""
    sizes = np.concatenate([np.abs(error).ravel() for error in errors])
    top = float(np.quantile(sizes, 0.97, method="lower"))
    return next(limit for limit in LIMITS if top <= limit)


def absolute_map(error: npt.NDArray[np.int16], limit: int) -> npt.NDArray[np.uint8]:
    """Return the picture of ``|error|``, brightest from ``limit`` on."""
    return colour(np.abs(error) / limit, HEAT)
