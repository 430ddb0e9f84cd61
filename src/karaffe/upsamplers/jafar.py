"""JAFAR: every target, by its image, attends to all source features."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.upsamplers.base import ScaleFactor, Upsampler, one_of
from karaffe.upsamplers.image_attention import (
    NORM_GROUPS,
    CrossDecode,
    NamedBlock,
    RotaryPlace,
    check_width,
    encoder,
    encoder_macs,
    mixture,
    reset_children,
    whole,
)
from karaffe.upsamplers.jbu import pooled
from karaffe.upsamplers.registry import register


class _Modulation(nn.Module):
    """Scale and shift of the keys by the features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Conv2d(width, width, 1, bias=False)
        self.beta = nn.Conv2d(width, width, 1, bias=False)


@register(
    "jafar",
    summary="every target attends to all source pixels; an image asks, image and features answer",
    equation="Q[p] = mean_h sum_m softmax_m(q_h(image)[p] . k_h(image, x)[m] / sqrt(d)) x[m]",
    paper="Couairon et al., JAFAR: Jack up Any Feature at Any Resolution, NeurIPS 2025, arXiv:2506.11136",
    learned=True,
    guide_is="an image of any size, normalised as the backbone's input",
    convex=True,
    unit_sum=True,
    shift_equivariant=False,
    inits=("paper",),
    dims=(2,),
)
class JAFAR(Upsampler):
    r"""Jack up any feature at any resolution (Couairon et al., 2025, section 3).

    .. math::
        e = \mathrm{rope}(E(I)), \quad q = \mathrm{pool}_{H'}(E_q e), \quad
        k = \gamma(f) \odot \mathrm{pool}_H(E_k e) + \beta(f), \quad f = E_f(x / |x|)

    .. math:: Q[p] = \tfrac1h \sum_h \sum_m \mathrm{softmax}_m\big(q_h[p] \cdot k_h[m] / \sqrt d\big)\, x[m]

    Attention is global: work grows with targets times sources; memory does not, rows of targets are taken a few at a
    time. Any target size; one set of weights a backbone (``channels``). The official module's value and output
    projections take no part in its result: they are here, without gradients, so that its checkpoints load.

    Args:
        channels: of the input and the output.
        scale_factor: a positive number, or one an axis; any ``size=``.
        qk_dim: width of queries and keys.
        heads: of the attention.
        encoder_kernel: of the image encoder, odd.
        guide_channels: of the image.
        init: ``"paper"``: torch's defaults, Xavier for the projections.

    Raises:
        ArgumentError: a width that heads, groups and the place code do not divide.
    """

    needs_guide = True
    guide_at = "any"

    def __init__(
        self,
        channels: int,
        scale_factor: ScaleFactor = 2,
        qk_dim: int = 128,
        heads: int = 4,
        encoder_kernel: int = 1,
        *,
        guide_channels: int | None = 3,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, scale_factor, guide_channels=guide_channels)
        self.qk_dim, self.heads = check_width(qk_dim, heads), heads
        self.init = one_of(init, ("paper",), "init")
        self.image_encoder = encoder(self.guide_channels or 0, qk_dim, encoder_kernel, NamedBlock)
        self.key_encoder = encoder(qk_dim, qk_dim, encoder_kernel, NamedBlock)
        self.query_encoder = encoder(qk_dim, qk_dim, encoder_kernel, NamedBlock)
        self.key_features_encoder = encoder(channels, qk_dim, encoder_kernel, NamedBlock)
        self.cross_decode = CrossDecode(qk_dim, channels, packed=channels == qk_dim)
        self.sft_key = _Modulation(qk_dim)
        self.rope = RotaryPlace(qk_dim)

    def reset_parameters(self) -> None:
        reset_children(self)

    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        if guide is None:
            raise ArgumentError("JAFAR needs a guide")
        sizes = (x.shape[2], x.shape[3])
        encoded = self.rope(self.image_encoder(guide.to(x.dtype)))
        query = F.group_norm(pooled(self.query_encoder(encoded), targets), NORM_GROUPS)
        key = F.group_norm(pooled(self.key_encoder(encoded), sizes), NORM_GROUPS)
        features = self.key_features_encoder(F.normalize(x, dim=1))
        key = self.sft_key.gamma(features) * key + self.sft_key.beta(features)
        windows = [whole(n, t) for n, t in zip(sizes, targets, strict=True)]
        query, key = self.cross_decode(query, key)
        return mixture(query, key, x, self.heads, windows)

    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        """With an image of the target size."""
        source, target, square = math.prod(sizes), math.prod(targets), self.qk_dim**2
        image = encoder_macs(self.image_encoder) + encoder_macs(self.key_encoder) + encoder_macs(self.query_encoder)
        total = target * (image + 10 * square) + source * (encoder_macs(self.key_features_encoder) + 3 * square)
        return total + source * target * (self.qk_dim + (self.channels or 0))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, qk_dim={self.qk_dim}, heads={self.heads}"
