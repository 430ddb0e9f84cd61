"""The resampling of each method as plain PyTorch code usually writes it: unfold the windows, multiply, sum.

What :mod:`upsamplers` (the script beside this file) compares with. Windows are unfolded at source resolution, which
is several times faster than the copies that unfold the enlarged map. Each pair of functions takes the same tensors:
what the method's convolutions have already computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from karaffe import ops
from karaffe.upsamplers import CARAFE, FADE, SAPA, CARAFEDown, DySample, SAPADeform, Upsampler
from karaffe.upsamplers.carafe_down import reassemble_strided
from karaffe.upsamplers.sampling import sample
from karaffe.upsamplers.sapa_deform import attend_at

K, S = 5, 2


def windows(x: Tensor, stride: int = 1) -> Tensor:
    """``(N, C, taps, 1, positions)``."""
    return F.unfold(x, K, padding=K // 2, stride=stride).unflatten(1, (x.shape[1], K * K))[:, :, :, None]


def by_phase(x: Tensor) -> Tensor:
    """Target maps as ``(N, C, sub-pixels, positions)``."""
    return F.pixel_unshuffle(x, S).unflatten(1, (x.shape[1], S * S)).flatten(3)


def to_target(x: Tensor, height: int) -> Tensor:
    return F.pixel_shuffle(x.flatten(1, 2).unflatten(2, (height, -1)), S)


def plain_reassemble(x: Tensor, kernels: Tensor) -> Tensor:
    return to_target((windows(x) * by_phase(kernels)[:, None]).sum(2), x.shape[2])


def plain_carafe(x: Tensor, logits: Tensor) -> Tensor:
    return plain_reassemble(x, F.pixel_shuffle(logits, S).softmax(1))


def our_carafe(x: Tensor, logits: Tensor) -> Tensor:
    return ops.reassemble_logits(x, logits, K, scale_factor=S)


def plain_sapa(x: Tensor, key: Tensor, query: Tensor) -> Tensor:
    logits = (windows(key) * by_phase(query)[:, :, None]).sum(1)
    return to_target((windows(x) * logits.softmax(1)[:, None]).sum(2), x.shape[2])


def our_sapa(x: Tensor, key: Tensor, query: Tensor) -> Tensor:
    return ops.local_attention(query, key, x, K, scale=1.0, padding_mode="zeros")


def plain_fade(x: Tensor, logits: Tensor) -> Tensor:
    return plain_reassemble(x, logits.softmax(1))


def our_fade(x: Tensor, logits: Tensor) -> Tensor:
    return ops.reassemble(x, logits.softmax(1), K)


def plain_down(x: Tensor, logits: Tensor) -> Tensor:
    kernels = logits.softmax(1).flatten(2)[:, None, :, None]
    return (windows(x, S) * kernels).sum(2)[:, :, 0].unflatten(2, logits.shape[2:])


def our_down(x: Tensor, logits: Tensor) -> Tensor:
    return reassemble_strided(x, logits.softmax(1), K, (S, S), 1, "zeros")


def pixel_grid(position: Tensor, x: Tensor) -> Tensor:
    size = position.new_tensor([x.shape[3], x.shape[2]])
    return (2 * position.permute(0, 2, 3, 1) + 1) / size - 1


def plain_dysample(x: Tensor, position: Tensor) -> Tensor:
    return F.grid_sample(x, pixel_grid(position, x), padding_mode="border", align_corners=False)


def our_dysample(x: Tensor, position: Tensor) -> Tensor:
    return sample(x, position, "replicate")


def plain_points(query: Tensor, key: Tensor, value: Tensor, positions: Tensor) -> Tensor:
    """All points sampled at once."""
    points, height = positions.shape[1], query.shape[2]
    position = positions.transpose(1, 2).flatten(2, 3)

    def sampled(v: Tensor) -> Tensor:
        return F.grid_sample(v, pixel_grid(position, v), align_corners=False).unflatten(2, (points, height))

    weights = (query[:, :, None] * sampled(key)).sum(1, keepdim=True).softmax(2)
    return (weights * sampled(value)).sum(2)


def our_points(query: Tensor, key: Tensor, value: Tensor, positions: Tensor) -> Tensor:
    return attend_at(query, key, value, positions, "zeros")


@dataclass(frozen=True)
class Resampling:
    """One method's resampling, ours and the plain way, on the tensors that ``prepare`` makes."""

    plain: Callable[..., Tensor]
    ours: Callable[..., Tensor]
    prepare: Callable[[Upsampler, Tensor, Tensor], tuple[Tensor, ...]]
    by: str


def carafe_tensors(m: Upsampler, x: Tensor, guide: Tensor) -> tuple[Tensor, ...]:
    assert isinstance(m, CARAFE)
    return x, m.kernel_logits(x)


def sapa_tensors(m: Upsampler, x: Tensor, guide: Tensor) -> tuple[Tensor, ...]:
    assert isinstance(m, SAPA)
    return x, m.k(m.norm_x(x)), m.q(m.norm_y(guide))


def fade_tensors(m: Upsampler, x: Tensor, guide: Tensor) -> tuple[Tensor, ...]:
    assert isinstance(m, FADE)
    return x, m.ker_generator(x, guide)


def down_tensors(m: Upsampler, x: Tensor, guide: Tensor) -> tuple[Tensor, ...]:
    assert isinstance(m, CARAFEDown)
    return x, m.content_encoder(m.channel_compressor(x))


def dysample_tensors(m: Upsampler, x: Tensor, guide: Tensor) -> tuple[Tensor, ...]:
    """One group's channels after another, and the positions of each."""
    assert isinstance(m, DySample)
    grid = torch.meshgrid(*((torch.arange(S * n, device=x.device) + 0.5) / S - 0.5 for n in x.shape[2:]), indexing="ij")
    regular = torch.stack(grid[::-1])
    position = m.offsets(x)[:, :, 0].flatten(0, 1) + regular
    return x.reshape(-1, x.shape[1] // m.groups, *x.shape[2:]), position


def point_tensors(m: Upsampler, x: Tensor, guide: Tensor) -> tuple[Tensor, ...]:
    """One group's channels after another, and the positions of each."""
    assert isinstance(m, SAPADeform)
    grid = torch.meshgrid(*(torch.arange(S * n, device=x.device) // S for n in x.shape[2:]), indexing="ij")
    positions = (m.offsets(x) + torch.stack(grid[::-1])).flatten(0, 1)
    query, key, value = (v.reshape(-1, v.shape[1] // m.groups, *v.shape[2:]) for v in (m.q(guide), m.k(x), x))
    return query, key, value, positions


RESAMPLINGS = {
    "carafe": Resampling(plain_carafe, our_carafe, carafe_tensors, "unfold"),
    "carafe-down": Resampling(plain_down, our_down, down_tensors, "unfold"),
    "sapa": Resampling(plain_sapa, our_sapa, sapa_tensors, "unfold"),
    "fade": Resampling(plain_fade, our_fade, fade_tensors, "unfold"),
    "fade-lite": Resampling(plain_fade, our_fade, fade_tensors, "unfold"),
    "dysample": Resampling(plain_dysample, our_dysample, dysample_tensors, "grid_sample"),
    "sapa-d": Resampling(plain_points, our_points, point_tensors, "grid_sample"),
}


KINDS = {
    "carafe": CARAFE,
    "carafe-down": CARAFEDown,
    "sapa": SAPA,
    "sapa-d": SAPADeform,
    "fade": FADE,
    "dysample": DySample,
}


def plain_module(m: Upsampler, x: Tensor, guide: Tensor) -> Tensor | None:
    """The whole module with its resampling the plain way, or nothing where there is no other way."""
    parts = next((RESAMPLINGS[name] for name, kind in KINDS.items() if isinstance(m, kind)), None)
    if parts is None:
        return None
    y = parts.plain(*parts.prepare(m, x, guide))
    if isinstance(m, DySample | SAPADeform):
        return y.reshape(*x.shape[:2], *y.shape[2:])
    if isinstance(m, FADE) and m.gate_generator is not None:
        gate = F.interpolate(m.gate_generator.conv(x), scale_factor=S).sigmoid()
        y = gate * guide + (1 - gate) * y
    return y
