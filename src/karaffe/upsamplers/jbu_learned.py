"""FeatUp's joint bilateral upsampling: a learned metric of the guide, a correction, and a stack of stages by two."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe import ops
from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import ScaleFactor, Size, Upsampler, one_of, positive, whole_factors
from karaffe.upsamplers.jbu import pooled
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.sampling import wide

# Of the released modules: dropout in a stage and behind the stack, and how much their corrections weigh.
STAGE_DROPOUT, STACK_DROPOUT, CORRECTION = 0.1, 0.2, 0.1
BICUBIC_TAPS = 16
PAPER = "Fu et al., FeatUp: A Model-Agnostic Framework for Features at Any Resolution, ICLR 2024, arXiv:2403.10516"


@register(
    "jbu-learned",
    summary="a stage of FeatUp: bilateral filter of the bicubic map, over a learned metric of an image",
    equation="Q[p] = sum_t k_t[p] bicubic(x)[p + t], k = range * spatial / sum + 0.1 fix(range, guide)",
    paper=PAPER,
    learned=True,
    guide_is="an image at the target size",
    convex=False,
    unit_sum=False,
    shift_equivariant=True,
    inits=("paper",),
    dims=(2,),
)
class JBULearned(Upsampler):
    r"""FeatUp's joint bilateral stage (Fu et al., ICLR 2024, section 3.2).

    .. math::
        r_t[p] = \mathrm{softmax}_t\big(\tau\, e[p + t] \cdot e[p]\big), \quad
        s_t = \exp\big(-|t / r|^2 / 2 \sigma^2\big), \quad
        \kappa = \frac{r \odot s}{\sum_t r_t s_t} + 0.1\, \mathrm{fix}\Big(\frac{r \odot s}{\sum_t r_t s_t}, g\Big)

    .. math:: Q[c, p] = \sum_t \kappa_t[p] \; \mathrm{bicubic}(x)[c, p + t]

    e is a two-layer projection of the guide g. Taps are *target* pixels, borders mirrored. The correction makes the
    kernels neither positive nor of sum one. Any target size. Official keys and weights load.

    Args:
        channels: of the input and the output.
        scale_factor: a positive number, or one an axis.
        radius: of the window, in target pixels.
        key_dim: channels of e.
        guide_channels: of the guide, an image's 3.
        init: ``"paper"``: torch's default for the projections, tau = sigma = 1.

    Raises:
        ArgumentError: an argument out of range.
    """

    needs_guide = True

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        radius: int = 3,
        key_dim: int = 32,
        *,
        guide_channels: int | None = 3,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, scale_factor, guide_channels=guide_channels)
        guided = self.guide_channels or 0
        self.up_kernel = 2 * positive(radius, "radius") + 1
        self.init = one_of(init, ("paper",), "init")
        taps = self.up_kernel**2
        self.range_temp = nn.Parameter(torch.zeros(()))
        self.sigma_spatial = nn.Parameter(torch.ones(()))
        self.range_proj = _two_layers(guided, positive(key_dim, "key_dim"), key_dim)
        self.fixup_proj = _two_layers(taps + guided, taps, taps)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.range_temp)
        nn.init.ones_(self.sigma_spatial)
        for layer in (*self.range_proj, *self.fixup_proj):
            if isinstance(layer, nn.Conv2d):
                layer.reset_parameters()

    def kernels(self, x: Tensor, guide: Tensor, *, size: Size | None = None) -> Tensor:
        """The kernels that a call would apply to the bicubic map: ``(N, 1, taps, *targets)``, taps row-major.

        Arguments and errors as in a call.
        """
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, self.check_input(x))
        self.check_guide(x, guide, targets)
        return self._kernels(guide)[:, None]

    def _kernels(self, guide: Tensor) -> Tensor:
        e = wide(self.range_proj(guide))
        similar = ops.correlate(e, e, self.up_kernel, padding_mode="reflect")
        line = torch.linspace(-1, 1, self.up_kernel, dtype=similar.dtype, device=similar.device)
        squares = (line[:, None].square() + line.square()).flatten()[:, None, None]
        # About its mean, which softmax ignores and the sum in the gradient of tau does not: far less cancels there.
        centred = similar - similar.mean(1, keepdim=True)
        ranged = (centred * wide(self.range_temp).exp().clamp(1e-4, 1e4)).softmax(1)
        kernels = ranged * (-squares / (2 * wide(self.sigma_spatial).square())).exp()
        kernels = (kernels / kernels.sum(1, keepdim=True).clamp(min=1e-7)).to(guide.dtype)
        return kernels + CORRECTION * self.fixup_proj(torch.cat([kernels, guide], 1))

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("JBULearned needs a guide")
        enlarged = F.interpolate(x, size=targets, mode="bicubic", align_corners=False)
        kernels = self._kernels(guide.to(x.dtype)).to(x.dtype)
        return ops.reassemble(enlarged, kernels, self.up_kernel, padding_mode="reflect")

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        projected = sum(m.weight.numel() for m in (*self.range_proj, *self.fixup_proj) if isinstance(m, nn.Conv2d))
        channels, key = self.channels or 0, int(self.range_proj[0].out_channels)  # type: ignore[arg-type]
        filtered = self.up_kernel**2 * (key + channels)
        return math.prod(targets) * (projected + filtered + BICUBIC_TAPS * channels)


@register(
    "jbu-stack",
    summary="FeatUp: joint bilateral stages by two, one after the other, under one image",
    equation="Q = z + 0.1 W z, z = stage_n(... stage_1(x, pool(image)) ..., image)",
    paper=PAPER,
    learned=True,
    guide_is="an image of any size",
    convex=False,
    unit_sum=False,
    shift_equivariant=True,
    inits=("paper",),
    dims=(2,),
)
class JBUStack(Upsampler):
    r"""FeatUp's stack of joint bilateral stages (Fu et al., ICLR 2024, section 3.2).

    .. math:: x_i = \mathrm{stage}_i\big(x_{i-1}, \mathrm{pool}_{2^i}(g)\big), \qquad Q = x_n + 0.1\, W x_n

    Each stage (:class:`JBULearned`) enlarges by 2; the published stack has four, ``scale_factor=16``. The guide, an
    image of any size, is averaged to each stage's size. Official keys load; released checkpoints keep the stack under
    ``upsampler.`` beside the normalisation of the features that were fed to it, which stays outside.

    Args:
        channels: of the input and the output.
        scale_factor: a power of 2.
        guide_channels: of the guide, an image's 3.
        init: ``"paper"``: torch's defaults.

    Raises:
        ArgumentError: a factor that is no power of 2.
    """

    sizes = "exact"
    needs_guide = True
    guide_at = "any"

    def __init__(
        self, channels: int, scale_factor: ScaleFactor = 2, *, guide_channels: int | None = 3, init: str = "paper"
    ) -> None:
        super().__init__(channels, scale_factor, guide_channels=guide_channels)
        factors = whole_factors(scale_factor, 2)
        self.init = one_of(init, ("paper",), "init")
        self.stages = factors[0].bit_length() - 1
        if factors[0] != factors[1] or factors[0] != 1 << self.stages or not self.stages:
            raise ArgumentError(f"scale_factor must be a power of 2, 2 or more, for JBUStack; got {scale_factor=}")
        for i in range(1, self.stages + 1):
            self.add_module(f"up{i}", JBULearned(channels, 2, guide_channels=guide_channels))
        self.fixup_proj = nn.Sequential(nn.Dropout2d(STACK_DROPOUT), nn.Conv2d(channels, channels, 1))

    def reset_parameters(self) -> None:
        for i in range(1, self.stages + 1):
            getattr(self, f"up{i}").reset_parameters()
        self.fixup_proj[1].reset_parameters()  # type: ignore[operator]

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("JBUStack needs a guide")
        for i in range(1, self.stages + 1):
            sizes = (2 * x.shape[2], 2 * x.shape[3])
            x = getattr(self, f"up{i}").upsample(x, pooled(guide, sizes), sizes)
        return x + CORRECTION * self.fixup_proj(x)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        total = math.prod(targets) * self.fixup_proj[1].weight.numel()  # type: ignore[operator]
        for i in range(1, self.stages + 1):
            larger = (2 * sizes[0], 2 * sizes[1])
            total += getattr(self, f"up{i}").macs(sizes, larger)
            sizes = larger
        return int(total)


def _two_layers(channels: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 1), nn.GELU(), nn.Dropout2d(STAGE_DROPOUT), nn.Conv2d(hidden, out, 1)
    )
