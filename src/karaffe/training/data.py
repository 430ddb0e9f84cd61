"""Training pairs: pictures, their reduced versions, and batches that depend on nothing but (seed, step).

The degradation is the papers': MATLAB's antialiased bicubic on 8-bit RGB. Training sees the luma of both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from karaffe.errors import ArgumentError, FileError
from karaffe.evaluation import imresize, to_uint8
from karaffe.evaluation.images import Image
from karaffe.evaluation.pictures import crop_to_multiple, expand, read_picture, reduce
from karaffe.models.sharp import to_luma

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """A picture ``target (sH, sW, 3)`` and its reduction ``source (H, W, 3)``, 8-bit RGB."""

    name: str
    source: Pixels
    target: Pixels


def read_folder(folder: Path) -> list[tuple[str, Pixels]]:
    """Read every picture of ``folder`` in the order of names, as 8-bit RGB; grey ones get three equal channels.

    Raises:
        FileError: there is no such folder, no picture in it, or one that cannot be read (it is named).
    """
    if not folder.is_dir():
        raise FileError(f"no folder {folder}; it should hold training pictures")
    return [(path.name, as_rgb(read_picture(path))) for path in expand([folder])]


def as_rgb(picture: Image) -> Pixels:
    """Return a grey or RGB picture of any depth as 8-bit RGB."""
    pixels = to_uint8(picture)
    return np.stack([pixels] * 3, axis=2) if pixels.ndim == 2 else pixels


def check_size(name: str, picture: Pixels, edge: int) -> Pixels:
    """Return ``picture`` if an ``edge`` x ``edge`` crop fits into it.

    Raises:
        ArgumentError: it is smaller; the message names it.
    """
    height, width = picture.shape[:2]
    if min(height, width) < edge:
        raise ArgumentError(f"picture {name} is {width}x{height}, smaller than a patch of {edge}x{edge} target pixels")
    return picture


def make_pair(name: str, picture: Pixels, scale: int) -> Pair:
    """Cut ``picture`` to a multiple of ``scale`` and reduce it."""
    target = crop_to_multiple(picture, scale, name)
    return Pair(name, reduce(target, scale), target)


def luma_plane(rgb: Pixels) -> Tensor:
    """Return the full-range luma ``(H, W)`` in [0, 1], float32, unrounded."""
    x = torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1)[None]
    return to_luma(x)[0, 0].contiguous()


def middle(picture: Pixels, edge: int) -> Pixels:
    """Cut the middle ``edge`` x ``edge`` out of a picture, or all of it where it is smaller."""
    top, left = (max(0, (n - edge) // 2) for n in picture.shape[:2])
    return picture[top : top + edge, left : left + edge]


class PatchSampler:
    """Random crops of pairs, flipped and transposed at random.

    All randomness of a step comes from a counter-based generator keyed by (seed, step) (Philox; Salmon et al.,
    *Parallel random numbers: as easy as 1, 2, 3*, SC 2011), so a batch needs no history.

    Args:
        pictures: names and 8-bit RGB pixels.
        scale: the factor.
        patch: edge of a crop in source pixels.
        batch: crops a step.
        candidates: of so many crops, the one with the largest mean gradient of the source is taken.
        reductions: fractions of the size at which every picture is used.
        seed: the run's.

    Raises:
        ArgumentError: a picture that is smaller than a patch at full size (it is named).
    """

    def __init__(
        self,
        pictures: Sequence[tuple[str, Pixels]],
        *,
        scale: int,
        patch: int,
        batch: int,
        candidates: int = 1,
        reductions: Sequence[float] = (1.0,),
        seed: int = 0,
    ) -> None:
        self.scale, self.patch, self.batch, self.candidates, self.seed = scale, patch, batch, candidates, seed
        self.names: list[str] = []
        self.planes: list[tuple[Tensor, Tensor]] = []
        digest = hashlib.sha256()
        for name, picture in pictures:
            check_size(name, picture, patch * scale)
            digest.update(f"{name} {picture.shape}".encode() + picture.tobytes())
            for reduction in sorted(set(reductions) | {1.0}, reverse=True):
                self._add(name, picture, reduction)
        self.fingerprint = digest.hexdigest()[:16]
        # Between one share a picture and one share a pixel, so that large smooth pictures do not drown the others.
        areas = np.array([source.numel() for source, _ in self.planes], dtype=np.float64) ** 0.75
        self.shares = np.cumsum(areas / areas.sum())

    def _add(self, name: str, picture: Pixels, reduction: float) -> None:
        if reduction < 1:
            height, width = (max(1, round(n * reduction)) for n in picture.shape[:2])
            if min(height, width) < self.patch * self.scale:
                return
            picture = imresize(picture, size=(height, width))
        pair = make_pair(name, picture, self.scale)
        self.names.append(name)
        self.planes.append((luma_plane(pair.source), luma_plane(pair.target)))

    def crops(self, step: int) -> list[tuple[int, int, int, int]]:
        """Return (plane, top, left, symmetry 0 … 7) of every crop of a step."""
        generator = np.random.Philox(key=np.array([self.seed, step], dtype=np.uint64))
        draws = generator.random_raw(self.batch * (self.candidates * 3 + 1)).reshape(self.batch, -1)
        return [self._best(row) for row in draws]

    def _best(self, draws: npt.NDArray[np.uint64]) -> tuple[int, int, int, int]:
        best, most = (0, 0, 0, 0), -1.0
        for choice, row, column in draws[:-1].reshape(-1, 3).tolist():
            plane = min(int(np.searchsorted(self.shares, choice / 2**64, side="right")), len(self.planes) - 1)
            source = self.planes[plane][0]
            top, left = row % (source.shape[0] - self.patch + 1), column % (source.shape[1] - self.patch + 1)
            if self.candidates == 1:
                return plane, top, left, int(draws[-1]) % 8
            detail = float(source[top : top + self.patch, left : left + self.patch].diff(dim=0).abs().mean())
            if detail > most:
                best, most = (plane, top, left, int(draws[-1]) % 8), detail
        return best

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the batch of ``step``: sources ``(N, 1, p, p)`` and targets ``(N, 1, sp, sp)``, luma in [0, 1]."""
        crops = self.crops(step)
        source, target = (
            torch.stack([self._cut(self.planes[plane][side], factor, *place) for plane, *place in crops])[:, None]
            for side, factor in enumerate((1, self.scale))
        )
        return source, target

    def _cut(self, plane: Tensor, factor: int, top: int, left: int, symmetry: int) -> Tensor:
        y, x, edge = top * factor, left * factor, self.patch * factor
        return _turn(plane[y : y + edge, x : x + edge], symmetry)

    def names_at(self, step: int) -> list[str]:
        """Return the names of the pictures in the batch of ``step``."""
        return sorted({self.names[plane] for plane, *_ in self.crops(step)})


def _turn(x: Tensor, symmetry: int) -> Tensor:
    flips = [axis for axis, bit in ((0, 1), (1, 2)) if symmetry & bit]
    x = x.flip(flips) if flips else x
    return x.T if symmetry & 4 else x
