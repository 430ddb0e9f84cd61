"""Small networks, each with one habit that makes surgery hard."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import interpolate as enlarge


def resize(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: Any = None):
    """A free helper that every site goes through."""
    return F.interpolate(input, size, scale_factor, mode, align_corners)


def announced(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A decorator that hides ``forward`` in its closure."""

    @functools.wraps(forward)
    def wrapper(self: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        return forward(self, *args, **kwargs) * 1.0

    return wrapper


class Pyramid(nn.Module):
    """Three maps, each half the size of the one before."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32)) -> None:
        super().__init__()
        pairs = zip((3, *widths), widths, strict=False)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairs)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x).relu()
            maps.append(x)
        return maps


class SharedUpsample(nn.Module):
    """One nn.Upsample called at two channel counts, with align_corners."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Pyramid()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.mix = nn.Conv2d(48, 16, 3, 1, 1)
        self.head = nn.Conv2d(24, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.body(x)
        u = self.mix(torch.cat([self.up(c), b], 1))
        return self.head(torch.cat([self.up(u), a], 1))


class SharedUpsampleOneWidth(nn.Module):
    """One nn.Upsample called twice at one channel count."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Pyramid((8, 8, 8))
        self.up = nn.Upsample(scale_factor=2)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.body(x)
        return self.head(self.up(self.up(c) + b) + a)


class HelperMethod(nn.Module):
    """A method behind a loop; the skip is the method's own argument."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Pyramid((8, 8, 8))
        self.head = nn.Conv2d(8, 4, 1)

    def _upsample_add(self, x: Tensor, y: Tensor) -> Tensor:
        _, _, height, width = y.size()
        return F.interpolate(x, size=(height, width), mode="bilinear") + y

    def forward(self, x: Tensor) -> Tensor:
        *rest, p = self.body(x)
        for lateral in reversed(rest):
            p = self._upsample_add(p, lateral)
        return self.head(p)


class FreeHelper(nn.Module):
    """A free ``resize()`` in a loop over a list, then a list comprehension in which one turn is a no-op."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Pyramid((8, 8, 8))
        self.head = nn.Conv2d(24, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.body(x)
        for i in range(2, 0, -1):
            maps[i - 1] = maps[i - 1] + resize(maps[i], size=maps[i - 1].shape[2:], mode="bilinear")
        maps = [F.interpolate(m, size=maps[0].shape[2:], mode="bilinear", align_corners=False) for m in maps]
        return self.head(torch.cat(maps, 1))


class IndexedLaterals(nn.Module):
    """A feature pyramid's top-down path; the skip is a list element."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Pyramid((8, 8, 8))
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        laterals = self.body(x)
        for i in range(len(laterals) - 1, 0, -1):
            shape = laterals[i - 1].shape[2:]
            laterals[i - 1] = laterals[i - 1] + F.interpolate(laterals[i], size=shape, mode="nearest")
        return self.head(laterals[0])


class PooledBranch(nn.Sequential):
    """A Sequential with a forward of its own that loops over its children."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        for layer in self:
            x = layer(x)
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class SequentialOwner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.branch = PooledBranch()
        self.head = nn.Conv2d(8, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x + self.branch(x)).relu().mean((2, 3))


class Decorated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.head = nn.Conv2d(8, 4, 1)

    @announced
    def forward(self, x: Tensor) -> Tensor:
        y = enlarge(self.stem(x), scale_factor=2.0, mode="bilinear", align_corners=True)
        return self.head(y.relu()).mean((2, 3))


def scaled(factor: float) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """A decorator with an argument: all its wrappers have one name."""

    def decorate(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def wrapper(*args: Any, **kwargs: Any) -> Tensor:
            return function(*args, **kwargs) * factor

        return wrapper

    return decorate


@scaled(5.0)
def unrelated(x: Tensor) -> Tensor:
    return x


@scaled(0.25)
def small(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")


class DecoratedHelpers(nn.Module):
    """Decorated helpers, all by one decorator with an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 4, 3, 1, 1)

    @scaled(3.0)
    def method(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.head(small(y) + self.method(unrelated(y))).relu().mean((2, 3))


class FrozenHelper(nn.Module):
    """One of two maps is enlarged without gradients, by torch's own decorator."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 4, 3, 1, 1)

    @torch.no_grad()
    def frozen(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.head(F.interpolate(y, scale_factor=2) + self.frozen(y)).relu().mean((2, 3))


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.stem(x).relu(), scale_factor=2, mode="nearest")


class Derived(Base):
    """The site is in ``super().forward``, and the class's own forward goes on after it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(8, 4, 3, 1, 1)
        self.__scale = 2

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return self.head(y * self.__scale).mean((2, 3))


class NestedOwners(nn.Module):
    """Both the network and a child of it enlarge, in forwards of the same name."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.inner = HelperMethod()
        self.head = nn.Conv2d(12, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.interpolate(self.stem(x), size=x.shape[2:], mode="bilinear")
        b = F.interpolate(self.inner(x), size=x.shape[2:], mode="nearest")
        return self.head(torch.cat([a, b], 1)).relu().mean((2, 3))


class TrainOnly(nn.Module):
    """An auxiliary head that only training runs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Pyramid((8, 8))
        self.drop = nn.Dropout(0.5)
        self.head, self.auxiliary = nn.Conv2d(8, 4, 3, 1, 1), nn.Conv2d(8, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.body(x)
        y = self.head(F.interpolate(a, scale_factor=2)).relu().mean((2, 3))
        if self.training:
            y = y + self.auxiliary(F.interpolate(self.drop(b), scale_factor=4)).relu().mean((2, 3))
        return y


class TwoSpellings(nn.Module):
    """One upsampling written twice, in the arms of an ``if``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.head = nn.Conv2d(8, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        if x.shape[2] % 2 == 0:
            y = F.interpolate(y, scale_factor=2.0, mode="nearest")
        else:
            y = F.interpolate(y, size=x.shape[2:], mode="nearest")
        return self.head(y).relu().mean((2, 3))


class LocalUpsample(nn.Module):
    """The upsampling module is made where it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.head = nn.Conv2d(8, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.Upsample(scale_factor=2, mode="bilinear")(self.stem(x))
        return self.head(y).relu().mean((2, 3))


class Learned(nn.Module):
    """Transposed convolution and pixel-shuffle, as modules and as functions, and bicubic interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.deconv = nn.ConvTranspose2d(8, 16, 4, 2, 1)
        self.shuffle = nn.PixelShuffle(2)
        self.weight = nn.Parameter(torch.randn(4, 8, 2, 2) * 0.1)
        self.head = nn.Conv2d(2, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.shuffle(self.deconv(self.stem(x)))
        y = F.conv_transpose2d(F.avg_pool2d(y, 4), self.weight, stride=2)
        y = F.pixel_shuffle(y, 2)
        y = F.interpolate(F.avg_pool2d(y, 2), scale_factor=2, mode="bicubic")
        return self.head(y).relu().mean((2, 3))


class Functional(nn.Module):
    """Weights of the transposed convolution that the input decides: not ours to replace."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.style = nn.Linear(8, 8 * 8 * 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        weight = self.style(y.mean((0, 2, 3))).view(8, 8, 2, 2)
        return F.conv_transpose2d(y, weight, stride=2).relu().mean((2, 3))


class Volume(nn.Module):
    """Three axes: trilinear interpolation and ConvTranspose3d."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, 4, 3, 2, 1)
        self.down = nn.Conv3d(4, 8, 3, 2, 1)
        self.deconv = nn.ConvTranspose3d(8, 4, 2, 2)
        self.head = nn.Conv3d(4, 2, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.stem(x)
        y = self.deconv(self.down(a)) + a
        y = F.interpolate(y, scale_factor=2, mode="trilinear", align_corners=True)
        return self.head(y).relu().mean((2, 3, 4))


TRAPS: dict[str, tuple[type[nn.Module], int]] = {
    "shared-upsample": (SharedUpsample, 2),
    "shared-upsample-one-width": (SharedUpsampleOneWidth, 2),
    "helper-method": (HelperMethod, 2),
    "free-helper": (FreeHelper, 4),
    "indexed-laterals": (IndexedLaterals, 2),
    "sequential-owner": (SequentialOwner, 1),
    "decorated": (Decorated, 1),
    "super": (Derived, 1),
    "decorated-helpers": (DecoratedHelpers, 2),
    "nested-owners": (NestedOwners, 4),
    "train-only": (TrainOnly, 1),
    "two-spellings": (TwoSpellings, 1),
    "local-upsample": (LocalUpsample, 1),
    "learned": (Learned, 5),
    "volume": (Volume, 2),
}


def build(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """The network in evaluation mode, an input, and one of another size."""
    torch.manual_seed(0)
    model = TRAPS[name][0]().eval()
    if name == "volume":
        return model, torch.randn(2, 1, 16, 16, 16), torch.randn(1, 1, 16, 24, 16)
    return model, torch.randn(2, 3, 32, 32), torch.randn(1, 3, 48, 64)
