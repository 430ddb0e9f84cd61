"""Where to look: the boxes of a picture in which the methods differ most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from karaffe.errors import ArgumentError
from karaffe.evaluation.images import Image
from karaffe.visualize.scene import Scene


class Box(NamedTuple):
    """A rectangle of pixels: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int

    def of(self, image: Image) -> Image:
        """Return the pixels of ``image`` inside."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]


def check_crops(scene: Scene, boxes: Sequence[Box]) -> None:
    """Raise unless every box lies within the picture and all are of one size."""
    height, width = scene.reference.shape[:2]
    for box in boxes:
        inside = box.x >= 0 <= box.y and box.x + box.width <= width and box.y + box.height <= height
        if not inside or box.width < 1 or box.height < 1:
            size = f"{width}x{height}"
            raise ArgumentError(f"the crop {tuple(box)} does not lie within the {size} picture {scene.name!r}")
        if box[2:] != boxes[0][2:]:
            raise ArgumentError(f"crops must have one size, got {tuple(boxes[0])} and {tuple(box)}")


def find_crops(scene: Scene, *, size: int = 48, count: int = 2) -> list[Box]:
    """Return up to ``count`` boxes of ``size`` pixels that do not overlap, the most telling first.

    A pixel tells as much as the methods' luma varies over it (their variance; with one method, its squared
    error), and a box as much as its pixels together. Ties go to the upper and then the left box, so the choice
    is the same everywhere. The outermost ``scale`` pixels, which the scores leave out, are left out where
    the picture allows. Sides are cut to the picture's.

    Raises:
        ArgumentError: ``size`` or ``count`` below one.
    """
    if size < 1 or count < 1:
        raise ArgumentError(f"find_crops: size and count must be at least 1, got {size=} and {count=}")
    errors = np.stack([scene.error(panel) for panel in scene.panels]).astype(np.int64)
    # In integers, so that no order of summation can move a tie.
    methods = len(errors)
    telling = errors[0] ** 2 if methods == 1 else methods * (errors**2).sum(0) - errors.sum(0) ** 2
    height, width = telling.shape
    tall, wide = min(size, height), min(size, width)
    sums = _box_sums(telling, tall, wide)
    allowed = np.ones_like(sums, dtype=bool)
    rim = scene.scale
    if min(sums.shape) > 2 * rim:
        allowed[:] = False
        allowed[rim:-rim, rim:-rim] = True
    boxes: list[Box] = []
    while len(boxes) < count and allowed.any():
        y, x = (int(v) for v in np.unravel_index(np.argmax(np.where(allowed, sums, -1)), sums.shape))
        boxes.append(Box(x, y, wide, tall))
        allowed[max(y - tall + 1, 0) : y + tall, max(x - wide + 1, 0) : x + wide] = False
    return boxes


def _box_sums(values: npt.NDArray[np.int64], tall: int, wide: int) -> npt.NDArray[np.int64]:
    """Sums over every ``tall`` x ``wide`` window that fits, by two cumulative sums."""
    table = np.zeros((values.shape[0] + 1, values.shape[1] + 1), np.int64)
    table[1:, 1:] = values.cumsum(0).cumsum(1)
    rows = table[tall:] - table[:-tall]
    sums: npt.NDArray[np.int64] = rows[:, wide:] - rows[:, :-wide]
    return sums
