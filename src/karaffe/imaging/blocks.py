"""Bands of any height, cut into blocks of the height that a format stores."""

from __future__ import annotations

import numpy as np

from karaffe.imaging.info import Array


class RowBlocks:
    """Collect the bands of a frame and give them out in blocks of ``rows`` (the last one may be lower).

    Args:
        height: Rows of a frame. rows: Rows of a block.
    """

    def __init__(self, height: int, rows: int) -> None:
        self._height, self._rows = height, rows
        self._waiting: list[Array] = []
        self._top = 0

    def push(self, band: Array) -> tuple[int, Array] | None:
        """Take the next band; return the first row and the pixels of what is whole now, if anything is."""
        self._waiting.append(band)
        have = sum(map(len, self._waiting))
        last = self._top + have == self._height
        ready = have if last else have - have % self._rows
        if not ready:
            return None
        pixels = np.concatenate(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        self._waiting = [pixels[ready:]] if ready < have else []
        top, self._top = self._top, 0 if last else self._top + ready
        return top, pixels[:ready]
