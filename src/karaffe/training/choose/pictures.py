"""Predictions of candidates side by side, with what they get wrong at boundaries marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from karaffe.evaluation.segmentation import IGNORE
from karaffe.models.segmentation import ClassTable, load_segmenter
from karaffe.training.segmentation.dataset import Labelled, Pixels
from karaffe.training.segmentation.measure import predict

Item = TypeVar("Item")

PICTURES = 4
REACH = 3
WRONG = (255, 0, 255)
_GAP, _LINE, _WIDTH = 6, 16, 240


def chosen(items: Sequence[Item], count: int = PICTURES) -> list[Item]:
    """Return ``count`` of the items spread evenly over the set."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def write_predictions(checkpoint: Path, folder: Path, items: Sequence[Labelled]) -> None:
    """Write the classes that a checkpoint predicts, one PNG a picture; what is there already is left alone."""
    targets = prediction_paths(folder, items)
    if not checkpoint.exists() or all(target.exists() for target in targets):
        return
    model, _ = load_segmenter(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    for item, target in zip(items, targets, strict=True):
        Image.fromarray(predict(model, item.image)).save(target, optimize=True)


def prediction_paths(folder: Path, items: Sequence[Labelled]) -> list[Path]:
    """Return where what belongs to each picture lies in ``folder``."""
    return [folder / f"{Path(item.name).stem}.png" for item in items]


def read_maps(folder: Path, items: Sequence[Labelled]) -> list[Pixels] | None:
    """Return what was written for each picture, or None where something is missing."""
    paths = prediction_paths(folder, items)
    return [_read(path) for path in paths] if all(path.exists() for path in paths) else None


def _read(path: Path) -> Pixels:
    with Image.open(path) as file:
        return np.array(file)


def boundary_errors(predicted: Pixels, truth: Pixels) -> npt.NDArray[np.bool_]:
    """Return the labelled pixels that are wrong and lie within 3 pixels of a boundary of the truth."""
    inner = (ndimage.maximum_filter(truth, 3) != ndimage.minimum_filter(truth, 3)) & (truth != IGNORE)
    near = ndimage.binary_dilation(inner, iterations=REACH)
    return (predicted != truth) & (truth != IGNORE) & near


def draw_predictions(
    items: Sequence[Labelled], predictions: Mapping[str, Sequence[Pixels]], classes: ClassTable
) -> Image.Image:
    """Draw a row a picture: itself, the truth, and each prediction; wrong pixels at boundaries in magenta."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[: len(classes.colours)] = classes.colours
    columns = {"picture": [item.image for item in items], "truth": [colours[item.labels] for item in items]}
    for name, maps in predictions.items():
        painted = []
        for item, labels in zip(items, maps, strict=True):
            cell = colours[labels]
            cell[boundary_errors(labels, item.labels)] = WRONG
            painted.append(cell)
        columns[name] = painted
    return draw_columns(columns)


def draw_columns(columns: Mapping[str, Sequence[Pixels]]) -> Image.Image:
    """Draw RGB cells under titles, one picture a row; the first column is photographs, the others maps."""
    shapes = [cell.shape for cell in next(iter(columns.values()))]
    heights = [round(_WIDTH * shape[0] / shape[1]) for shape in shapes]
    size = (len(columns) * (_WIDTH + _GAP) - _GAP, _LINE + sum(heights) + _GAP * (len(heights) - 1))
    sheet = Image.new("RGB", size, (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (title, cells) in enumerate(columns.items()):
        left, top = number * (_WIDTH + _GAP), _LINE
        pen.text((left, 0), title, fill=(23, 26, 31), font=font)
        for cell, height in zip(cells, heights, strict=True):
            sampling = Image.Resampling.BILINEAR if number == 0 else Image.Resampling.NEAREST
            sheet.paste(Image.fromarray(cell).resize((_WIDTH, height), sampling), (left, top))
            top += height + _GAP
    return sheet
