"""A 3-D network of MONAI: trilinear nn.Upsample replaced by CARAFE with the output kept, then fine-tuned.

pip install monai
python examples/surgery/monai_volume.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.nets import SegResNet

import karaffe


def main() -> None:
    torch.manual_seed(0)
    model = SegResNet(spatial_dims=3, in_channels=1, out_channels=2).eval()
    volume = torch.randn(1, 1, 16, 32, 16)
    before = model(volume)

    report = karaffe.replace_upsamplers(model, "carafe", volume, compressed_channels=8)
    print(report, end="\n\n")
    assert len(report.replaced) == 3
    assert (model(volume) - before).abs().max() <= 2e-3 * before.abs().max()

    target = (volume[:, 0] > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = F.cross_entropy(model.train()(volume), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print("loss", " ".join(f"{loss:.3f}" for loss in losses))
    assert losses[-1] < 0.98 * losses[0]


if __name__ == "__main__":
    main()
