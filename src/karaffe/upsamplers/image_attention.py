"""What the image-guided attention upsamplers share: place codes, encoders, and attention whose memory is bounded.

A target's query comes from the image, keys from image and features at source resolution, and the result is a mixture of
the features themselves, with weights averaged over the heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import positive

NORM_GROUPS = 8
ROPE_BASE = 100.0
# Weights that attention holds at a time, over all heads: 64 MiB in float32.
LARGEST_CHUNK = 1 << 24


def check_width(width: int, heads: int) -> int:
    """Return ``width`` if heads, normalisation groups and the place code can share it out."""
    if positive(width, "qk_dim") % math.lcm(positive(heads, "heads"), NORM_GROUPS, 4):
        raise ArgumentError(
            f"qk_dim must be a multiple of heads={heads}, of 4 and of {NORM_GROUPS} (normalisation groups); got {width}"
        )
    return width


class RotaryPlace(nn.Module):
    """Rotary place code (Su et al., 2021) with learned frequencies ``(2, D)``: rows by the first half of D, columns.

    .. math:: x \\cos\\theta + [-x_2, x_1] \\sin\\theta, \\quad \\theta = (y, x) F, \\quad y, x \\in [0, 1]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.freqs = nn.Parameter(torch.empty(2, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        quarter = self.freqs.shape[1] // 4
        periods = 2 * math.pi * ROPE_BASE ** torch.linspace(0, -1, quarter)
        with torch.no_grad():
            self.freqs.zero_()
            self.freqs[0, : 2 * quarter] = periods.repeat(2)
            self.freqs[1, 2 * quarter :] = periods.repeat(2)

    def forward(self, x: Tensor) -> Tensor:
        """The code applied to ``(N, D, H, W)``."""
        rows, columns = (torch.linspace(0, 1, n, device=x.device, dtype=self.freqs.dtype) for n in x.shape[2:])
        angle = self.freqs[0, :, None, None] * rows[:, None] + self.freqs[1, :, None, None] * columns
        first, second = x.chunk(2, 1)
        return x * angle.cos().to(x.dtype) + torch.cat([-second, first], 1) * angle.sin().to(x.dtype)


class NamedBlock(nn.Module):
    """``x + conv(SiLU(norm(conv(SiLU(norm(x))))))``, 1 x 1, with the sub-modules named one by one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv2 = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        result: Tensor = x + self.conv2(F.silu(self.norm2(y)))
        return result


class NumberedBlock(nn.Module):
    """The same with the sub-modules in a sequence."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        halves = [
            (
                nn.GroupNorm(NORM_GROUPS, channels),
                nn.SiLU(),
                nn.Conv2d(channels, channels, 1, bias=False),
            )
            for _ in range(2)
        ]
        self.block = nn.Sequential(*halves[0], *halves[1])

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.block(x)
        return result


def mirrored_convolution(channels: int, out: int, kernel_size: int) -> nn.Conv2d:
    """Without bias; borders mirrored."""
    padding = kernel_size // 2
    if not padding:
        return nn.Conv2d(channels, out, kernel_size, bias=False)
    return nn.Conv2d(channels, out, kernel_size, padding=padding, padding_mode="reflect", bias=False)


def encoder(channels: int, out: int, kernel_size: int, block: type[nn.Module]) -> nn.Sequential:
    """A convolution and two residual blocks."""
    return nn.Sequential(mirrored_convolution(channels, out, kernel_size), block(out), block(out))


def reset_children(module: nn.Module) -> None:
    """Draw anew what the layers of ``module`` draw by themselves."""
    for layer in module.modules():
        if isinstance(layer, nn.MultiheadAttention):
            layer._reset_parameters()
        reset = getattr(layer, "reset_parameters", None)
        if layer is not module and callable(reset):
            reset()


def encoder_macs(network: nn.Sequential) -> int:
    """Multiply-adds a pixel."""
    return sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d))


class AttentionWeights(nn.Module):
    """The projections of ``nn.MultiheadAttention`` under its names, of which only query and key are used.

    Value and output projections are in released checkpoints and take no part in the result: they are kept, without
    gradients, so that such checkpoints load whole.
    """

    def __init__(self, width: int, value_width: int, packed: bool) -> None:
        super().__init__()
        shapes = {"q_proj_weight": width, "k_proj_weight": width, "v_proj_weight": value_width}
        if packed:
            self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        else:
            for name, columns in shapes.items():
                self.register_parameter(name, nn.Parameter(torch.empty(width, columns)))
            self.v_proj_weight.requires_grad_(False)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.out_proj.requires_grad_(False)
        self.packed = packed
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.in_proj_bias)
        nn.init.zeros_(self.out_proj.bias)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                (nn.init.xavier_uniform_ if "out_proj" not in name else nn.init.zeros_)(parameter)

    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Project ``(N, L, width)`` each."""
        width = self.out_proj.in_features
        both = self.in_proj_weight.chunk(3)[:2] if self.packed else (self.q_proj_weight, self.k_proj_weight)
        q, k = cast(tuple[Tensor, Tensor], both)
        return F.linear(query, q, self.in_proj_bias[:width]), F.linear(key, k, self.in_proj_bias[width : 2 * width])


class CrossDecode(nn.Module):
    """The official names of the attention: ``conv2d``, ``cross_attn.norm_*``, ``cross_attn.attention``."""

    def __init__(self, width: int, value_width: int | None, packed: bool) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.cross_attn = nn.Module()
        self.cross_attn.norm_q = nn.RMSNorm(width)
        self.cross_attn.norm_k = nn.RMSNorm(width)
        if value_width is not None:
            self.cross_attn.norm_v = nn.RMSNorm(value_width)
            self.cross_attn.norm_v.requires_grad_(False)
        self.cross_attn.attention = AttentionWeights(width, value_width or width, packed)

    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Projected queries ``(N, H, W, D)`` and keys ``(N, h, w, D)`` of two maps."""
        attention = self.cross_attn
        # In the norms' own dtype, which autocast leaves alone.
        maps = (x.permute(0, 2, 3, 1).to(self.conv2d.weight.dtype) for x in (self.conv2d(query), key))
        q, k = (norm(x) for norm, x in zip((attention.norm_q, attention.norm_k), maps, strict=True))  # type: ignore[operator]
        projected: tuple[Tensor, Tensor] = attention.attention(q, k)  # type: ignore[operator]
        return projected


@dataclass(frozen=True)
class Window:
    """Which sources of an axis each target sees: ``first[y] <= source < last[y]``."""

    first: list[int]
    last: list[int]

    def pairs(self) -> int:
        """How many pairs of a target and a source there are."""
        return sum(self.last) - sum(self.first)

    def reach(self, count: int) -> int:
        """The most sources that ``count`` neighbouring targets see together."""
        return max(b - a for a, b in zip(self.first, self.last[count - 1 :], strict=False))


def whole(size: int, target: int) -> Window:
    """Every target sees all."""
    return Window([0] * target, [size] * target)


def around(size: int, target: int, ratio: float) -> Window:
    """A target sees the sources within ``ratio`` of the map's length from its own centre."""
    centres = [(y + 0.5) / target for y in range(target)]
    first = [math.floor(max(t - ratio, 0.0) * size) for t in centres]
    last = [math.ceil(min(t + ratio, 1.0) * size) for t in centres]
    return Window(first, last)


def mixture(query: Tensor, key: Tensor, value: Tensor, heads: int, windows: Sequence[Window]) -> Tensor:
    """Mix ``value (N, C, h, w)`` for every query, weights averaged over the heads: ``(N, C, H, W)``.

    ``query (N, H, W, D)``, ``key (N, h, w, D)``; ``windows``: of rows, of columns. Rows of targets are taken a few at a
    time, with the source rows that they see, so that memory stays bounded whatever the sizes; in training their weights
    are computed again for the gradients, and never held for all rows.
    """
    n, height, width, d = query.shape
    rows, columns = windows
    query = query.unflatten(3, (heads, d // heads)).permute(0, 3, 1, 2, 4) * (d // heads) ** -0.5
    key = key.unflatten(3, (heads, d // heads)).permute(0, 3, 1, 2, 4)
    value = value.permute(0, 2, 3, 1)
    pairs_of_rows = LARGEST_CHUNK // max(1, n * heads * width * key.shape[3])
    at_once = max(1, min(height, pairs_of_rows // rows.reach(1)))
    at_once = max(1, min(at_once, pairs_of_rows // rows.reach(at_once)))
    parts = []
    for start in range(0, height, at_once):
        stop = min(start + at_once, height)
        low, high = min(rows.first[start:stop]), max(rows.last[start:stop])
        part = Window([a - low for a in rows.first[start:stop]], [b - low for b in rows.last[start:stop]])
        arguments = (query[:, :, start:stop], key[:, :, low:high], value[:, low:high], part, columns)
        if at_once < height and torch.is_grad_enabled():
            parts.append(checkpoint(_mixed, *arguments, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(_mixed(*arguments))
    return torch.cat(parts, 1).permute(0, 3, 1, 2)


def _mixed(query: Tensor, key: Tensor, value: Tensor, rows: Window, columns: Window) -> Tensor:
    """``(N, heads, H, W, d)``, ``(N, heads, h, w, d)`` and ``(N, h, w, C)`` to ``(N, H, W, C)``."""
    logits = query.flatten(2, 3) @ key.flatten(2, 3).mT
    if not (_sees_all(rows, key.shape[2]) and _sees_all(columns, key.shape[3])):
        along, across = _mask(rows, key.shape[2], query.device), _mask(columns, key.shape[3], query.device)
        seen = (along[:, None, :, None] & across[None, :, None, :]).flatten(2).flatten(0, 1)
        logits = logits.masked_fill(~seen, -math.inf)
    weights = logits.softmax(3).mean(1)
    return (weights @ value.flatten(1, 2)).unflatten(1, query.shape[2:4])


def _sees_all(window: Window, size: int) -> bool:
    return window == whole(size, len(window.first))


def _mask(window: Window, size: int, device: torch.device) -> Tensor:
    """``(targets, size)``: what each target sees."""
    source = torch.arange(size, device=device)
    first, last = (torch.tensor(v, device=device)[:, None] for v in (window.first, window.last))
    return (source >= first) & (source < last)
