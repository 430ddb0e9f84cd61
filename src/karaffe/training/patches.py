"""Batches of crops that depend on nothing but (seed, step), cut on whatever device holds the pictures."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from karaffe.evaluation import imresize
from karaffe.training.config import DegradationSection
from karaffe.training.data import Pixels, check_size, luma_plane
from karaffe.training.degradation import make_pair


class PatchSampler:
    """Random crops of pairs, flipped and transposed at random.

    All randomness of a step comes from hashing (seed, step, number of the draw), so a batch needs no history, and the
    crops of many steps can be drawn at once, on any device, with the same result (SplitMix64's finaliser; Steele,
    Lea, Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014).

    Args:
        store: the pictures.
        batch: crops a step.
        candidates: of so many crops, the one with the largest mean vertical gradient of the source is taken.
        seed: the run's.

    Attributes:
        fingerprint: of the pictures' pixels.
    """

    def __init__(self, store: PairStore, *, batch: int, candidates: int = 1, seed: int = 0) -> None:
        self.store, self.batch, self.candidates, self.seed = store, batch, candidates, seed
        self.patch, self.names, self.fingerprint = store.patch, store.names, store.fingerprint

    def use(self, device: torch.device) -> None:
        """Move the pictures to ``device`` and make batches there from now on."""
        self.store.to(device)

    def crops(self, steps: Tensor) -> Tensor:
        """Return ``(T, batch, 4)``: plane, top, left and symmetry 0 … 7 of every crop of ``steps (T,)``, int64."""
        store, count = self.store, 3 * self.candidates + 1
        numbers = torch.arange(self.batch * count, device=steps.device)
        draws = hashed(self.seed, steps[:, None], numbers).unflatten(1, (self.batch, count))
        choice, row, column = draws[..., :-1].unflatten(2, (self.candidates, 3)).unbind(3)
        plane = torch.searchsorted(store.shares, choice.double() / 2**63, right=True)
        plane = plane.clamp_max(len(store.names) - 1)
        top, left = row % (store.heights[plane] - self.patch + 1), column % (store.widths[plane] - self.patch + 1)
        symmetry = draws[..., -1:] % 8
        if self.candidates > 1:
            best = store.detail(plane, top, left, self.patch).argmax(2, keepdim=True)
            plane, top, left = (values.gather(2, best) for values in (plane, top, left))
        return torch.cat((plane, top, left, symmetry), 2)

    def cut(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return the patches of ``crops (N, 4)``: sources ``(N, 1, p, p)``, targets ``(N, 1, sp, sp)``, in [0, 1]."""
        source, target = (
            self.store.follow(self.store.walks(crops, self.patch, factor), self.patch, factor)
            for factor in (1, self.store.scale)
        )
        return source, target

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the batch of ``step``, luma."""
        return self.cut(self.crops(torch.tensor([step], device=self.store.device))[0])

    def names_at(self, step: int) -> list[str]:
        """Return the names of the pictures in the batch of ``step``."""
        planes = self.crops(torch.tensor([step], device=self.store.device))[0, :, 0]
        return sorted({self.names[plane] for plane in planes.tolist()})


class PairStore:
    """The luma of all pairs, end to end in two vectors, so that one gather cuts a batch on any device.

    Args:
        pictures: names and 8-bit RGB pixels.
        scale: the factor.
        patch: edge of a crop in source pixels.
        reductions: fractions of the size at which every picture is used.
        degradation: what the sources suffer beside the reduction, in how many variants.

    Attributes:
        names: of the picture that a plane is of. heights, widths: of the planes' sources.
        shares: cumulated probabilities of the planes, float64.
        fingerprint: of the pictures' pixels.

    Raises:
        ArgumentError: a picture that is smaller than a patch at full size (it is named).
    """

    def __init__(
        self,
        pictures: Sequence[tuple[str, Pixels]],
        *,
        scale: int,
        patch: int,
        reductions: Sequence[float] = (1.0,),
        degradation: DegradationSection | None = None,
    ) -> None:
        self.scale, self.patch = scale, patch
        digest = hashlib.sha256()
        for name, picture in pictures:
            check_size(name, picture, patch * scale)
            digest.update(f"{name} {picture.shape}".encode() + picture.tobytes())
        self.fingerprint = digest.hexdigest()[:16]
        variants = range(degradation.variants if degradation else 1)
        sizes = sorted({*reductions, 1.0}, reverse=True)
        wanted = itertools.product(pictures, sizes, variants)

        def prepare(item: tuple[tuple[str, Pixels], float, int]) -> tuple[str, Tensor, Tensor] | None:
            (name, picture), reduction, variant = item
            if reduction < 1:
                height, width = (max(1, round(n * reduction)) for n in picture.shape[:2])
                if min(height, width) < patch * scale:
                    return None
                picture = imresize(picture, size=(height, width))
            pair = make_pair(name, picture, scale, degradation, variant)
            return name, luma_plane(pair.source), luma_plane(pair.target)

        with ThreadPoolExecutor() as pool:
            planes = [plane for plane in pool.map(prepare, wanted) if plane]
        self.names = [name for name, *_ in planes]
        self.heights, self.widths = (torch.tensor([source.shape[i] for _, source, _ in planes]) for i in (0, 1))
        areas = self.heights * self.widths
        self.offsets = areas.cumsum(0) - areas
        # Between one share a picture and one share a pixel, so that large smooth pictures do not drown the others.
        shares = areas.double() ** 0.75
        self.shares = (shares / shares.sum()).cumsum(0)
        self.sides = {
            1: torch.cat([source.flatten() for _, source, _ in planes]),
            scale: torch.cat([target.flatten() for *_, target in planes]),
        }
        self.gradients = torch.cat([summed_gradient(source).flatten() for _, source, _ in planes])

    @property
    def device(self) -> torch.device:
        return self.shares.device

    def to(self, device: torch.device) -> None:
        """Move everything to ``device``."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        self.sides = {factor: side.to(device) for factor, side in self.sides.items()}

    def detail(self, plane: Tensor, top: Tensor, left: Tensor, patch: int) -> Tensor:
        """Return the sums of the absolute vertical gradient in crops of the sources, one per entry, float64."""
        # A plane's table has one column more than the plane, so the planes before it have a column more each, too.
        width = self.widths[plane] + 1
        start = self.offsets[plane] + (self.heights.cumsum(0) - self.heights)[plane] + left
        above, below = start + top * width, start + (top + patch - 1) * width
        table = self.gradients
        return (table[below + patch] - table[below]) - (table[above + patch] - table[above])

    def walks(self, crops: Tensor, patch: int, factor: int) -> Tensor:
        """Return how ``crops (…, 4)`` are walked in sources (``factor`` 1) or targets: first, step down, right.

        A symmetry is a way to walk: the result ``(…, 3)`` is all that :meth:`follow` needs.
        """
        plane, top, left, symmetry = crops.unbind(-1)
        width = self.widths[plane] * factor
        last = patch * factor - 1
        down, right, turned = symmetry & 1, (symmetry >> 1) & 1, symmetry >> 2
        first = self.offsets[plane] * factor**2 + (top * factor + down * last) * width + left * factor + right * last
        along_y, along_x = width * (1 - 2 * down), 1 - 2 * right
        step_y = torch.where(turned == 1, along_x, along_y)
        step_x = torch.where(turned == 1, along_y, along_x)
        return torch.stack((first, step_y, step_x), -1)

    def follow(self, walks: Tensor, patch: int, factor: int) -> Tensor:
        """Return the patches ``(N, 1, factor · patch, factor · patch)`` of ``walks (N, 3)``."""
        first, step_y, step_x = walks[:, :, None, None].unbind(1)
        steps = torch.arange(patch * factor, device=walks.device)
        return self.sides[factor][first + step_y * steps[:, None] + step_x * steps][:, None]


def summed_gradient(plane: Tensor) -> Tensor:
    """Return ``(H, W + 1)``: at (y, x) the sum of |plane[i + 1, j] - plane[i, j]| over i < y and j < x, float64."""
    table = torch.zeros(plane.shape[0], plane.shape[1] + 1, dtype=torch.float64)
    table[1:, 1:] = plane.double().diff(dim=0).abs().cumsum(0).cumsum(1)
    return table


def hashed(seed: int, steps: Tensor, numbers: Tensor) -> Tensor:
    """Return a hash of (seed, step, number) in [0, 2^63), int64, broadcast over ``steps`` and ``numbers``."""
    key = _mix(_mix(torch.tensor(seed, device=steps.device) + _GOLDEN) ^ steps)
    return _mix(key + (numbers + 1) * _GOLDEN) & (2**63 - 1)


# SplitMix64's constants as signed numbers: int64 wraps around as uint64 does.
_GOLDEN, _FIRST, _SECOND = (c - 2**64 for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right without the sign."""
    return (x >> bits) & (2 ** (64 - bits) - 1)
