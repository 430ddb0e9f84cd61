"""Upsamplers that have learned something, to be looked at: each is trained for a minute to redraw a photograph.

The task: a convolution makes features of the reduced photograph, the upsampler enlarges them by two, a 1x1
convolution makes the photograph of them. It says what a method does with edges, not how good it is.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import karaffe

PICTURE = Path(__file__).resolve().parents[2] / "examples" / "pictures" / "chelsea.png"
CHANNELS, STEPS, CROP = 32, 250, 64
POINTS = [(83, 143), (60, 200)]
# Few channels here, so narrower than by default.
OPTIONS: dict[str, dict[str, object]] = {
    "carafe": {"compressed_channels": 16},
    "sapa": {"embedding_dim": 16},
    "sapa-d": {"embedding_dim": 8},
    "fade": {"embedding_dim": 16},
    "freqfusion": {"compressed_channels": 16},
    "indexnet": {"block": "o2o"},
    "jbu-learned": {"guide_channels": CHANNELS},
    "jbu-stack": {"guide_channels": CHANNELS},
    "jafar": {"guide_channels": CHANNELS, "qk_dim": 32},
    "anyup": {"guide_channels": CHANNELS, "qk_dim": 32},
    "naf": {"guide_channels": CHANNELS, "qk_dim": 32, "layers": 1},
    "loftup": {"guide_channels": CHANNELS, "frequencies": 3},
    "uplift": {"guide_channels": CHANNELS, "width": 24},
    "dlu": {"compressed_channels": 16},
}
# These cost more a step, and what they do is seen earlier.
FEWER_STEPS = {"jafar": 12, "anyup": 12, "naf": 60, "loftup": 12, "uplift": 12}


def photograph() -> Tensor:
    """The left eye of the cat and what is round it, ``(1, 3, 192, 256)`` in [0, 1]."""
    pixels = np.asarray(Image.open(PICTURE).crop((60, 20, 316, 212)), dtype=np.float32)
    return torch.from_numpy(pixels / 255).permute(2, 0, 1)[None]


class _Redraw(nn.Module):
    """Reduced photograph -> features -> upsampler -> photograph."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.guide = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.upsampler = karaffe.create_upsampler(name, CHANNELS, 2, **OPTIONS.get(name, {}))
        self.colours = nn.Conv2d(CHANNELS, 3, 1)

    def guide_of(self, whole: Tensor) -> Tensor | None:
        """A blurred copy of the target is the guide: it knows where edges are, not what colour they have."""
        if not self.upsampler.needs_guide:
            return None
        return self.guide(F.avg_pool2d(whole.mean(1, keepdim=True), 3, 1, 1).expand(-1, 3, -1, -1))

    def forward(self, whole: Tensor) -> Tensor:
        return self.colours(self.upsampler(self.features(F.avg_pool2d(whole, 2)), self.guide_of(whole)))


@cache
def trained(name: str) -> tuple[nn.Module, Tensor, list[tuple[int, int]]]:
    """The trained upsampler, the features it was fed, and targets worth looking at."""
    network, whole = fit(name)
    with torch.no_grad():
        return network.upsampler, network.features(F.avg_pool2d(whole, 2)), POINTS


def guide_for(name: str) -> Tensor | None:
    """The guide that goes with :func:`trained`."""
    network, whole = fit(name)
    with torch.no_grad():
        return network.guide_of(whole)


@cache
def fit(name: str) -> tuple[_Redraw, Tensor]:
    torch.manual_seed(0)
    network, whole = _Redraw(name), photograph()
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(FEWER_STEPS.get(name, STEPS)):
        y, x = (2 * int(torch.randint((n - CROP) // 2, (), generator=generator)) for n in whole.shape[2:])
        crop = whole[..., y : y + CROP, x : x + CROP]
        drawn = network(crop)
        loss = F.l1_loss(drawn, F.adaptive_avg_pool2d(crop, drawn.shape[2:]))  # CARAFE++ down reduces
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval(), whole
