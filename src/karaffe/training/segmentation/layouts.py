"""Where a data set's images and label maps lie, and which of them train, select and test.

What decides between networks or steps (selection) is never what is reported (test): a data set that comes without a
test split gives up its own last pictures, contiguous, since neighbouring frames of a film are nearly the same.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from karaffe.errors import ArgumentError, FileError
from karaffe.evaluation.pictures import SUFFIXES

Split = Literal["train", "selection", "test"]
SPLITS: tuple[Split, ...] = ("train", "selection", "test")
SELECTION, TEST = 0.1, 0.2
_IMAGES, _LABELS = ("images", "image", "img"), ("labels", "label", "masks", "mask", "annotations")
LABEL_SUFFIXES = frozenset({".png", ".tif", ".tiff"})


@dataclass(frozen=True)
class Pair:
    """One image and its label map."""

    name: str
    image: Path
    label: Path


Splits = dict[Split, list[Pair]]


def find_pairs(data: Path) -> Splits:
    """Return the pairs of a data set by split.

    Known are: an index file (CSV) with the columns ``image``, ``label`` and perhaps ``split`` (train, selection or
    val, test), paths relative to it; a folder with ``train`` and ``trainannot``, ``val`` and ``valannot``, perhaps
    ``test`` and ``testannot`` (CamVid); one with ``train/images`` and ``train/labels``, and so on; one with
    ``images`` and ``labels``, of which the last 20 % test and the 10 % before select. Where there is ``test``,
    ``val`` selects; where there is only ``val``, it tests, and the last 10 % of ``train`` select.

    Raises:
        FileError: nothing of this is there, or an image has no label map.
        ArgumentError: a split is empty, or the index is not of that form.
    """
    if data.is_file():
        found = _from_index(data)
    elif data.is_dir():
        found = _from_folder(data)
    else:
        raise FileError(f"cannot read {data}: no such file or folder")
    for split in SPLITS:
        if not found[split]:
            counts = ", ".join(f"{s} {len(found[s])}" for s in SPLITS)
            raise ArgumentError(f"the split {split!r} of {data} is empty ({counts}); at least 10 pairs are needed")
    return found


def _from_folder(data: Path) -> Splits:
    named = {split: _folders(data, split) for split in ("train", "val", "test")}
    if named["train"] is not None:
        pools = {split: _match(*folders) if folders else [] for split, folders in named.items()}
        return _divide(pools["train"], pools["val"], pools["test"])
    pool = _subfolders(data)
    if pool is None:
        raise FileError(
            f"cannot find images and label maps in {data}; expected are train/ and trainannot/, or train/images/ and "
            "train/labels/, or images/ and labels/, or an index file"
        )
    return _divide(_match(*pool), [], [])


def _divide(train: list[Pair], val: list[Pair], test: list[Pair]) -> Splits:
    if test and val:
        return {"train": train, "selection": val, "test": test}
    test = test or val
    if not test:
        keep = len(train) - round(TEST * len(train))
        train, test = train[:keep], train[keep:]
        # The share is of all pictures.
        selection = round(SELECTION * (len(train) + len(test)))
    else:
        selection = round(SELECTION * len(train))
    keep = len(train) - selection
    return {"train": train[:keep], "selection": train[keep:], "test": test}


def _folders(data: Path, split: str) -> tuple[Path, Path] | None:
    if (data / f"{split}annot").is_dir():
        return data / split, data / f"{split}annot"
    return _subfolders(data / split)


def _subfolders(folder: Path) -> tuple[Path, Path] | None:
    images = next((folder / name for name in _IMAGES if (folder / name).is_dir()), None)
    labels = next((folder / name for name in _LABELS if (folder / name).is_dir()), None)
    return (images, labels) if images and labels else None


def _match(images: Path, labels: Path) -> list[Pair]:
    by_stem = {path.stem: path for path in sorted(labels.iterdir()) if path.suffix.lower() in LABEL_SUFFIXES}
    pairs = []
    for path in sorted(images.iterdir(), key=lambda p: _natural(p.stem)):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem not in by_stem:
            raise FileError(f"image {path} has no label map {path.stem}.png in {labels}")
        pairs.append(Pair(path.name, path, by_stem[path.stem]))
    return pairs


def _natural(stem: str) -> tuple[int, str]:
    """Slices that are numbered without leading zeros come in the order of their numbers."""
    return (int(stem), "") if stem.isdecimal() else (-1, stem)


def _from_index(path: Path) -> Splits:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"image", "label"} <= set(rows[0]):
        raise ArgumentError(f"{path} must be a CSV file with the columns image, label and perhaps split")
    pairs = [Pair(row["image"], path.parent / row["image"], path.parent / row["label"]) for row in rows]
    for pair in pairs:
        for file_path in (pair.image, pair.label):
            if not file_path.is_file():
                raise FileError(f"{path} names {file_path}, which does not exist")
    if "split" not in rows[0]:
        return _divide(pairs, [], [])
    splits = [_split_name(row["split"], path) for row in rows]
    pools = [_of(pairs, splits, name) for name in ("train", "selection", "test")]
    return _divide(*pools) if not all(pools) else cast(Splits, dict(zip(SPLITS, pools, strict=True)))


def _split_name(value: str, path: Path) -> str:
    name = {"val": "selection", "validation": "selection"}.get(value, value)
    if name not in SPLITS:
        raise ArgumentError(f"{path}: split must be train, selection (or val) or test; got {value!r}")
    return name


def _of(pairs: Sequence[Pair], splits: Sequence[str], name: str) -> list[Pair]:
    return [pair for pair, split in zip(pairs, splits, strict=True) if split == name]
