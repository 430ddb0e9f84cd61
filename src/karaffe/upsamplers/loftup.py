"""LoftUp: a transformer from coordinates and colours of every target pixel to the source features."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import ScaleFactor, Upsampler, one_of, positive
from karaffe.upsamplers.image_attention import reset_children
from karaffe.upsamplers.registry import register
from karaffe.upsamplers.sampling import wide
from karaffe.upsamplers.sapa import ChannelNorm

PLACE_FREQUENCIES = 5
FINAL_EPS = 1e-6


def precise(x: Tensor) -> Tensor:
    """Float64 where the device has it: at frequencies up to exp(10), float32 leaves a phase three digits."""
    return wide(x) if x.device.type == "mps" else x.double()


class FourierCode(nn.Module):
    """Sines and cosines of coordinates in [-1, 1] and, optionally, of colours, at frequencies exp(-2) to exp(10).

    The learned phases are kept as released: ``(2, values, frequencies)`` in memory, read as frequencies by values.
    """

    def __init__(self, colours: int, frequencies: int) -> None:
        super().__init__()
        self.biases = nn.Parameter(torch.randn(2, 2 + colours, frequencies))
        self.colours = colours

    def reset_parameters(self) -> None:
        nn.init.normal_(self.biases)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, 2 * values * frequencies + C, H, W)``; without colours only x's size counts."""
        n, _, height, width = x.shape
        like = precise(x)
        rows, columns = (torch.linspace(-1, 1, s, dtype=like.dtype, device=x.device) for s in (height, width))
        grid = torch.stack(torch.broadcast_tensors(rows[:, None], columns))[None].expand(n, -1, -1, -1)
        values = torch.cat([grid, like], 1) if self.colours else grid
        count = self.biases.shape[2]
        octaves = torch.linspace(-2, 10, count, dtype=like.dtype, device=x.device).exp()
        angle = values[:, None] * octaves[:, None, None, None]
        sine, cosine = precise(self.biases).reshape(2, 1, count, -1, 1, 1)
        # The cosine as a sine: ONNX runtimes have no cosine in float64.
        parts = [(angle + phase).flatten(1, 2).sin() for phase in (sine, cosine + math.pi / 2)]
        return torch.cat([*parts, like] if self.colours else parts, 1)


class _BatchRange(nn.Module):
    """Every channel scaled to [-1/2, 1/2] over the whole batch, as released: pictures of a batch change each other."""

    def __init__(self, whole_batch: bool) -> None:
        super().__init__()
        self.axes = (0, 2, 3) if whole_batch else (2, 3)

    def forward(self, x: Tensor) -> Tensor:
        if not x.numel():
            return x
        low, high = x.amin(self.axes, keepdim=True), x.amax(self.axes, keepdim=True)
        return (x - low) / (high - low).clamp(min=1e-4) - 0.5


class _NormedMap(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x)
        return normed


class _CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_q = nn.LayerNorm(width)
        self.norm_kv = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        source = self.norm_kv(source)
        y: Tensor = self.attention(self.norm_q(query), source, source, need_weights=False)[0]
        return y


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(hidden, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


class _Transformer(nn.Module):
    def __init__(self, width: int, hidden: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([_CrossAttention(width, heads), _FeedForward(width, hidden)]) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        for layer in self.layers:
            attend, think = cast(nn.ModuleList, layer)
            query = query + attend(query, source)
            query = query + think(query)
        y: Tensor = self.norm(query)
        return y


@register(
    "loftup",
    summary="coordinates and colours of every target attend to the source features, twice",
    equation="Q = norm(W transformer(conv(fourier(p, image[p])), [x, code]))",
    paper="Huang et al., LoftUp: Learning a Coordinate-Based Feature Upsampler, ICCV 2025, arXiv:2504.14032",
    learned=True,
    guide_is="an image at the target size, normalised as the backbone's input",
    convex=False,
    unit_sum=False,
    shift_equivariant=False,
    inits=("paper",),
    dims=(2,),
)
class LoftUp(Upsampler):
    r"""Coordinate-based feature upsampler (Huang et al., ICCV 2025, section 3).

    .. math::
        z_0 = \mathrm{conv}\big(\mathrm{fourier}(p, I[p])\big), \quad s = [x, \mathrm{code}], \quad
        z \leftarrow z + \mathrm{MHA}(z, s), \quad z \leftarrow z + \mathrm{FFN}(z), \qquad
        Q = \mathrm{norm}(W z)

    with two layers. Attention is global (work grows with targets times sources) and goes through torch's fused
    attention, which holds no weights. The result is no mixture of the features: it has a normalisation of its own.
    Official keys and weights load; released checkpoints hold, beside them, the normalisation of the backbone's
    features (``model.1.norm``), which belongs in front.

    Args:
        channels: of the input and the output.
        scale_factor: a positive number, or one an axis; any target size, that of the image.
        heads: of the attention; divides ``channels + 20`` (``"sine"``) or ``channels``.
        layers: of the transformer.
        frequencies: of the code of coordinates and colours.
        place_code: of the source: ``"sine"``, 20 channels beside x; ``"learned"``, a map of ``place_size`` squared,
            added to x, resized by bicubic interpolation.
        place_size: of the learned code.
        whole_batch: scale colours over the whole batch, as released; ``False``: each picture by itself.
        guide_channels: of the image.
        init: ``"paper"``: torch's defaults.

    Raises:
        ArgumentError: an argument out of range.
    """

    needs_guide = True

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        heads: int = 4,
        layers: int = 2,
        frequencies: int = 20,
        place_code: str = "sine",
        place_size: int = 16,
        whole_batch: bool = True,
        *,
        guide_channels: int | None = 3,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, scale_factor, guide_channels=guide_channels)
        self.init = one_of(init, ("paper",), "init")
        self.place_code = one_of(place_code, ("sine", "learned"), "place_code")
        sine, colours = place_code == "sine", self.guide_channels or 0
        width = channels + (4 * PLACE_FREQUENCIES if sine else 0)
        if width % positive(heads, "heads"):
            raise ArgumentError(f"heads must divide the {width} channels of the attention; got {heads=}")
        self.lr_pe: nn.Module | nn.Parameter
        if sine:
            self.lr_pe = FourierCode(0, PLACE_FREQUENCIES)
        else:
            self.lr_pe = nn.Parameter(torch.randn(1, positive(place_size, "place_size") ** 2, channels))
        code = 2 * positive(frequencies, "frequencies") * (2 + colours) + colours
        self.fourier_feat = nn.Sequential(_BatchRange(whole_batch), FourierCode(colours, frequencies))
        self.first_conv = nn.Sequential(
            _NormedMap(code),
            nn.Conv2d(code, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.ca_transformer = _Transformer(width, channels, heads, positive(layers, "layers"))
        self.final_conv = nn.Sequential(nn.Conv2d(width, channels, 1), ChannelNorm(channels, eps=FINAL_EPS))

    def reset_parameters(self) -> None:
        reset_children(self)
        if isinstance(self.lr_pe, nn.Parameter):
            nn.init.normal_(self.lr_pe)

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("LoftUp needs a guide")
        query = self.first_conv(self.fourier_feat(precise(guide)).to(x.dtype))
        y = self.ca_transformer(query.flatten(2).mT, self._placed(x).flatten(2).mT)
        result: Tensor = self.final_conv(y.mT.unflatten(2, targets))
        return result

    def _placed(self, x: Tensor) -> Tensor:
        if isinstance(self.lr_pe, nn.Module):
            return torch.cat([x, self.lr_pe(x).to(x.dtype)], 1)
        side = math.isqrt(self.lr_pe.shape[1])
        code = self.lr_pe.mT.unflatten(2, (side, side))
        return x + F.interpolate(code, size=(x.shape[2], x.shape[3]), mode="bicubic", align_corners=False)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        source, target = math.prod(sizes), math.prod(targets)
        convolutions = sum(m.weight.numel() for m in (*self.first_conv, self.final_conv[0]) if isinstance(m, nn.Conv2d))
        width = int(self.final_conv[0].in_channels)  # type: ignore[arg-type]
        layer = target * (2 * width * width + 2 * width * (self.channels or 0)) + source * 2 * width * width
        layer += 2 * source * target * width
        placed = 0 if self.place_code == "sine" else source * 16 * (self.channels or 0)
        return int(target * convolutions + len(self.ca_transformer.layers) * layer + placed)
