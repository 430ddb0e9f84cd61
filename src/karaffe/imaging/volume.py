"""Slices between the slices: a reader whose frames are interpolated through the plane.

Networks look at planes. Through the plane a volume is interpolated by Lanczos (nearest neighbour for labels) before
its planes are enlarged, one plane at a time.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from karaffe.imaging.info import Array, ImageInfo, Window
from karaffe.imaging.protocols import BaseReader, Reader
from karaffe.upsamplers.resampling import resample_weights


class ThroughPlane(BaseReader):
    """Present ``reader`` with another number of slices a volume.

    Frames are floating point (labels keep their type); a plane without data at its nearest slice has none.
    """

    def __init__(self, reader: Reader, slices: int) -> None:
        info = reader.info
        self._reader = reader
        self._before = info.slices
        kernel = "box" if info.labels else "lanczos3"
        self._index, self._weights = resample_weights(info.slices, slices, kernel, antialias=not info.labels)
        volumes = info.frames // info.slices
        # Integers may have any value of their type, whatever range is given for the network.
        unbounded = info.unbounded or info.dtype.kind != "f"
        changed = replace(info, frames=volumes * slices, slices=slices, dtype=_floating(info), unbounded=unbounded)
        super().__init__(changed, "the volume")

    def _read(self, window: Window, frame: int) -> Array:
        volume, place = divmod(frame, self.info.slices)
        nearest = np.zeros(())
        centre = ((2 * place + 1) * self._before) // (2 * self.info.slices)
        shares = dict.fromkeys([centre], 0.0)
        for index, share in zip(self._index[place].tolist(), self._weights[place].tolist(), strict=True):
            shares[index] = shares.get(index, 0.0) + share
        total, weight = np.zeros(()), np.zeros(())
        for index, share in shares.items():
            pixels = self._reader.read(window, volume * self._before + index).astype(self.info.dtype)
            nearest = pixels if index == centre else nearest
            present = np.isfinite(pixels)
            total = total + np.where(present, pixels * share, 0)
            weight = weight + present * share
        # Where most of the weight lies on planes without data, the nearest plane is the better answer.
        mixed = np.divide(total, weight, out=nearest.copy(), where=np.isfinite(nearest) & (weight > 0.5))
        return mixed.astype(self.info.dtype)


def _floating(info: ImageInfo) -> np.dtype[np.floating]:
    wide = info.dtype.itemsize >= 4 and info.dtype.name != "float32"
    return np.dtype(np.float64 if wide else np.float32)
