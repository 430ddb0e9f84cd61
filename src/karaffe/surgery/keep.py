"""CARAFE whose untrained kernels are an interpolation's, at every target position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from karaffe import ops
from karaffe.ops.geometry import source_index
from karaffe.ops.normalize import shuffle
from karaffe.ops.reassemble_logits import at_size
from karaffe.upsamplers import CARAFE
from karaffe.upsamplers.carafe import ENCODER_STD, reset_content_encoder

NEAREST = {"nearest": "corner", "nearest-exact": "center"}
LINEAR = ("linear", "bilinear", "trilinear")
MODES = (*NEAREST, *LINEAR)


class AnchoredCARAFE(CARAFE):
    r"""CARAFE (Wang et al., ICCV 2019) anchored at an interpolation of any form.

    .. math:: A[t, p] = \mathrm{softmax}_t(\log(w[t, p] + \epsilon) + \Delta[t, p])

    ``w[t, p]`` is the interpolation's weight of tap ``t`` at target ``p``, worked out for the call's sizes, mode and
    ``align_corners``; the content encoder gives the change, which starts at (nearly) zero. Taps without weight share
    ``init_floor``, so that they can be learned. Taps outside repeat the border, as interpolation does.

    Arguments and state_dict keys are those of :class:`karaffe.CARAFE`; the factor only sets how many kernels are
    predicted for each source pixel.
    """

    def __init__(self, channels: int, scale_factor: Any = 2, **options: Any) -> None:
        super().__init__(channels, scale_factor, **{**options, "init": "bilinear"})

    def reset_parameters(self) -> None:
        reset_content_encoder(self.channel_compressor, self.content_encoder, ENCODER_STD * self.init_floor)

    def interpolate(
        self, x: Tensor, targets: Sequence[int], mode: str, align_corners: bool, steps: Sequence[float] | None
    ) -> Tensor:
        """Enlarge ``x`` (N, channels, *sizes) to ``targets``, anchored at ``F.interpolate`` with these arguments.

        Args:
            steps: source pixels a target pixel where a scale factor decides that; ``None``: the sizes do.
        """
        logits = at_size(shuffle(self.kernel_logits(x), self.sub_pixels), targets)
        alignment = NEAREST.get(mode, "align_corners" if align_corners else "center")
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        weights = torch.ones((1,), dtype=wide, device=x.device)
        for axis, (size, target) in enumerate(zip(x.shape[2:], targets, strict=True)):
            step = None if steps is None else steps[axis]
            rows = axis_weights(size, target, mode, align_corners, step, self.up_kernel, alignment, weights)
            # (taps so far, 1, *targets so far, 1) x (1, taps, 1…, target)
            rows = rows.reshape(1, self.up_kernel, *[1] * axis, target)
            weights = (weights.unsqueeze(1).unsqueeze(-1) * rows).flatten(0, 1)
        prior = self._log_prior(weights)
        logits = logits.unflatten(1, (self.up_group, self.taps))
        kernels = (logits.to(wide) + prior).softmax(2).flatten(1, 2).to(x.dtype)
        return ops.reassemble(
            x, kernels, self.up_kernel, groups=self.up_group, padding_mode="replicate", alignment=alignment
        )

    def _log_prior(self, weights: Tensor) -> Tensor:
        empty = weights <= 0
        share = self.init_floor / empty.sum(0, keepdim=True).clamp(min=1)
        return torch.where(empty, share, weights).log()


def axis_weights(
    size: int,
    target: int,
    mode: str,
    align_corners: bool,
    step: float | None,
    kernel_size: int,
    alignment: str,
    like: Tensor,
) -> Tensor:
    """Weight of each tap of each target along one axis, ``(kernel_size, target)``, as torch works them out.

    Raises nothing: a tap window that cannot hold the interpolation gives columns that do not sum to one.
    """
    # In the result's own precision, as torch does: the same roundings give the same weights.
    y = torch.arange(target, dtype=like.dtype, device=like.device)
    if mode in LINEAR and align_corners:
        position = y * ((size - 1) / max(target - 1, 1))
    else:
        # Linear modes of torch copy an axis that keeps its size, whatever the factor says; nearest modes do not.
        copied = mode in LINEAR and size == target
        ratio = size / target if step is None or copied else step
        position = (y * ratio).floor() if mode == "nearest" else (y + 0.5) * ratio
        if mode == "nearest-exact":
            position = position.floor()
        elif mode != "nearest":
            position = position - 0.5
        position = position.clamp(min=0)
    position = position.clamp(max=size - 1)
    taps = torch.arange(kernel_size, device=like.device) - (kernel_size - 1) // 2
    reads = source_index(size, target, alignment, like.device) + taps[:, None]
    # The position is inside the map, so that a tap outside is at least 1 away: its weight is zero.
    return (1 - (position - reads).abs()).clamp(min=0)
