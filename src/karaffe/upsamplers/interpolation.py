"""Interpolation: methods whose weights depend on position alone. No parameters, any target size, 1 to 3 axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import ScaleFactor, Size, Upsampler, one_of
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.resampling import KERNELS, ResamplingKernel, cubic, lanczos, resample

Factors = tuple[int | float, ...]
LINEAR = ("linear", "bilinear", "trilinear")


class Interpolation(Upsampler):
    """Base of the interpolations: as ``F.interpolate``, a given ``scale_factor`` is the sampling distance as it is.

    Args:
        channels: ignored where ``None``, else checked.
        scale_factor: a positive number, or one an axis.
        dims: number of spatial axes; ``None``: any.
    """

    def __init__(self, channels: int | None = None, scale_factor: ScaleFactor = 2, *, dims: int | None = None) -> None:
        super().__init__(channels, scale_factor, dims=dims)

    def forward(self, x: Tensor, guide: Tensor | None = None, *, size: Size | None = None) -> Tensor:
        dims = self.check_input(x)
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, dims)
        return self.interpolate(x, targets, self.factors(dims) if size is None else None)

    forward.__doc__ = Upsampler.forward.__doc__

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        return self.interpolate(x, targets, None)

    def interpolate(self, x: Tensor, targets: tuple[int, ...], factors: Factors | None) -> Tensor:
        """Enlarge ``x`` to ``targets``; ``factors`` where the sampling distance is theirs, not the sizes' ratio."""
        raise NotImplementedError

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        return 0


def interpolate(
    x: Tensor, mode: str, targets: tuple[int, ...], factors: Factors | None, align_corners: bool | None = None
) -> Tensor:
    """``F.interpolate`` by factors where there are some, else by sizes."""
    if factors is None:
        return F.interpolate(x, list(targets), mode=mode, align_corners=align_corners)
    return F.interpolate(x, scale_factor=[float(f) for f in factors], mode=mode, align_corners=align_corners)


@register(
    "nearest",
    summary="every target copies the source pixel under its upper left corner",
    equation="Q[y] = x[floor(y * H / H')]",
    paper="classic; torch's mode='nearest'",
    learned=False,
    convex=True,
    unit_sum=True,
    shift_equivariant=True,
)
class Nearest(Interpolation):
    r"""Nearest neighbour, torch's default convention.

    .. math:: Q[y] = x[\lfloor y \cdot H / H' \rfloor]

    per axis, with ``1 / scale_factor`` for ``H / H'`` where no ``size`` is given.
    """

    def interpolate(self, x: Tensor, targets: tuple[int, ...], factors: Factors | None) -> Tensor:
        return interpolate(x, "nearest", targets, factors)


@register(
    "nearest-exact",
    summary="every target copies the source pixel under its centre",
    equation="Q[y] = x[floor((y + 1/2) * H / H')]",
    paper="classic; torch's mode='nearest-exact', Pillow's and scikit-image's nearest",
    learned=False,
    convex=True,
    unit_sum=True,
    shift_equivariant=True,
)
class NearestExact(Interpolation):
    r"""Nearest neighbour of the target's centre.

    .. math:: Q[y] = x[\lfloor (y + 1/2) \cdot H / H' \rfloor]
    """

    def interpolate(self, x: Tensor, targets: tuple[int, ...], factors: Factors | None) -> Tensor:
        return interpolate(x, "nearest-exact", targets, factors)


@register(
    "bilinear",
    summary="every target mixes its two nearest source pixels an axis, by distance",
    equation="Q(x, y) = (1-x)(1-y) Q11 + x(1-y) Q21 + (1-x)y Q12 + xy Q22",
    paper="classic; torch's mode='linear', 'bilinear', 'trilinear'",
    learned=False,
    convex=True,
    unit_sum=True,
    shift_equivariant=True,
)
class Bilinear(Interpolation):
    r"""Linear interpolation an axis: linear, bilinear or trilinear by the number of axes.

    With the four source pixels around a target and its fractional position (x, y) between them,

    .. math:: Q(x, y) = (1-x)(1-y)\,Q_{11} + x(1-y)\,Q_{21} + (1-x)y\,Q_{12} + xy\,Q_{22}.

    Target ``i`` lies at the source position ``(i + 1/2) * H / H' - 1/2``, not less than 0, or with ``align_corners``
    at ``i * (H - 1) / (H' - 1)``; source pixels past the border repeat it.
    """

    def __init__(
        self,
        channels: int | None = None,
        scale_factor: ScaleFactor = 2,
        *,
        align_corners: bool = False,
        dims: int | None = None,
    ) -> None:
        super().__init__(channels, scale_factor, dims=dims)
        self.align_corners = align_corners

    def interpolate(self, x: Tensor, targets: tuple[int, ...], factors: Factors | None) -> Tensor:
        return interpolate(x, LINEAR[x.dim() - 3], targets, factors, self.align_corners)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        return (self.channels or 1) * 2 ** len(sizes) * math.prod(targets)


@register(
    "area",
    summary="every target is the mean of the source pixels that it touches",
    equation="Q[y] = mean of x[floor(y * H / H')] ... x[ceil((y + 1) * H / H') - 1]",
    paper="classic; torch's mode='area' (adaptive average pooling)",
    learned=False,
    convex=True,
    unit_sum=True,
    shift_equivariant=True,
)
class Area(Interpolation):
    r"""Mean of the source pixels that a target's interval touches, each counted whole.

    .. math::
        Q[y] = \mathrm{mean}(x[a], \ldots, x[b - 1]), \qquad
        a = \lfloor y H / H' \rfloor, \quad b = \lceil (y + 1) H / H' \rceil

    Whole factors give nearest; it differs for others, and where maps are reduced.
    """

    def interpolate(self, x: Tensor, targets: tuple[int, ...], factors: Factors | None) -> Tensor:
        return F.interpolate(x, list(targets), mode="area")

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        reads = (sum(-(-(y + 1) * n // t) - y * n // t for y in range(t)) for n, t in zip(sizes, targets, strict=True))
        return (self.channels or 1) * math.prod(reads)


class Separable(Interpolation):
    """One kernel after another, an axis at a time."""

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        taps = 2 * math.ceil(self.kernel.radius)
        total, shape = 0, list(sizes)
        for axis in range(len(sizes)):
            shape[axis] = targets[axis]
            widened = max(1, math.ceil(sizes[axis] / targets[axis]))
            total += taps * widened * math.prod(shape)
        return (self.channels or 1) * total

    @property
    def kernel(self) -> ResamplingKernel:
        raise NotImplementedError


@register(
    "bicubic",
    summary="every target mixes four source pixels an axis with Keys' cubic kernel",
    equation="Q[i] = sum_j w(u - j) x[j], u = (i + 1/2) * H / H' - 1/2, w Keys' cubic (a = -3/4; MATLAB: -1/2)",
    paper="Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29(6), 1981",
    learned=False,
    convex=False,
    unit_sum=True,
    shift_equivariant=True,
)
class Bicubic(Separable):
    r"""Cubic convolution (R. Keys, IEEE TASSP 29(6), 1981), separable.

    .. math::
        w(t) = \begin{cases} (a+2)|t|^3 - (a+3)|t|^2 + 1 & |t| \le 1 \\
                             a|t|^3 - 5a|t|^2 + 8a|t| - 4a & 1 < |t| < 2 \end{cases}

    Args:
        channels, scale_factor, dims: as all.
        convention: ``"torch"``: a = -3/4, border repeated, no antialiasing: ``F.interpolate``. ``"matlab"``: a = -1/2,
            border mirrored, kernel widened where the map shrinks: ``imresize``, the convention of super-resolution.

    Raises:
        ArgumentError: an argument out of range.
    """

    def __init__(
        self,
        channels: int | None = None,
        scale_factor: ScaleFactor = 2,
        *,
        convention: str = "torch",
        dims: int | None = None,
    ) -> None:
        super().__init__(channels, scale_factor, dims=dims)
        self.convention = one_of(convention, ("torch", "matlab"), "convention")

    @property
    def kernel(self) -> ResamplingKernel:
        return KERNELS["cubic"] if self.convention == "matlab" else cubic(-0.75)

    def interpolate(self, x: Tensor, targets: tuple[int, ...], factors: Factors | None) -> Tensor:
        if self.convention == "matlab":
            return resample(x, targets, kernel=self.kernel, scale=_plain(factors))
        if x.dim() == 4:
            return interpolate(x, "bicubic", targets, factors, False)
        return resample(x, targets, kernel=self.kernel, antialias=False, border="replicate", scale=_plain(factors))


@register(
    "lanczos",
    summary="every target mixes source pixels with a sinc, windowed by a wider sinc",
    equation="Q[i] = sum_j w(u - j) x[j], u = (i + 1/2) * H / H' - 1/2, w(t) = sinc(t) sinc(t / a) for |t| < a",
    paper="Duchon, Lanczos filtering in one and two dimensions, J. Applied Meteorology 18(8), 1979",
    learned=False,
    convex=False,
    unit_sum=True,
    shift_equivariant=True,
)
class Lanczos(Separable):
    r"""Lanczos interpolation, separable; weights normalised to sum to one, kernel widened where the map shrinks.

    .. math:: w(t) = \mathrm{sinc}(t)\,\mathrm{sinc}(t / a), \quad |t| < a

    Args:
        channels, scale_factor, dims: as all.
        lobes: a, at least 1.
        border: ``"renormalize"``: outside pixels are left out (Pillow); ``"symmetric"``, ``"replicate"``.

    Raises:
        ArgumentError: an argument out of range.
    """

    def __init__(
        self,
        channels: int | None = None,
        scale_factor: ScaleFactor = 2,
        *,
        lobes: int = 3,
        border: str = "renormalize",
        dims: int | None = None,
    ) -> None:
        super().__init__(channels, scale_factor, dims=dims)
        if lobes < 1:
            raise ArgumentError(f"lobes must be a positive int; got {lobes=}")
        self.lobes = lobes
        self.border = one_of(border, ("renormalize", "symmetric", "replicate"), "border")

    @property
    def kernel(self) -> ResamplingKernel:
        return lanczos(self.lobes)

    def interpolate(self, x: Tensor, targets: tuple[int, ...], factors: Factors | None) -> Tensor:
        border = self.border
        return resample(x, targets, kernel=self.kernel, border=border, scale=_plain(factors))  # type: ignore[arg-type]


def _plain(factors: Factors | None) -> Sequence[float] | None:
    return None if factors is None else [float(f) for f in factors]
