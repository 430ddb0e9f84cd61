"""Batches of labelled crops that depend on nothing but (seed, step), made on the device that trains.

Every picture comes once before any comes again. A crop is of a random size within the given scales, resized to the
crop's edge, perhaps mirrored, perhaps brighter and of more contrast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.training.segmentation.dataset import Labelled, Size, fingerprint

Augment = Callable[[Labelled, int], Labelled]
_DRAWS = 6


class CropSampler:
    """Random crops of labelled images.

    All randomness comes from a counter-based generator keyed by the seed and a number (Philox; Salmon et al.,
    *Parallel random numbers: as easy as 1, 2, 3*, SC 2011), so a batch needs no history.

    Args:
        items: what to crop.
        crop: rows and columns of a crop.
        batch: crops a step.
        scales: a crop covers between ``crop / scales[1]`` and ``crop / scales[0]`` pixels of the image.
        flip: mirror every other crop.
        jitter: brightness and contrast change by at most this share.
        augment: applied to a whole pair before it is cropped, with a seed of its own.
        seed: the run's.

    Raises:
        ArgumentError: an image smaller than the largest crop (it is named).
    """

    def __init__(
        self,
        items: Sequence[Labelled],
        *,
        crop: Size,
        batch: int,
        scales: tuple[float, float] = (1.0, 1.0),
        flip: bool = True,
        jitter: float = 0.0,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        self.items, self.crop, self.batch, self.scales = items, crop, batch, scales
        self.flip, self.jitter, self.augment, self.seed = flip, jitter, augment, seed
        rows, columns = (round(edge / scales[0]) for edge in crop)
        for item in items:
            height, width = item.labels.shape
            if height < rows or width < columns:
                raise ArgumentError(f"image {item.name} is {width}x{height}, smaller than a crop of {columns}x{rows}")
        self.fingerprint = fingerprint(items)
        self.use(torch.device("cpu"))

    def use(self, device: torch.device) -> None:
        """Keep the images on ``device`` and make batches there."""
        self.device = device
        kept = [] if self.augment else self.items
        self.images = [torch.from_numpy(item.image).permute(2, 0, 1).contiguous().to(device) for item in kept]
        self.labels = [torch.from_numpy(item.labels).to(device) for item in kept]

    def chosen(self, step: int) -> list[int]:
        """Return which pictures are in the batch of ``step``."""
        count = len(self.items)
        places = range(step * self.batch, (step + 1) * self.batch)
        orders = {epoch: self._order(epoch) for epoch in {place // count for place in places}}
        return [int(orders[place // count][place % count]) for place in places]

    def _order(self, epoch: int) -> npt.NDArray[np.intp]:
        return np.argsort(_draw(self.seed, epoch, len(self.items), stream=1), kind="stable")

    def names_at(self, step: int) -> list[str]:
        """Return the names of the pictures in the batch of ``step``."""
        return sorted({self.items[index].name for index in self.chosen(step)})

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the batch of ``step``: images ``(N, 3, h, w)`` in [0, 1] and classes ``(N, h, w)``, int64."""
        draws = _draw(self.seed, step, self.batch * _DRAWS, stream=0).reshape(self.batch, _DRAWS)
        pairs = [self._cut(index, row, step) for index, row in zip(self.chosen(step), draws, strict=True)]
        images = torch.stack([image for image, _ in pairs])
        if self.jitter:
            change = torch.tensor(1 + self.jitter * (2 * draws[:, 4:] - 1), dtype=torch.float32, device=self.device)
            brightness, contrast = change.view(-1, 2, 1, 1, 1).unbind(1)
            mean = images.mean((1, 2, 3), keepdim=True)
            images = ((images - mean) * contrast + mean) * brightness
        return images.clamp(0, 1), torch.stack([labels for _, labels in pairs]).long()

    def _pair(self, index: int, seed: float) -> tuple[Tensor, Tensor]:
        if self.augment is None:
            return self.images[index], self.labels[index]
        item = self.augment(self.items[index], int(seed * 2**31))
        image, labels = torch.from_numpy(item.image.copy()), torch.from_numpy(item.labels.copy())
        return image.permute(2, 0, 1).to(self.device), labels.to(self.device)

    def _cut(self, index: int, draws: npt.NDArray[np.float64], step: int) -> tuple[Tensor, Tensor]:
        size, y, x, mirror = draws[:4]
        image, labels = self._pair(index, size)
        low, high = self.scales
        scale = low * (high / low) ** size
        rows, columns = (max(1, min(n, round(c / scale))) for n, c in zip(labels.shape, self.crop, strict=True))
        top = min(int(y * (labels.shape[0] - rows + 1)), labels.shape[0] - rows)
        left = min(int(x * (labels.shape[1] - columns + 1)), labels.shape[1] - columns)
        part = image[:, top : top + rows, left : left + columns].float() / 255
        found = labels[top : top + rows, left : left + columns]
        if (rows, columns) != tuple(self.crop):
            part = F.interpolate(part[None], self.crop, mode="bilinear", antialias=scale < 1)[0]
            found = F.interpolate(found[None, None].float(), self.crop, mode="nearest-exact")[0, 0].to(found.dtype)
        if self.flip and mirror < 0.5:
            part, found = part.flip(2), found.flip(1)
        return part, found


def _draw(seed: int, number: int, count: int, stream: int) -> npt.NDArray[np.float64]:
    """Return ``count`` numbers in [0, 1) that depend on the arguments alone."""
    generator = np.random.Philox(key=np.array([seed, number], dtype=np.uint64), counter=[0, 0, 0, stream])
    return (generator.random_raw(count) >> np.uint64(11)).astype(np.float64) / 2**53
