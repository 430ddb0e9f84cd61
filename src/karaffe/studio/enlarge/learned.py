"""Where the content mattered to a model, as a picture that the viewer knows how to show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from karaffe.errors import ArgumentError
from karaffe.evaluation.pictures import read_picture
from karaffe.imaging.guard import file_errors
from karaffe.models import describe_model, open_model
from karaffe.visualize import importance_map
from karaffe.visualize.learned import predicts_kernels


def write_importance(model: str, scale: float, source: Path, target: Path) -> bool:
    """Write the map of ``model`` for the picture in ``source``, entropy as its red and off-centre mass as its green.

    Returns whether there is one: interpolations decide nothing, and a network is asked at its own scales only.

    Raises:
        FileError: The picture is neither grey nor RGB, or the disk is full.
    """
    if not describe_model(model).learned:
        return False
    try:
        network = open_model(model, round(scale))
    except ArgumentError:
        return False
    if round(scale) != scale or not predicts_kernels(network):
        return False
    both = np.floor(importance_map(network, read_picture(source)).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    with file_errors("write", target):
        Pillow.fromarray(np.dstack([both, np.zeros_like(both[..., :1])])).save(target, "BMP")
    return True
