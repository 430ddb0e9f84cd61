"""Segmentation figures against torchmetrics, and against slow versions written from the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from karaffe.errors import ArgumentError, DtypeError, ShapeError
from karaffe.evaluation.segmentation import IGNORE, SegmentationMeter, boundary_f, boundary_overlaps


def maps(seed: int, classes: int = 4, size: tuple[int, int] = (24, 31), ignored: float = 0.1) -> tuple:
    """Blobs, a prediction that differs from them here and there, and pixels without a label."""
    generator = np.random.default_rng(seed)
    truth = ndimage.zoom(generator.integers(0, classes, (4, 5)), (size[0] / 4, size[1] / 5), order=0).astype(np.uint8)
    predicted = np.roll(truth, generator.integers(-2, 3, 2), (0, 1)).copy()
    noise = generator.random(size) < 0.03
    predicted[noise] = generator.integers(0, classes, noise.sum())
    truth[ndimage.zoom(generator.random((4, 5)), (size[0] / 4, size[1] / 5), order=0) < ignored] = IGNORE
    return predicted, truth


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_iou_and_accuracy_are_torchmetrics(seed: int, classes: int) -> None:
    meter, predictions, truths = SegmentationMeter(classes, boundaries=False), [], []
    for image in range(2):
        predicted, truth = maps(seed + image, classes)
        meter.update(predicted, truth)
        predictions.append(torch.from_numpy(predicted).long())
        truths.append(torch.from_numpy(truth).long())
    scores = meter.compute()
    p, t = torch.stack(predictions), torch.stack(truths)
    options = {"num_classes": classes, "ignore_index": IGNORE, "average": None}
    seen = torch.bincount(torch.cat([p[t != IGNORE], t[t != IGNORE]]), minlength=classes) > 0
    iou = multiclass_jaccard_index(p, t, **options)
    np.testing.assert_allclose(np.array(scores.iou)[seen], iou[seen], atol=1e-6)
    assert np.isnan(np.array(scores.iou)[~seen]).all()
    assert scores.miou == pytest.approx(float(iou[seen].mean()), abs=1e-6)
    assert scores.accuracy == pytest.approx(float((p == t)[t != IGNORE].double().mean()))
    held = torch.bincount(t[t != IGNORE], minlength=classes) > 0
    assert scores.mean_accuracy == pytest.approx(float(multiclass_accuracy(p, t, **options)[held].mean()), abs=1e-6)


def slow_region(mask: np.ndarray, distance: int) -> np.ndarray:
    """What as many erosions by 3x3 take from a mask inside a border of background."""
    padded = np.pad(mask, 1)
    eroded = ndimage.binary_erosion(padded, np.ones((3, 3)), iterations=distance)[1:-1, 1:-1]
    return mask & ~eroded


@given(st.integers(0, 10_000))
def test_boundary_iou_is_the_definition(seed: int) -> None:
    predicted, truth = maps(seed, size=(36, 45))
    valid = truth != IGNORE
    distance = max(1, round(0.02 * math.hypot(36, 45)))
    found = boundary_overlaps(predicted, truth, 4)
    for label in range(4):
        a = slow_region((predicted == label) & valid, distance)
        b = slow_region(truth == label, distance)
        assert found[:, label].tolist() == [(a & b).sum(), (a | b).sum()]


def slow_f(predicted: np.ndarray, truth: np.ndarray, classes: int, tolerance: float) -> float:
    """Loops over all pairs of boundary pixels."""
    height, width = truth.shape

    def edge(labels: np.ndarray, label: int) -> list[tuple[int, int]]:
        found = []
        for y in range(height):
            for x in range(width):
                if labels[y, x] != label or truth[y, x] == IGNORE:
                    continue
                near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                inside = [(v, u) for v, u in near if 0 <= v < height and 0 <= u < width and truth[v, u] != IGNORE]
                if any(labels[v, u] != label for v, u in inside):
                    found.append((y, x))
        return found

    def share(of: list, near: list) -> float:
        hits = [any(math.dist(p, q) <= tolerance for q in near) for p in of]
        return sum(hits) / len(hits)

    scores = []
    for label in range(classes):
        a, b = edge(predicted, label), edge(truth, label)
        if not a and not b:
            continue
        if not a or not b:
            scores.append(0.0)
            continue
        precision, recall = share(a, b), share(b, a)
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return float(np.mean(scores)) if scores else math.nan


@pytest.mark.parametrize("seed", range(6))
def test_boundary_f_is_the_definition(seed: int) -> None:
    predicted, truth = maps(seed, size=(12, 15), ignored=0.2)
    found = boundary_f(predicted, truth, 4)
    expected = [slow_f(predicted, truth, 4, tolerance) for tolerance in (1, 3)]
    np.testing.assert_allclose(found, expected, equal_nan=True)


def test_a_perfect_prediction() -> None:
    _, truth = maps(3, ignored=0.0)
    scores = SegmentationMeter(4).update(truth, truth)
    assert (scores.miou, scores.accuracy, scores.mean_accuracy, scores.boundary_iou) == (1, 1, 1, 1)
    assert scores.boundary_f == (1, 1)


def test_what_has_no_label_takes_no_part() -> None:
    predicted, truth = maps(5)
    assert (truth == IGNORE).any()
    other = np.where(truth == IGNORE, (predicted + 1) % 4, predicted).astype(np.uint8)
    assert SegmentationMeter(4).update(predicted, truth) == SegmentationMeter(4).update(other, truth)
    nothing = SegmentationMeter(4).update(predicted, np.full_like(truth, IGNORE))
    assert math.isnan(nothing.miou)
    assert math.isnan(nothing.boundary_iou)


def test_a_class_that_is_nowhere_is_not_in_the_mean() -> None:
    truth = np.zeros((8, 8), dtype=np.uint8)
    truth[:4] = 1
    scores = SegmentationMeter(5).update(truth, truth)
    assert scores.miou == 1
    assert [math.isnan(v) for v in scores.iou] == [False, False, True, True, True]


def test_a_shifted_edge_is_met_within_its_shift() -> None:
    truth = np.zeros((40, 40), dtype=np.uint8)
    truth[:, 20:] = 1
    shifted = np.roll(truth, 2, 1)
    shifted[:, :2] = 0
    assert boundary_f(shifted, truth, 2).tolist() == [pytest.approx(0.0), 1.0]


def test_what_is_not_accepted() -> None:
    meter, labels = SegmentationMeter(3), np.zeros((4, 4), dtype=np.uint8)
    with pytest.raises(ShapeError, match=r"\(4, 4\) and \(4, 5\)"):
        meter.update(labels, np.zeros((4, 5), dtype=np.uint8))
    with pytest.raises(DtypeError, match="float64"):
        meter.update(labels.astype(float), labels)
    with pytest.raises(ArgumentError, match=r"0 to 2.*got \[3\]"):
        meter.update(labels, labels + 3)
    with pytest.raises(ArgumentError, match=r"got \[255\]"):
        meter.update(labels + 255, labels)
    with pytest.raises(ArgumentError, match="classes"):
        SegmentationMeter(1)
