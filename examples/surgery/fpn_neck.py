"""A feature pyramid's neck: F.interpolate in a loop, replaced by CARAFE with the output kept, then fine-tuned.

python examples/surgery/fpn_neck.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import karaffe


class PyramidNetwork(nn.Module):
    """Three maps, a top-down path, dense prediction: as anybody would write it, with no thought of karaffe."""

    def __init__(self, width: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(32, 64, 3, 2, 1)])
        self.lateral = nn.ModuleList([nn.Conv2d(c, width, 1) for c in (16, 32, 64)])
        self.head = nn.Conv2d(width, classes, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for stage in self.stages:
            x = stage(x).relu()
            maps.append(x)
        laterals = [conv(m) for conv, m in zip(self.lateral, maps, strict=True)]
        for i in range(len(laterals) - 1, 0, -1):
            size = laterals[i - 1].shape[2:]
            laterals[i - 1] = laterals[i - 1] + F.interpolate(laterals[i], size=size, mode="nearest")
        return self.head(laterals[0])


def main() -> None:
    torch.manual_seed(0)
    model = PyramidNetwork().eval()
    image = torch.randn(2, 3, 50, 70)
    before = model(image)

    print(karaffe.find_upsamplers(model, image), end="\n\n")
    report = karaffe.replace_upsamplers(model, "carafe", image)
    print(report, end="\n\n")
    assert len(report.replaced) == 2
    assert (model(image) - before).abs().max() <= 2e-3 * before.abs().max()

    target = (F.avg_pool2d(image, 2).mean(1) > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(model.train()(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print("loss", " ".join(f"{loss:.3f}" for loss in losses))
    assert losses[-1] < 0.95 * losses[0]


if __name__ == "__main__":
    main()
