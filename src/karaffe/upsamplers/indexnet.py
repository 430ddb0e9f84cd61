"""IndexNet: index maps that a small network predicts from the encoder's map, for pooling and for going back."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError, ShapeError
from karaffe.upsamplers.base import ScaleFactor, Upsampler, one_of, whole_factors
from karaffe.upsamplers.registry import register

BLOCKS = ("holistic", "o2o", "m2o")
BRANCHES = 4


def index_network(channels: int, out: int, groups: int, nonlinear: bool, context: bool, hidden: int) -> nn.Sequential:
    """Stride-2 convolution to ``out`` logits; nonlinear: through ``hidden`` channels, normalisation and ReLU6."""
    kernel, padding = (4, 1) if context else (2, 0)
    first = nn.Conv2d(channels, hidden if nonlinear else out, kernel, 2, padding, groups=groups, bias=False)
    if not nonlinear:
        return nn.Sequential(first)
    second = nn.Conv2d(hidden, out, 1, groups=groups, bias=False)
    return nn.Sequential(first, nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True), second)


class _Indexed(nn.Module):
    """The index block: what pooling and unpooling both need. Sub-modules have the official names."""

    def add_networks(self, channels: int, block: str, nonlinear: bool, context: bool) -> None:
        if block == "holistic":
            network = index_network(channels, BRANCHES, 1, nonlinear, context, 2 * channels)
            self.indexnet = network if nonlinear else network[0]
        else:
            groups = channels if block == "o2o" else 1
            for i in range(1, BRANCHES + 1):
                network = index_network(channels, channels, groups, nonlinear, context, channels)
                self.add_module(f"indexnet{i}", network)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                fan = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
                nn.init.normal_(layer.weight, std=math.sqrt(2 / fan))
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()

    def indices(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Index maps ``(N, C or 1, H, W)`` of an encoder's map ``(N, C, H, W)``: for pooling, for unpooling.

        Raises:
            ShapeError: sizes that are not even.
        """
        if x.dim() != 4 or x.shape[2] % 2 or x.shape[3] % 2:
            raise ShapeError(f"the encoder's map must be (N, C, H, W) with even H and W; got {tuple(x.shape)}")
        if hasattr(self, "indexnet"):
            logits = self.indexnet(x)[:, None]
        else:
            logits = torch.stack([getattr(self, f"indexnet{i}")(x) for i in range(1, BRANCHES + 1)], 2)
        gate = logits.sigmoid()
        down, up = (F.pixel_shuffle(v.flatten(1, 2), 2) for v in (gate.softmax(2), gate))
        return down, up


class IndexPool(_Indexed):
    """The downsampling of :meth:`IndexNet.make_pair`: ``(N, C, 2h, 2w)`` to ``(N, C, h, w)`` and the index map."""

    def __init__(self, channels: int, block: str, nonlinear: bool, context: bool) -> None:
        super().__init__()
        self.add_networks(channels, block, nonlinear, context)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of every 2 x 2 block, weighted, and the index map for the way up."""
        down, up = self.indices(x)
        return 4 * F.avg_pool2d(down * x, 2), up


class IndexUnpool(Upsampler):
    """The upsampling of :meth:`IndexNet.make_pair`: nearest interpolation times the index map, which is its guide."""

    sizes = "exact"
    needs_guide = True

    def __init__(self, channels: int, index_channels: int) -> None:
        super().__init__(channels, 2, guide_channels=index_channels)

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        return guide * F.interpolate(x, scale_factor=2)  # type: ignore[operator]

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        return 0


@register(
    "indexnet",
    summary="nearest interpolation times an index map that is predicted from the encoder's map",
    equation="Q[c, p] = sigmoid(net(guide))[c, p] * x[c, floor(p / 2)]",
    paper="Lu et al., Indices Matter, ICCV 2019, arXiv:1908.00672; Index Networks, TPAMI 2020, arXiv:1908.09895",
    learned=True,
    guide_is="the map of the encoder before its pooling, with as many channels",
    convex=False,
    unit_sum=False,
    shift_equivariant=True,
    inits=("paper",),
    dims=(2,),
)
class IndexNet(_Indexed, Upsampler):
    r"""Learned index maps (Lu et al., TPAMI 2020, section 4).

    .. math::
        I = \mathrm{shuffle}_2\big(\sigma(\mathrm{net}(y))\big), \qquad Q[c, p] = I[c, p] \, x[c, \lfloor p / 2 \rfloor]

    The network, of stride 2, gives four logits for each 2 x 2 block of the encoder's map y. The paired pooling weights
    the same block by ``softmax`` over the four *after* the sigmoid, as released, and sums it: :meth:`make_pair`. Only
    by 2. Index maps begin near 1/2, so the result begins at half its magnitude. Official keys and weights load.

    Args:
        channels: of the input, the guide and the output.
        scale_factor: 2.
        block: ``"holistic"``: one map for all channels; ``"o2o"``: each channel has one, from itself alone;
            ``"m2o"``: each has one, from all.
        use_nonlinear: two layers with batch normalisation and ReLU6 between them.
        use_context: the first layer sees 4 x 4 pixels, padded with zeros, else its 2 x 2.
        init: ``"paper"``: normal, of deviation sqrt(2 / (k² * outputs)).

    Raises:
        ArgumentError: an argument out of range, or guides of another number of channels.
    """

    sizes = "exact"
    needs_guide = True

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        block: str = "holistic",
        use_nonlinear: bool = True,
        use_context: bool = True,
        *,
        guide_channels: int | None = None,
        init: str = "paper",
    ) -> None:
        Upsampler.__init__(self, channels, scale_factor, guide_channels=guide_channels)
        if whole_factors(scale_factor, 2) != (2, 2):
            raise ArgumentError(f"scale_factor must be 2 for IndexNet; got {scale_factor=}")
        if self.guide_channels != channels:
            raise ArgumentError(f"guide_channels must be {channels=} for IndexNet; got {guide_channels=}")
        self.block = one_of(block, BLOCKS, "block")
        self.init = one_of(init, ("paper",), "init")
        self.add_networks(channels, block, use_nonlinear, use_context)

    @classmethod
    def make_pair(
        cls, channels: int, block: str = "holistic", use_nonlinear: bool = True, use_context: bool = True
    ) -> tuple[IndexPool, IndexUnpool]:
        """Make the pooling, which returns ``(pooled, index map)``, and the unpooling ``up(pooled, index map)``.

        Arguments as the class. The pooling has the parameters.
        """
        one_of(block, BLOCKS, "block")
        down = IndexPool(channels, block, use_nonlinear, use_context)
        return down, IndexUnpool(channels, 1 if block == "holistic" else channels)

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("IndexNet needs a guide")
        return self.indices(guide)[1] * F.interpolate(x, scale_factor=2)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        return math.prod(sizes) * sum(m.weight.numel() for m in self.modules() if isinstance(m, nn.Conv2d))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, block={self.block!r}"
