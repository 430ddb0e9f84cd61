"""A U-Net's decoder: nn.Upsample and nn.ConvTranspose2d, replaced by FADE, which is handed the skip as its guide.

python examples/surgery/unet_decoder.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import karaffe


class Block(nn.Module):
    """Enlarge, join the skip, convolve."""

    def __init__(self, channels: int, skip: int, out: int, up: nn.Module) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels + skip, out, 3, 1, 1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([self.up(x), skip], 1)).relu()


class UNet(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(32, 64, 3, 2, 1)])
        bilinear = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.decoder = nn.ModuleList([Block(64, 32, 32, bilinear), Block(32, 16, 16, nn.ConvTranspose2d(32, 32, 2, 2))])
        self.head = nn.Conv2d(16, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down[0](x).relu()
        b = self.down[1](a).relu()
        y = self.decoder[0](self.down[2](b).relu(), b)
        return self.head(self.decoder[1](y, a))


def main() -> None:
    torch.manual_seed(0)
    model = UNet().eval()
    image = torch.randn(2, 3, 32, 48)
    before = model(image)

    report = karaffe.replace_upsamplers(model, "fade", image, where="decoder.*")
    print(report, end="\n\n")
    assert [entry.guide for entry in report.replaced] == ["skip", "skip"]
    assert (model(image) - before).abs().max() <= 2e-3 * before.abs().max()

    target = (image.mean(1) > 0).long()
    optimizer = torch.optim.Adam(report.new_parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(model.train()(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print("loss, the new parameters alone trained:", " ".join(f"{loss:.3f}" for loss in losses))
    assert losses[-1] < 0.99 * losses[0]

    karaffe.restore_upsamplers(model)
    assert torch.equal(model.eval()(image), before)


if __name__ == "__main__":
    main()
