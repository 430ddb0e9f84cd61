"""Measure a network on labelled images, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from karaffe.evaluation.segmentation import SegmentationMeter, SegmentationScores
from karaffe.models.segmentation import Segmenter
from karaffe.training.segmentation.dataset import Labelled, Pixels


@dataclass(frozen=True)
class Measured:
    """Figures over a set, and those of every image."""

    scores: SegmentationScores
    images: tuple[SegmentationScores, ...]


def predict(model: Segmenter, image: Pixels, device: torch.device | str = "cpu") -> Pixels:
    """Return the classes ``(H, W)`` of an 8-bit RGB image, computed whole."""
    x = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        return model(x)[0].argmax(0).to(torch.uint8).cpu().numpy()


def measure(
    model: Segmenter, items: Sequence[Labelled], *, boundaries: bool = True, device: torch.device | str = "cpu"
) -> Measured:
    """Measure a network in evaluation mode on labelled images."""
    meter = SegmentationMeter(model.classes, boundaries=boundaries)
    each = tuple(meter.update(predict(model, item.image, device), item.labels) for item in items)
    return Measured(meter.compute(), each)


def agreement(measured: Measured) -> dict[str, float | list[float]]:
    """Return the figures of a log line, rounded to what is certain."""
    scores = measured.scores
    values: dict[str, float | list[float]] = {
        name: float(getattr(scores, name)) for name in ("miou", "accuracy", "mean_accuracy", "boundary_iou")
    }
    values |= {"iou": list(scores.iou), "boundary_f": list(scores.boundary_f)}
    values["image_miou"] = [round(image.miou, 6) for image in measured.images]
    return {key: _known(value) for key, value in values.items()}


def _known(value: float | list[float]) -> float | list[float]:
    """JSON has no NaN; a figure that could not be taken is -1."""
    if isinstance(value, list):
        return [-1.0 if np.isnan(v) else v for v in value]
    return -1.0 if np.isnan(value) else value
