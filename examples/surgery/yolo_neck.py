"""The neck of a YOLO: nn.Upsample replaced by DySample with the output kept, then fine-tuned.

pip install ultralytics
python examples/surgery/yolo_neck.py
"""

from __future__ import annotations

import torch
from torch import Tensor
from ultralytics.nn.tasks import DetectionModel

import karaffe


def maps(output: object) -> list[Tensor]:
    """The floating tensors that the network gives in training, whatever this version wraps them in."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output
    return [t for part in parts for t in maps(part)]  # type: ignore[attr-defined]


def main() -> None:
    torch.manual_seed(0)
    model = DetectionModel("yolov8n.yaml", ch=3, nc=2, verbose=False).eval()
    image = torch.rand(1, 3, 64, 64)
    before = model(image)[0]

    report = karaffe.replace_upsamplers(model, "dysample", image)
    print(report, end="\n\n")
    assert len(report.replaced) == 2
    assert (model(image)[0] - before).abs().max() <= 2e-3 * before.abs().max()

    model.train()
    with torch.no_grad():
        targets = [0.5 * t + 0.1 * torch.randn_like(t) for t in maps(model(image))]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = sum(((t - goal) ** 2).mean() for t, goal in zip(maps(model(image)), targets, strict=True))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        losses.append(float(loss))
    print("loss", " ".join(f"{loss:.3f}" for loss in losses))
    assert losses[-1] < 0.98 * losses[0]


if __name__ == "__main__":
    main()
