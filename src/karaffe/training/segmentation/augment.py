"""Augmentation by an albumentations pipeline from a file, drawn from a seed a picture."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from karaffe.errors import ArgumentError, FileError
from karaffe.evaluation.segmentation import IGNORE
from karaffe.training.segmentation.dataset import Labelled


class Pipeline:
    """An albumentations pipeline; the same pair and seed give the same result.

    Args:
        path: what ``albumentations.save(pipeline, path)`` wrote.

    Raises:
        ArgumentError: albumentations is not installed, or the file holds no pipeline of its.
        FileError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # It would ask the network for its newest version.
        try:
            import albumentations
        except ModuleNotFoundError as error:
            raise ArgumentError(f"augmentation needs {error.name}: pip install 'karaffe[train]'") from error
        try:
            described = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise FileError(f"cannot read augmentation {path}: {error.strerror or error}") from error
        except ValueError as error:
            raise ArgumentError(f"{path} is not an albumentations pipeline: {error}") from error
        try:
            loaded = albumentations.from_dict(described)
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError(f"{path} is not an albumentations pipeline: {error!r}") from error
        # What a rotation or a shift uncovers has no label.
        self.pipeline: Any = albumentations.Compose([_fill_labels(t) for t in loaded.transforms])

    def __call__(self, item: Labelled, seed: int) -> Labelled:
        self.pipeline.set_random_seed(seed)
        made = self.pipeline(image=item.image, mask=item.labels)
        return Labelled(item.name, np.ascontiguousarray(made["image"]), np.ascontiguousarray(made["mask"]))


def _fill_labels(transform: Any) -> Any:
    if hasattr(transform, "fill_mask"):
        transform.fill_mask = IGNORE
    return transform
