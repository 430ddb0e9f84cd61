"""Pictures, a small network with a known halo, and writing in bands, for every test of imaging."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.imaging import ImageInfo, Window, open_writer
from karaffe.imaging.info import dtype_range

BANDS = {"grey": 1, "rgb": 3, "cmyk": 4, "bands": 5}


class Content(nn.Module):
    """Enlarge by kernels that depend on the content and sum to one: nonlinear, with a halo of exactly 2."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.scale, self.halo = scale, 2
        self.register_buffer("phase", torch.linspace(-1, 1, scale * scale * 9).view(-1, 9, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        s = self.scale
        y = F.pad(x, (1, 1, 1, 1), mode="replicate")
        taps = F.unfold(y, 3).unflatten(1, (x.shape[1], 9)).unflatten(-1, x.shape[2:])
        luma = taps.mean(1)
        smooth = F.avg_pool2d(F.pad(luma, (1, 1, 1, 1), mode="replicate"), 3, 1)
        logits = smooth[:, None] * 4 * self.phase[:, :, 0, 0][None, :, :, None, None]
        kernels = logits.softmax(2)
        out = torch.einsum("npkhw,nckhw->ncphw", kernels, taps)
        return F.pixel_shuffle(out.flatten(1, 2), s)


@pytest.fixture(scope="session")
def content() -> type[Content]:
    return Content


@pytest.fixture
def network() -> Content:
    return Content()


def make_info(colour: str, alpha: bool, dtype: str, bits: int | None = None, **changes: Any) -> ImageInfo:
    kind = np.dtype(dtype)
    bits = bits or 8 * kind.itemsize
    options = {"width": 29, "height": 37, "value_range": dtype_range(kind, bits), **changes}
    return ImageInfo(bands=BANDS[colour] + alpha, dtype=kind, bits=bits, colour=colour, has_alpha=alpha, **options)  # type: ignore[arg-type]


def make_pixels(info: ImageInfo, seed: int = 0) -> np.ndarray:
    """Return frames that use the whole range of values."""
    rng = np.random.default_rng(seed)
    shape = (info.frames, info.height, info.width, info.bands)
    low, high = info.value_range
    if info.dtype.kind == "f":
        return (rng.random(shape) * (high - low) + low).astype(info.dtype)
    frames = rng.integers(int(low), int(high), shape, endpoint=True, dtype=np.int64).astype(info.dtype)
    frames.flat[:2] = [int(low), int(high)]
    return frames


def write(path: Path, info: ImageInfo, frames: np.ndarray, step: int = 10) -> Path:
    with open_writer(path, info, overwrite=True) as writer:
        for frame in range(info.frames):
            for top in range(0, info.height, step):
                window = Window(top, 0, min(step, info.height - top), info.width)
                writer.write(window, window.of(frames[frame]), frame)
    return path


@pytest.fixture
def make() -> Callable[..., tuple[ImageInfo, np.ndarray]]:
    def image(colour: str, alpha: bool, dtype: str, bits: int | None = None, **changes: Any):
        info = make_info(colour, alpha, dtype, bits, **changes)
        return info, make_pixels(info)

    return image


@pytest.fixture(name="write")
def write_fixture() -> Callable[..., Path]:
    return write


@pytest.fixture
def picture() -> np.ndarray:
    """A smooth RGB picture with an edge and some texture, (45, 61, 3), uint8."""
    y, x = np.mgrid[:45, :61]
    base = 120 + 70 * np.sin(x / 7) * np.cos(y / 5) + 50 * (x + y > 50)
    colours = np.stack([base, base[::-1], 255 - base], axis=2)
    return np.clip(colours + np.random.default_rng(1).normal(0, 6, colours.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def exif() -> Callable[[int], bytes]:
    """Return an EXIF block (without prefix) with an orientation, a maker, a copyright, exposure and position."""

    def block(orientation: int = 1) -> bytes:
        from PIL import Image

        data = Image.Exif()
        data[0x0112] = orientation
        data[271], data[33432] = "Kamera AG", "Jane Doe"
        data.get_ifd(0x8769).update({33434: 0.008, 36867: "2026:01:02 03:04:05", 0xA002: 29, 0xA003: 37})
        data.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 30.0)})
        return data.tobytes().removeprefix(b"Exif\0\0")

    return block
