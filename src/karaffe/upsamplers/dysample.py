"""DySample: learn where to sample instead of how to mix."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from karaffe.errors import ArgumentError
from karaffe.ops.geometry import floor_divide, source_index
from karaffe.ops.normalize import shuffle
from karaffe.upsamplers.base import ScaleFactor, Size, Upsampler, one_of, positive, whole_factors
from karaffe.upsamplers.carafe import ENCODER_STD, check_groups
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.sampling import read_at, sample, wide
from karaffe.upsamplers.starts import sub_pixel_offsets

# Published range of the offsets: a static factor, or half the sigmoid of the dynamic scope, which starts at 1/2.
SCOPE = 0.25
EXACT_STD = 1e-8


@register(
    "dysample",
    summary="every target samples the source at a learned position near its own (bilinear)",
    equation="Q[p] = x(p / s + 0.25 * offset(x)[p]), x(.) bilinear",
    paper="Liu et al., Learning to Upsample by Learning to Sample, ICCV 2023, arXiv:2308.15085",
    learned=True,
    convex=True,
    unit_sum=True,
    shift_equivariant=True,
    inits=("paper", "bilinear", "nearest"),
    dims=(2,),
)
class DySample(Upsampler):
    r"""Dynamic point sampling (Liu et al., ICCV 2023, section 3).

    .. math::
        O = 0.25 \cdot \mathrm{linear}(x) \quad\text{or}\quad O = 0.5\,\sigma(\mathrm{scope}(x)) \odot
        \mathrm{linear}(x), \qquad Q[c, p] = x_c\big((p + \tfrac12) / s - \tfrac12 + O[g(c), p]\big)

    with bilinear reading, borders repeated. Untrained it is bilinear interpolation but for a little noise. ``size=``
    takes any target: ``y`` lies at ``(y + 1/2) * H / H' - 1/2`` and takes offset ``floor(y * s * H / H')``.
    Positions are computed in float32 at least. Checkpoints of the official module load.

    Args:
        channels: of the input and the output.
        scale_factor: whole, or one an axis (rows, columns).
        style: ``"lp"``: a linear layer at the source predicts all offsets of a pixel; ``"pl"``: pixel-shuffle first,
            the layer at the target (published as DySample-S, with 8 groups).
        groups: contiguous channel groups, each with positions of its own.
        dyscope: learn the range of the offsets too (DySample+).
        init: ``"paper"``: offsets nearly zero; ``"bilinear"``, ``"nearest"`` (``"lp"`` only): as the interpolation,
            to rounding.
        scope_bias: the scope has a bias, as some releases have.

    Raises:
        ArgumentError: an argument out of range; channels that the groups or, for ``"pl"``, ``s * s`` do not divide.
    """

    init_pos: Tensor

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        style: str = "lp",
        groups: int = 4,
        dyscope: bool = False,
        *,
        init: str = "paper",
        scope_bias: bool = False,
    ) -> None:
        super().__init__(channels, scale_factor)
        self.sub_pixels = whole_factors(scale_factor, 2)
        self.style = one_of(style, ("lp", "pl"), "style")
        self.groups = positive(groups, "groups")
        self.init = one_of(init, ("paper", "bilinear", "nearest"), "init")
        self._check_channels(channels)
        phases = math.prod(self.sub_pixels)
        wide_in, out = (channels, 2 * groups * phases) if style == "lp" else (channels // phases, 2 * groups)
        self.offset = nn.Conv2d(wide_in, out, 1)
        self.scope = nn.Conv2d(wide_in, out, 1, bias=scope_bias) if dyscope else None
        self.register_buffer("init_pos", self._start())
        self.reset_parameters()

    def _check_channels(self, channels: int) -> None:
        check_groups(channels, self.groups, "groups")
        if self.style == "pl" and channels % math.prod(self.sub_pixels):
            raise ArgumentError(
                f"style='pl' shuffles channels into sub-pixels: {math.prod(self.sub_pixels)} must divide the channels; "
                f"got {channels=}"
            )
        if self.style == "pl" and self.init == "nearest":
            raise ArgumentError("init='nearest' needs style='lp': the offsets of 'pl' do not know their sub-pixel")

    def _start(self) -> Tensor:
        """Where each sub-pixel lies in its source pixel: ``(1, 2 * groups * phases, 1, 1)``, x before y."""
        rows, columns = (sub_pixel_offsets(s) for s in self.sub_pixels)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        both = torch.stack([x, y])[:, None].expand(-1, self.groups, -1, -1)
        return both.reshape(1, -1, 1, 1).to(torch.get_default_dtype())

    def reset_parameters(self) -> None:
        nn.init.normal_(self.offset.weight, std=ENCODER_STD if self.init == "paper" else EXACT_STD)
        bias = self.offset.bias
        nn.init.zeros_(bias)  # type: ignore[arg-type]
        if self.init == "nearest":
            bias.data.copy_(-self._start().flatten() / SCOPE)  # type: ignore[union-attr]
        if self.scope is not None:
            nn.init.zeros_(self.scope.weight)
            if self.scope.bias is not None:
                nn.init.zeros_(self.scope.bias)

    def offsets(self, x: Tensor, *, size: Size | None = None) -> Tensor:
        """Learned displacement of every target from its regular place: ``(N, groups, 1, 2, *targets)``.

        In source pixels, (x, y). Arguments and errors as in a call.
        """
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, self.check_input(x))
        moved = read_at(self._displacement(x), targets)
        return moved.unflatten(1, (2, self.groups)).transpose(1, 2)[:, :, None]

    def _displacement(self, x: Tensor) -> Tensor:
        """Learned part of the positions, ``(N, 2 * groups, s * H, s * W)``."""
        if self.style == "lp":
            return shuffle(self._scoped(x), self.sub_pixels)
        return self._scoped(shuffle(x, self.sub_pixels))

    def _scoped(self, x: Tensor) -> Tensor:
        o: Tensor = self.offset(x)
        return SCOPE * o if self.scope is None else 2 * SCOPE * o * self.scope(x).sigmoid()

    def _places(self, x: Tensor) -> Tensor:
        """Position of every target in its source pixel, ``(N, 2 * groups, s * H, s * W)``, in float32 at least."""
        start = wide(self.init_pos)
        if self.style == "lp":
            return shuffle(wide(self._scoped(x)) + start, self.sub_pixels)
        return self._displacement(x) + shuffle(start, self.sub_pixels).repeat(1, 1, *x.shape[2:])

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        n, c, height, width = x.shape
        place = read_at(self._places(x), targets).unflatten(1, (2, self.groups)).transpose(1, 2)
        rows, columns = (
            regular_position(size, t, s, place)
            for size, t, s in zip((height, width), targets, self.sub_pixels, strict=True)
        )
        regular = torch.stack(torch.broadcast_tensors(columns, rows[:, None]))
        maps = wide(x).reshape(n * self.groups, c // self.groups, height, width)
        y = sample(maps, (place + regular).flatten(0, 1), "replicate")
        return y.reshape(n, c, *targets).to(x.dtype)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        channels = self.channels or 0
        layers = self.offset.weight.numel() * (1 if self.scope is None else 2)
        if self.style == "pl":
            layers *= math.prod(self.sub_pixels)
        return math.prod(sizes) * layers + math.prod(targets) * 4 * channels

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, style={self.style!r}, groups={self.groups}, init={self.init!r}"


def regular_position(size: int, target: int, factor: int, like: Tensor) -> Tensor:
    """Source pixel of each target's kernel, plus what the target lies off that sub-pixel's place: ``(target,)``.

    Sub-pixel m of the ``factor * size`` lies at ``(m + 1/2) / s``, the target at ``(y + 1/2) * H / H'``; the difference
    is zero for ``H' = s * H`` and is taken in integers.
    """
    m = source_index(factor * size, target, "corner", like.device)
    y = torch.arange(target, device=like.device)
    twice = (2 * y + 1) * size * factor - (2 * m + 1) * target
    return floor_divide(m, factor) + twice.to(like.dtype) / (2 * target * factor)
