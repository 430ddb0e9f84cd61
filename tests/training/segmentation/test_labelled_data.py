"""Layouts, splits, label values, and batches that are a function of (seed, step)."""

from __future__ import annotations

import shutil
from pathlib import Path

import albumentations
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from karaffe.errors import ArgumentError, FileError, ShapeError
from karaffe.evaluation.segmentation import IGNORE
from karaffe.models.segmentation import ClassTable
from karaffe.training.segmentation import CropSampler, Labelled, find_pairs, load_dataset, pack
from karaffe.training.segmentation.augment import Pipeline
from karaffe.training.segmentation.dataset import class_shares, class_weights, fingerprint, read_labels

CLASSES = ClassTable(("ground", "disc", "bar"), ignore=9)


def names(folder: Path) -> dict[str, list[str]]:
    return {split: [pair.name for pair in pairs] for split, pairs in find_pairs(folder).items()}


def write(folder: Path, count: int, first: int = 0, size: tuple[int, int] = (8, 8)) -> None:
    folder.mkdir(parents=True)
    for number in range(first, first + count):
        Image.fromarray(np.zeros(size, dtype=np.uint8)).save(folder / f"{number:02d}.png")


def test_one_pool_is_divided_in_order(shapes: Path) -> None:
    found = names(shapes)
    assert found["train"] == [f"{n}.png" for n in range(14)]
    assert found["selection"] == ["14.png", "15.png"]
    assert found["test"] == ["16.png", "17.png", "18.png", "19.png"]


def test_without_a_test_split_the_last_training_pictures_select(tmp_path: Path) -> None:
    for split, count, first in (("train", 20, 0), ("val", 3, 50)):
        write(tmp_path / split, count, first)
        write(tmp_path / f"{split}annot", count, first)
    found = names(tmp_path)
    assert (len(found["train"]), found["selection"]) == (18, ["18.png", "19.png"])
    assert found["test"] == ["50.png", "51.png", "52.png"]


def test_with_a_test_split_val_selects(tmp_path: Path) -> None:
    for split, count, first in (("train", 5, 0), ("val", 2, 50), ("test", 3, 70)):
        write(tmp_path / split / "images", count, first)
        write(tmp_path / split / "labels", count, first)
    assert {k: len(v) for k, v in names(tmp_path).items()} == {"train": 5, "selection": 2, "test": 3}


def test_an_index_file(shapes: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes, tmp_path / "set")
    index = tmp_path / "set" / "index.csv"
    rows = [f"images/{n}.png,labels/{n}.png,{split}" for n, split in enumerate(["train"] * 3 + ["val"] + ["test"] * 2)]
    index.write_text("\n".join(["image,label,split", *rows]))
    assert {k: len(v) for k, v in names(index).items()} == {"train": 3, "selection": 1, "test": 2}
    index.write_text("\n".join(["image,label,split", rows[0].replace("train", "rest")]))
    with pytest.raises(ArgumentError, match=r"split must be .*got 'rest'"):
        find_pairs(index)
    index.write_text("\n".join(["image,label,split", rows[0].replace("0.png", "99.png")]))
    with pytest.raises(FileError, match=r"99\.png, which does not exist"):
        find_pairs(index)
    index.write_text("picture,label\n")
    with pytest.raises(ArgumentError, match="columns image, label"):
        find_pairs(index)


def test_sets_that_cannot_serve(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file or folder"):
        find_pairs(tmp_path / "none")
    with pytest.raises(FileError, match="cannot find images and label maps"):
        find_pairs(tmp_path)
    write(tmp_path / "few" / "images", 2)
    write(tmp_path / "few" / "labels", 2)
    with pytest.raises(ArgumentError, match=r"split 'selection' of .* is empty \(train 2, selection 0, test 0\)"):
        find_pairs(tmp_path / "few")
    shutil.copytree(shapes, tmp_path / "set")
    (tmp_path / "set" / "labels" / "3.png").unlink()
    with pytest.raises(FileError, match=r"3\.png has no label map"):
        find_pairs(tmp_path / "set")


def test_values_become_classes(tmp_path: Path) -> None:
    path = tmp_path / "cells.png"
    Image.fromarray(np.array([[0, 255, 100]], dtype=np.uint8)).save(path)
    table = ClassTable(("wall", "cell"), values=(255, 0), ignore=100)
    assert read_labels(path, table).tolist() == [[1, 0, IGNORE]]
    with pytest.raises(ArgumentError, match=r"values 255; accepted are \[0, 1\] for the 2 classes and 100"):
        read_labels(path, ClassTable(("a", "b"), ignore=100))
    palette = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 0, 200])
    palette.save(path)
    assert read_labels(path, CLASSES).tolist() == [[0, 1, 2]]
    Image.new("RGB", (3, 1)).save(path)
    with pytest.raises(FileError, match="mode RGB; a label map has one value"):
        read_labels(path, CLASSES)
    path.write_bytes(b"nothing")
    with pytest.raises(FileError, match="it is no image"):
        read_labels(path, CLASSES)


def test_an_image_and_its_labels_are_of_one_size(shapes: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes, tmp_path / "set")
    Image.fromarray(np.zeros((30, 32), dtype=np.uint8)).save(tmp_path / "set" / "labels" / "7.png")
    with pytest.raises(ShapeError, match=r"7\.png is 32x32 and its label map .* is 32x30"):
        load_dataset(tmp_path / "set", CLASSES)


def test_a_packed_set_is_the_same_set(shapes: Path, tmp_path: Path) -> None:
    dataset = load_dataset(shapes, CLASSES, (16, 24))
    assert dataset["train"][0].image.shape == (16, 24, 3)
    pack(dataset, tmp_path / "set.zip")
    again = load_dataset(tmp_path / "set.zip", CLASSES)
    assert all(fingerprint(dataset[split]) == fingerprint(again[split]) for split in dataset)
    with pytest.raises(ArgumentError, match=r"values 2; accepted are \[0, 1\]"):
        load_dataset(tmp_path / "set.zip", ClassTable(("a", "b")))
    (tmp_path / "set.zip").write_bytes((tmp_path / "set.zip").read_bytes()[:500])
    with pytest.raises(FileError, match="not a packed data set"):
        load_dataset(tmp_path / "set.zip", CLASSES)


def test_reduction_keeps_the_mean_and_the_nearest_label() -> None:
    from karaffe.training.segmentation.dataset import resized

    generator = np.random.default_rng(0)
    item = Labelled("x", generator.integers(0, 256, (8, 12, 3), dtype=np.uint8), np.zeros((8, 12), dtype=np.uint8))
    item.labels[:, 6:] = IGNORE
    small = resized(item, (4, 6))
    blocks = item.image.reshape(4, 2, 6, 2, 3).mean((1, 3))
    assert np.abs(small.image - blocks).max() <= 0.5
    assert (small.labels == np.repeat([[0] * 3 + [IGNORE] * 3], 4, 0)).all()


def sampler(count: int = 5, **options) -> CropSampler:
    generator = np.random.default_rng(0)
    items = []
    for number in range(count):
        labels = generator.integers(0, 200, (20 + number, 24), dtype=np.uint8)
        items.append(Labelled(str(number), np.repeat(labels[..., None], 3, 2), labels))
    return CropSampler(items, **({"crop": (12, 16), "batch": 4, "seed": 5} | options))


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    options = {"scales": (0.9, 1.4), "jitter": 0.3}
    first, again = sampler(**options), sampler(**options)
    first(7)
    for a, b in zip(first(4), again(4), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first(4)[0], first(5)[0])
    assert not torch.equal(first(4)[0], sampler(**options, seed=6)(4)[0])


def test_the_draws_are_fixed_for_good() -> None:
    assert [sampler().chosen(step) for step in (0, 1)] == [[1, 4, 0, 3], [2, 3, 1, 4]]


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 50))
def test_every_picture_comes_once_before_any_comes_again(count: int, batch: int, epoch: int) -> None:
    batches = sampler(count, batch=batch)
    places = range(epoch * count, (epoch + 1) * count)
    drawn = [batches.chosen(place // batch)[place % batch] for place in places]
    assert sorted(drawn) == list(range(count))


@given(st.integers(0, 30))
def test_an_image_and_its_labels_are_cut_alike(step: int) -> None:
    images, labels = sampler()(step)
    assert images.shape == (4, 3, 12, 16)
    assert labels.dtype == torch.int64
    torch.testing.assert_close(images[:, 0] * 255, labels.float())


def test_an_image_smaller_than_the_crop_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"image 0 is 24x20, smaller than a crop of 16x21"):
        sampler(crop=(21, 16))
    with pytest.raises(ArgumentError, match=r"smaller than a crop of 32x20"):
        sampler(crop=(10, 16), scales=(0.5, 1.0))


def test_class_weights_are_the_papers() -> None:
    shares = np.array([0.5, 0.3, 0.2, 0.0])
    assert class_weights("none", shares) is None
    median = class_weights("median", shares)
    assert median is not None
    torch.testing.assert_close(median, torch.tensor([0.3 / 0.5, 1.0, 0.3 / 0.2, 0.0]))
    log = class_weights("log", shares)
    assert log is not None
    assert log[0] / log[2] == pytest.approx(np.log(1.22) / np.log(1.52))
    assert log[:3].mean() == pytest.approx(1)
    assert log[3] == 0
    items = [Labelled("x", np.zeros((1, 4, 3), dtype=np.uint8), np.array([[0, 0, 1, IGNORE]], dtype=np.uint8))]
    np.testing.assert_allclose(class_shares(items, 3), [2 / 3, 1 / 3, 0])


def test_an_albumentations_pipeline_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "augment.json"
    albumentations.save(
        albumentations.Compose([albumentations.Affine(translate_px={"x": 5, "y": 0}, p=1.0)]), str(path)
    )
    labels = np.full((12, 16), 3, dtype=np.uint8)
    item = Labelled("x", np.full((12, 16, 3), 90, dtype=np.uint8), labels)
    moved = Pipeline(path)(item, 0)
    assert (moved.labels[:, :5] == IGNORE).all()
    assert (moved.labels[:, 5:] == 3).all()
    flips = tmp_path / "flips.json"
    albumentations.save(albumentations.Compose([albumentations.HorizontalFlip(p=0.5)]), str(flips))
    once, again = sampler(augment=Pipeline(flips)), sampler(augment=Pipeline(flips))
    assert torch.equal(once(3)[1], again(3)[1])
    path.write_text("{}")
    with pytest.raises(ArgumentError, match="not an albumentations pipeline"):
        Pipeline(path)
    with pytest.raises(FileError, match="cannot read augmentation"):
        Pipeline(tmp_path / "none.json")
