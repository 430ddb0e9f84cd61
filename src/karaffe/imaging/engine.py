"""Enlarge from a reader to a writer, tile by tile.

Target rows are made in full-width bands from the top down; a band is made of tiles; a tile is computed from its
source pixels and the network's halo around them, which makes it equal to the same part of the untiled result. On the
CPU some tiles of a band are computed at a time. Reading the next band and writing the last one happen in threads of
their own meanwhile. Memory is that of a few bands, whatever the height of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from karaffe.errors import ArgumentError
from karaffe.imaging.consistency import consistent
from karaffe.imaging.geometry import Axis
from karaffe.imaging.info import Array, ImageInfo, Window
from karaffe.imaging.local_range import LocalRange, local_range
from karaffe.imaging.network import Network
from karaffe.imaging.protocols import Reader, Writer
from karaffe.imaging.tile_threads import tile_threads, tiles_at_once
from karaffe.imaging.values import (
    absent,
    away_from_nodata,
    check_values,
    filled,
    from_unit,
    hidden,
    to_unit,
    unit_bounds,
)

Tile = int | Literal["auto"]
AUTO_TILE = 256
_BAND_BYTES = 64 << 20
_SMALLEST_TILE = 8


def check_tile(tile: Tile) -> None:
    """Raise unless ``tile`` is ``"auto"``, 0 or a positive integer."""
    if tile != "auto" and (isinstance(tile, bool) or not isinstance(tile, int) or tile < 0):
        raise ArgumentError(f"tile must be 'auto', 0 (whole image) or a positive integer, got {tile!r}")


@dataclass(frozen=True)
class _Box:
    """Target rows and columns."""

    top: int
    bottom: int
    left: int
    right: int

    def halves(self, down: int, across: int) -> tuple[_Box, _Box]:
        """Cut the longer side, at a multiple of ``down`` rows or ``across`` columns."""
        if self.bottom - self.top >= self.right - self.left:
            middle = (self.top + self.bottom) // (2 * down) * down
            return _Box(self.top, middle, self.left, self.right), _Box(middle, self.bottom, self.left, self.right)
        middle = (self.left + self.right) // (2 * across) * across
        return _Box(self.top, self.bottom, self.left, middle), _Box(self.top, self.bottom, middle, self.right)


class Enlarger:
    """One enlargement of one image.

    Args:
        info: The source (with the value range to use). target: What is made: its size, type and value range.
        consistent: Make the mean of a source pixel's targets equal to it; the factors must be integers.
        network: What computes. tile: Source pixels a side, ``"auto"``, or 0 for the whole image at once.
        name: The image in error messages.

    Raises:
        ArgumentError: ``tile`` is none of these; consistent with a factor that is no integer.
    """

    def __init__(
        self,
        info: ImageInfo,
        target: ImageInfo,
        network: Network,
        tile: Tile = "auto",
        name: str = "image",
        *,
        consistent: bool = False,
    ) -> None:
        check_tile(tile)
        self.info, self.network, self.name = info, network, name
        self.target = target
        self.rows = Axis(info.height, target.height, network.factor, network.kernel)
        self.columns = Axis(info.width, target.width, network.factor, network.kernel)
        same = all(getattr(info, a) == getattr(target, a) for a in ("height", "width", "dtype", "value_range"))
        self._identity = network.function is None and same
        # What a visible target looks at, and as far again around it, where the overshoot of alpha is still visible.
        self._reach = 2 * (network.halo + max(self.rows.reach, self.columns.reach))
        holes = info.dtype.kind == "f" or info.nodata is not None or info.has_alpha
        self._context = network.halo + (self._reach if holes else 0)
        self._consistent = consistent
        self._block = self._blocks() if consistent else (1, 1)
        self._at_once = tiles_at_once() if network.concurrent else 1
        self._step = self._steps(tile)
        self._at_once = min(self._at_once, -(-target.width // self._step[1]))
        self._largest_area: int | None = None

    def _steps(self, tile: Tile) -> tuple[int, int]:
        height, width = self.target.height, self.target.width
        if tile == 0:
            return height, width
        block_rows, block_columns = self._block
        side = AUTO_TILE if tile == "auto" else tile
        down = max(1, round(side * height / self.info.height))
        across = max(1, round(side * width / self.info.width))
        if tile == "auto":
            row_bytes = width * self.info.bands * self.info.dtype.itemsize
            down = min(down, max(_SMALLEST_TILE, _BAND_BYTES // row_bytes))
        down = max(block_rows, down // block_rows * block_rows)
        across = max(block_columns, across // block_columns * block_columns)
        return min(down, height), self._alike(across)

    def _alike(self, across: int) -> int:
        """Return columns, at most ``across``, that cut a band into equal tiles, as many for each thread."""
        width, columns = self.target.width, self._block[1]
        if across >= width:
            return width
        count = -(-width // across)
        count = -(-count // self._at_once) * self._at_once
        return -(-width // (count * columns)) * columns

    def _blocks(self) -> tuple[int, int]:
        """Return targets a source pixel, down and across."""
        (down, rest), (across, left) = (divmod(axis.target, axis.source) for axis in (self.rows, self.columns))
        if rest or left:
            raise ArgumentError(
                f"consistent needs integer factors; {self.info.height} x {self.info.width} to "
                f"{self.target.height} x {self.target.width} has none"
            )
        return down, across

    def run(self, reader: Reader, writer: Writer) -> Iterator[int]:
        """Enlarge every frame; yield the number of target pixels finished after each band."""
        bands = [
            (frame, top, min(top + self._step[0], self.target.height))
            for frame in range(self.info.frames)
            for top in range(0, self.target.height, self._step[0])
        ]
        done = 0
        with (
            ThreadPoolExecutor(1) as reading,
            ThreadPoolExecutor(1) as writing,
            tile_threads(self._at_once) as computing,
        ):
            ahead = reading.submit(self._read, reader, *bands[0])
            behind: Future[None] | None = None
            for number, (frame, top, bottom) in enumerate(bands):
                start, source = ahead.result()
                if number + 1 < len(bands):
                    ahead = reading.submit(self._read, reader, *bands[number + 1])
                band = self._band(computing, source, start, top, bottom)
                if behind is not None:
                    behind.result()
                window = Window(top, 0, bottom - top, self.target.width)
                behind = writing.submit(writer.write, window, band, frame)
                done += band.shape[0] * band.shape[1]
                yield done
            if behind is not None:
                behind.result()

    def _read(self, reader: Reader, frame: int, top: int, bottom: int) -> tuple[int, Array]:
        low, high = self.rows.span(top, bottom, self._context).read
        return low, reader.read(Window(low, 0, high - low, self.info.width), frame)

    def _band(self, computing: Executor | None, source: Array, start: int, top: int, bottom: int) -> Array:
        width, across = self.target.width, self._step[1]
        out = np.empty((bottom - top, width, self.info.bands), self.target.dtype)

        def tile(left: int) -> None:
            self._tile(source, start, _Box(top, bottom, left, min(left + across, width)), out, top)

        # Going through the results raises what a thread raised.
        for _ in (computing.map if computing else map)(tile, range(0, width, across)):
            pass
        return out

    def _tile(self, source: Array, start: int, box: _Box, out: Array, top: int) -> None:
        """Compute a box into ``out``; where memory does not suffice, compute its halves."""
        area = (box.bottom - box.top) * (box.right - box.left)
        if self._largest_area is None or area <= self._largest_area:
            try:
                out[box.top - top : box.bottom - top, box.left : box.right] = self._compute(source, start, box)
                return
            except (MemoryError, RuntimeError) as error:
                if not _out_of_memory(error) or area <= max(_SMALLEST_TILE**2, 2 * self._block[0] * self._block[1]):
                    raise
                self._largest_area = area // 2 + 1
        for half in box.halves(*self._block):
            self._tile(source, start, half, out, top)

    def _compute(self, source: Array, start: int, box: _Box) -> Array:
        rows = self.rows.span(box.top, box.bottom, self._context)
        columns = self.columns.span(box.left, box.right, self._context)
        pixels = source[rows.read[0] - start : rows.read[1] - start, columns.read[0] : columns.read[1]]
        if self._identity:
            return pixels
        gone = absent(pixels, self.info)
        check_values(pixels, ~gone, self.info, self.name)
        unknown = self._unknown(pixels, gone)
        x = self._without_holes(to_unit(pixels, self.info), unknown)
        low = (rows.read[0], columns.read[0])
        rows = self.rows.span(box.top, box.bottom, self.network.halo)
        columns = self.columns.span(box.left, box.right, self.network.halo)
        near = x[:, slice(*(r - low[0] for r in rows.read)), slice(*(c - low[1] for c in columns.read))]
        with torch.inference_mode():
            y = self._network(near)
            y = y[:, rows.offset : rows.offset + rows.length, columns.offset : columns.offset + columns.length]
            y = self.rows.resample(y, 1, box.top, box.bottom)
            y = self.columns.resample(y, 2, box.left, box.right)
        under = self.rows.nearest(box.top, box.bottom) - low[0], self.columns.nearest(box.left, box.right) - low[1]
        result = self._stored(y, x, under, self._around(pixels, unknown))
        if gone.any():
            below = np.ix_(*under)
            result = np.where(gone[below], self._carried(pixels)[below], result)
        return result

    def _carried(self, pixels: Array) -> Array:
        """Return source values as the target stores them."""
        if (self.info.dtype, self.info.value_range) == (self.target.dtype, self.target.value_range):
            return pixels
        return from_unit(to_unit(pixels, self.info), self.target)

    def _around(self, pixels: Array, unknown: Array) -> LocalRange | None:
        """Return between which values the targets of each source pixel must stay, if the network promises any."""
        if self.network.window_radius is None:
            return None
        radius = self.network.window_radius + max(self.rows.reach, self.columns.reach)
        return local_range(self._carried(pixels), ~unknown, radius)

    def _stored(self, y: Tensor, x: Tensor, under: tuple[Array, Array], around: LocalRange | None) -> Array:
        """Return target values as they are stored.

        Args:
            x: The source without holes. under: Its row and column under each target row and column.
            around: What bounds the targets of each of its pixels.
        """
        means, bounds = None, around and around.at(*under)
        if self._consistent:
            rows, columns = under[0][:: self._block[0]], under[1][:: self._block[1]]
            x = x[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].to(y.device)
            means = from_unit(x, self.target)
            y = consistent(y, x, unit_bounds(self.target, around and around.at(rows, columns)))
        return away_from_nodata(from_unit(y, self.target, means, bounds), self.target)

    def _unknown(self, pixels: Array, gone: Array) -> Array:
        """Return where values must not be looked at: absent ones, and the colours of what is fully transparent."""
        unseen = hidden(pixels, self.info)
        if unseen is None or not unseen.any():
            return gone
        unknown = gone.copy()
        unknown[:, :, :-1] |= unseen[:, :, None]
        return unknown

    def _without_holes(self, x: Tensor, unknown: Array) -> Tensor:
        if not unknown.any():
            return x
        return filled(x, torch.from_numpy(np.ascontiguousarray(~unknown.transpose(2, 0, 1))), self._reach)

    def _network(self, x: Tensor) -> Tensor:
        """Run RGB as a colour picture and every other band by itself."""
        if self.info.colour != "rgb":
            return self.network(x[:, None])[:, 0]
        colour = self.network(x[None, :3])[0]
        if self.info.bands == 3:
            return colour
        return torch.cat([colour, self.network(x[3:, None])[:, 0]])


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return "allocate memory" in text or "out of memory" in text or "not enough memory" in text
