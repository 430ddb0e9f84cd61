r"""How faithful a result is to its source: what a practitioner needs to know before relying on it.

Everything is measured on the values that were stored, in percent of the value range, band by band of rows, so that
memory does not grow with the image. Absent pixels take no part.

- *Difference*: the result reduced to the source's grid (mean of the targets of each source pixel) against the source.
- *Shift*: the least-squares translation (d_y, d_x) in source pixels with reduced(p) = source(p - d), from the gradients
  of the source (B. Lucas and T. Kanade, IJCAI 1981).
- *Beyond the local range*: targets above the largest or below the smallest value of the 3 x 3 source pixels around.
- *Lean*: the mean of \|result - Lanczos\| over the targets of a source pixel: where the network added most.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from karaffe.errors import ArgumentError
from karaffe.imaging.files import open_reader
from karaffe.imaging.geometry import Axis
from karaffe.imaging.info import Array, ImageInfo, Window, dtype_range
from karaffe.imaging.protocols import Reader
from karaffe.imaging.values import absent
from karaffe.imaging.volume import ThroughPlane

Range = tuple[float, float]
_ROWS = 128
_MAP_SIDE = 512
_PLACES = 5


@dataclass(frozen=True)
class Fidelity:
    """Figures in percent of the value range, shifts in source pixels, places as (frame, row, column) of the source.

    Attributes:
        difference_mean, difference_max: Of the reduced result against the source.
        brightness: Mean of the signed difference.
        shift: (down, right). beyond_share: Percent of targets beyond the local range. beyond_max: By how much at most.
        lean_mean, lean_max: Distance from Lanczos interpolation.
        places: Where the result leans most on the network, worst first.
    """

    difference_mean: float
    difference_max: float
    brightness: float
    shift: tuple[float, float]
    beyond_share: float
    beyond_max: float
    lean_mean: float
    lean_max: float
    places: tuple[tuple[int, int, int], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class Assessment:
    """The figures, and maps of the first frame (largest value over blocks of source pixels, in percent)."""

    fidelity: Fidelity
    difference_map: Array
    lean_map: Array


def assess(source: Path, result: Path, value_range: Range | None = None) -> Assessment:
    """Measure the file ``result`` against the file ``source`` that it was enlarged from.

    ``value_range`` is that of the enlargement, in real values (Hounsfield units); default: what the files declare.

    Raises:
        FileError: One of them cannot be read.
        ArgumentError: They cannot be source and result: other bands or frames.
    """
    with open_reader(source) as original, open_reader(result) as made:
        before: Reader = original
        if original.info.slices != made.info.slices:
            before = ThroughPlane(original, made.info.slices)
        a, b = before.info, made.info
        if (a.bands, a.frames) != (b.bands, b.frames):
            raise ArgumentError(
                f"{result} has {b.bands} bands and {b.frames} frames, {source} has {a.bands} and {a.frames}: "
                "one was not made from the other"
            )
        return _Assessor(before, made, *_ranges(original.info, b, value_range)).run()


def _ranges(source: ImageInfo, result: ImageInfo, value_range: Range | None) -> tuple[Range, Range]:
    """Return the stored values of black and white in source and result; ``value_range`` is given in real values."""
    if value_range is None:
        return source.value_range, result.value_range
    slope, intercept = source.rescale
    low, high = ((v - intercept) / slope for v in value_range)
    spread = dtype_range(result.dtype, result.bits)[1] / dtype_range(source.dtype, source.bits)[1]
    return (low, high), (low * spread, high * spread)


class _Assessor:
    def __init__(self, source: Reader, result: Reader, before: Range, after: Range) -> None:
        self._source, self._result = source, result
        a, b = source.info, result.info
        self._before, self._after = before, after
        self._down = [Axis(m, n, 1, "mean") for n, m in ((a.height, b.height), (a.width, b.width))]
        self._up = [Axis(n, m, 1, "lanczos3") for n, m in ((a.height, b.height), (a.width, b.width))]
        self._cell = max(1, math.ceil(max(a.height, a.width) / _MAP_SIDE))
        shape = (math.ceil(a.height / self._cell), math.ceil(a.width / self._cell))
        self._maps = np.zeros((2, *shape))
        self._sums = dict.fromkeys(("pixels", "difference", "signed", "lean", "targets", "beyond"), 0.0)
        self._largest = dict.fromkeys(("difference", "beyond", "lean"), 0.0)
        self._normal, self._right = np.zeros((2, 2)), np.zeros(2)
        self._worst: list[tuple[float, tuple[int, int, int]]] = []

    def run(self) -> Assessment:
        info = self._source.info
        for frame in range(info.frames):
            for top in range(0, info.height, _ROWS):
                self._band(frame, top, min(top + _ROWS, info.height))
        sums, largest = self._sums, self._largest
        pixels, targets = max(1.0, sums["pixels"]), max(1.0, sums["targets"])
        down, right = -np.linalg.lstsq(self._normal, self._right, rcond=None)[0]
        worst = sorted(self._worst, reverse=True)[:_PLACES]
        fidelity = Fidelity(
            difference_mean=100 * sums["difference"] / pixels,
            difference_max=100 * largest["difference"],
            brightness=100 * sums["signed"] / pixels,
            shift=(float(down), float(right)),
            beyond_share=100 * sums["beyond"] / targets,
            beyond_max=100 * largest["beyond"],
            lean_mean=100 * sums["lean"] / pixels,
            lean_max=100 * largest["lean"],
            places=tuple(place for _, place in worst),
        )
        return Assessment(fidelity, 100 * self._maps[0], 100 * self._maps[1])

    def _band(self, frame: int, top: int, bottom: int) -> None:
        """Add source rows ``top … bottom - 1`` and the result rows over them."""
        a, b = self._source.info, self._result.info
        first, last = math.ceil(top * b.height / a.height), math.ceil(bottom * b.height / a.height)
        around = self._up[0].span(first, last, 1).read
        around = (max(0, min(around[0], top - 1)), min(a.height, max(around[1], bottom + 1)))
        below = self._down[0].span(top, bottom, 0).read
        below = (min(below[0], first), max(below[1], last))
        x, gone = _unit(self._source, frame, around, self._before)
        y, missing = _unit(self._result, frame, below, self._after)
        part = slice(top - around[0], bottom - around[0])
        kept = ~(gone[:, part] | self._spoilt(missing, top, bottom, below[0]))
        reduced = self._reduced(y, top, bottom, below[0])
        self._add_difference(x, reduced, kept, part, frame, top)
        self._add_detail(x, y[:, first - below[0] : last - below[0]], kept, (frame, top, around[0], first, last))

    def _reduced(self, y: Tensor, top: int, bottom: int, start: int) -> Tensor:
        span = self._down[0].span(top, bottom, 0)
        y = y[:, span.read[0] - start : span.read[1] - start]
        y = self._down[0].resample(y[:, span.offset : span.offset + span.length], 1, top, bottom)
        return self._down[1].resample(y, 2, 0, self._source.info.width)

    def _spoilt(self, missing: Tensor, top: int, bottom: int, start: int) -> Tensor:
        return self._reduced(missing.double(), top, bottom, start) > 0

    def _add_difference(self, x: Tensor, reduced: Tensor, kept: Tensor, part: slice, frame: int, top: int) -> None:
        error = torch.where(kept, reduced - x[:, part], 0.0)
        self._sums["pixels"] += float(kept.sum())
        self._sums["difference"] += float(error.abs().sum())
        self._sums["signed"] += float(error.sum())
        self._largest["difference"] = max(self._largest["difference"], float(error.abs().max()))
        if frame == 0:
            self._add_map(0, error.abs(), top)
        if min(x.shape[1:]) < 2:
            return
        gradients = [g[:, part] * kept for g in torch.gradient(x, dim=(1, 2))]
        for i, g in enumerate(gradients):
            self._right[i] += float((g * error).sum())
            for j, h in enumerate(gradients):
                self._normal[i, j] += float((g * h).sum())

    def _add_detail(self, x: Tensor, y: Tensor, kept: Tensor, where: tuple[int, int, int, int, int]) -> None:
        frame, top, start, first, last = where
        up_rows, up_columns = self._up
        span, width = up_rows.span(first, last, 0), self._result.info.width
        smooth = x[:, span.read[0] - start : span.read[1] - start]
        smooth = up_columns.resample(up_rows.resample(smooth, 1, first, last), 2, 0, width)
        rows, columns = up_rows.nearest(first, last) - start, up_columns.nearest(0, width)
        most = F.max_pool2d(x[None], 3, 1, 1)[0][:, rows][:, :, columns]
        least = -F.max_pool2d(-x[None], 3, 1, 1)[0][:, rows][:, :, columns]
        valid = kept[:, np.clip(rows + start - top, 0, kept.shape[1] - 1)][:, :, columns]
        # Half a count of rounding is not beyond anything.
        beyond = torch.where(
            valid, torch.maximum(y - most, least - y) - _half_count(self._result.info, self._after), 0.0
        )
        self._sums["targets"] += float(valid.sum())
        self._sums["beyond"] += float((beyond > 0).sum())
        self._largest["beyond"] = max(self._largest["beyond"], float(beyond.max()))
        lean = self._block_means(torch.where(valid, (y - smooth).abs(), 0.0), rows + start - top, columns, kept)
        self._sums["lean"] += float(lean.sum())
        self._largest["lean"] = max(self._largest["lean"], float(lean.max()))
        row, column = divmod(int(lean.amax(0).argmax()), lean.shape[2])
        self._worst.append((float(lean.max()), (frame, top + row, column)))
        if frame == 0:
            self._add_map(1, lean, top)

    def _block_means(self, values: Tensor, rows: Array, columns: Array, kept: Tensor) -> Tensor:
        """Return means over the targets of each source pixel (zero where it has none)."""
        height, width = kept.shape[1:]
        inside = (rows >= 0) & (rows < height)
        place = torch.from_numpy(rows[inside][:, None] * width + columns[None]).flatten()
        flat = values[:, torch.from_numpy(inside)].flatten(1)
        total = torch.zeros(len(values), height * width, dtype=values.dtype).index_add_(1, place, flat)
        count = torch.zeros(height * width, dtype=values.dtype).index_add_(0, place, torch.ones_like(flat[0]))
        return (total / count.clamp_min(1)).unflatten(1, (height, width))

    def _add_map(self, number: int, values: Tensor, top: int) -> None:
        flat = values.amax(0).numpy()
        rows, columns = (np.arange(n) for n in flat.shape)
        np.maximum.at(self._maps[number], np.ix_((rows + top) // self._cell, columns // self._cell), flat)


def _unit(reader: Reader, frame: int, rows: tuple[int, int], value_range: Range) -> tuple[Tensor, Tensor]:
    """Return rows on the unit scale as ``(bands, h, w)`` in float64, holes filled with zero, and where they are."""
    info = reader.info
    pixels = reader.read(Window(rows[0], 0, rows[1] - rows[0], info.width), frame)
    gone = absent(pixels, info)
    low, high = value_range
    unit = (np.where(gone, 0, pixels).astype(np.float64) - low) / (high - low)
    x = torch.from_numpy(np.ascontiguousarray(unit.transpose(2, 0, 1)))
    return x, torch.from_numpy(np.ascontiguousarray(gone.transpose(2, 0, 1)))


def _half_count(info: ImageInfo, value_range: Range) -> float:
    return 1e-6 if info.dtype.kind == "f" else 0.5001 / abs(value_range[1] - value_range[0])
