"""Where the content mattered: entropy and off-centre mass of the kernels in the finest upsampling step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from karaffe.models.segmentation import Segmenter, load_segmenter
from karaffe.training.choose.pictures import prediction_paths, read_maps
from karaffe.training.segmentation.dataset import Labelled, Pixels
from karaffe.upsamplers import Upsampler
from karaffe.visualize.colours import HEAT, colour
from karaffe.visualize.learned import measure_importance, predicted_kernels, predicts_kernels


def write_importance(checkpoint: Path, folder: Path, items: Sequence[Labelled]) -> None:
    """Write both maps of a checkpoint beside each other, one grey PNG a picture, 0 to 255 for 0 to 1.

    What is there already is left alone, and nothing is written for a network that predicts no kernels.
    """
    targets = prediction_paths(folder, items)
    if not checkpoint.exists() or all(target.exists() for target in targets):
        return
    model, _ = load_segmenter(checkpoint)
    for item, target in zip(items, targets, strict=True):
        maps = importance_of(model, item.image)
        if maps is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        both = np.concatenate(list(maps), axis=1)
        Image.fromarray((255 * both).round().astype(np.uint8)).save(target, optimize=True)


def read_importance(folder: Path, items: Sequence[Labelled]) -> list[tuple[Pixels, Pixels]] | None:
    """Return entropy and off-centre mass in colours, one pair a picture, or None where something is missing."""
    maps = read_maps(folder, items)
    if maps is None:
        return None
    halves = [np.split(colour(both / 255, HEAT), 2, axis=1) for both in maps]
    return [(entropy, off_centre) for entropy, off_centre in halves]


@torch.inference_mode()
def importance_of(model: Segmenter, image: Pixels) -> npt.NDArray[np.float64] | None:
    """Return entropy and off-centre mass ``(2, H, W)`` of an 8-bit RGB image, both in [0, 1].

    Of the last upsampling step, whose targets are the image's own pixels; None for a network without kernels.
    Definitions: :func:`karaffe.visualize.measure_importance`.
    """
    calls: list[tuple[nn.Module, tuple[Tensor, ...]]] = []

    def note(module: nn.Module, arguments: tuple[Tensor, ...], _: Tensor) -> None:
        calls.append((module, arguments))

    steps = [m for m in model.modules() if isinstance(m, Upsampler) and predicts_kernels(m)]
    hooks = [step.register_forward_hook(note) for step in steps]
    try:
        model(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    finally:
        for hook in hooks:
            hook.remove()
    if not calls:
        return None
    step, (x, guide) = calls[-1]
    guided = isinstance(step, Upsampler) and step.needs_guide
    measured = measure_importance(predicted_kernels(step, x, guide if guided else None))
    height, width = image.shape[:2]
    return torch.stack([measured.entropy, measured.off_centre])[:, :height, :width].numpy()
