"""Measure label maps: intersection over union, accuracy, and how well boundaries are met.

Figures are sums that images are added to, and a ratio at the end. Pixels that the truth does not label (``IGNORE``)
take no part in anything; a class that neither the truth nor the prediction ever holds takes no part in a mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from karaffe.errors import ArgumentError, DtypeError, ShapeError

IGNORE = 255
BOUNDARY_SHARE = 0.02
TOLERANCES = (1, 3)

Labels = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SegmentationScores:
    """Figures of one set of images, each between 0 and 1; NaN where nothing could be measured.

    Attributes:
        miou: Mean of ``iou``.
        iou: Intersection over union of every class, over all pixels of the set.
        accuracy: Share of the labelled pixels that are right. mean_accuracy: Mean over the classes of theirs.
        boundary_iou: Mean over the classes of IoU within 2 % of the diagonal of a mask's boundary (Cheng et al., CVPR
            2021, section 4).
        boundary_f: F measure of boundaries at each tolerance of 1 and 3 pixels, the mean over classes and images
            (Csurka et al., BMVC 2013, section 3).
    """

    miou: float
    iou: tuple[float, ...]
    accuracy: float
    mean_accuracy: float
    boundary_iou: float
    boundary_f: tuple[float, ...]


class SegmentationMeter:
    """Sums over images, and the figures they come to.

    Args:
        classes: How many; labels are 0 to ``classes - 1`` and ``IGNORE``.
        boundaries: Also measure boundaries, which takes some milliseconds a class and image.

    Raises:
        ArgumentError: Fewer than two classes, or more than 255.
    """

    def __init__(self, classes: int, *, boundaries: bool = True) -> None:
        if not 2 <= classes <= IGNORE:
            raise ArgumentError(f"classes must be between 2 and {IGNORE}, got {classes}")
        self.classes, self.boundaries = classes, boundaries
        self.confusion = np.zeros((classes, classes), dtype=np.int64)
        self.boundary = np.zeros((2, classes), dtype=np.int64)
        self.f_scores: list[Floats] = []

    def update(self, predicted: Labels, truth: Labels) -> SegmentationScores:
        """Add one image, and return its own figures.

        Args:
            predicted: ``(H, W)``, classes. truth: ``(H, W)``, classes and ``IGNORE``.

        Raises:
            ShapeError: Shapes that differ or are not two-dimensional.
            DtypeError: Labels that are no integers.
            ArgumentError: A value that is no class.
        """
        self._check(predicted, truth)
        valid = truth != IGNORE
        # int64, since 8-bit products would wrap.
        pairs = truth[valid].astype(np.int64) * self.classes + predicted[valid]
        confusion = np.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes)
        self.confusion += confusion
        boundary: Labels = np.zeros_like(self.boundary)
        f_scores = np.full(len(TOLERANCES), np.nan)
        if self.boundaries:
            boundary = boundary_overlaps(predicted, truth, self.classes)
            f_scores = boundary_f(predicted, truth, self.classes)
            self.boundary += boundary
            self.f_scores.append(f_scores)
        return _scores(confusion, boundary, f_scores)

    def compute(self) -> SegmentationScores:
        """Return the figures of all images so far."""
        f_scores = np.array(self.f_scores).reshape(-1, len(TOLERANCES))
        return _scores(self.confusion, self.boundary, np.array([mean(column) for column in f_scores.T]))

    def _check(self, predicted: Labels, truth: Labels) -> None:
        if predicted.ndim != 2 or predicted.shape != truth.shape:
            raise ShapeError(f"predicted and truth must both be (H, W); got {predicted.shape} and {truth.shape}")
        for name, labels in (("predicted", predicted), ("truth", truth)):
            if labels.dtype.kind not in "iu":
                raise DtypeError(f"{name} must hold integers; got {labels.dtype}")
        wrong = set(np.unique(predicted).tolist()) - set(range(self.classes))
        wrong |= set(np.unique(truth).tolist()) - {*range(self.classes), IGNORE}
        if wrong:
            raise ArgumentError(
                f"labels must be 0 to {self.classes - 1}, or {IGNORE} in the truth; got {sorted(wrong)}"
            )


def mean(values: npt.ArrayLike) -> float:
    """Return the mean of what is not NaN; NaN where nothing is."""
    array = np.asarray(values, dtype=np.float64)
    known = array[~np.isnan(array)]
    return float(known.mean()) if known.size else math.nan


def boundary_overlaps(predicted: Labels, truth: Labels, classes: int, share: float = BOUNDARY_SHARE) -> Labels:
    """Return intersection and union of the boundary regions, ``(2, classes)`` pixel counts.

    A boundary region is what ``d`` erosions by 3x3 take from a mask, beyond the image's edge being background, with
    ``d`` the share of the image's diagonal, rounded, at least 1.
    """
    valid = truth != IGNORE
    distance = max(1, round(share * math.hypot(*truth.shape)))
    found = np.zeros((2, classes), dtype=np.int64)
    for label in range(classes):
        masks = (predicted == label) & valid, truth == label
        if not (masks[0].any() or masks[1].any()):
            continue
        a, b = (_region(mask, distance) & valid for mask in masks)
        found[:, label] = (a & b).sum(), (a | b).sum()
    return found


def _region(mask: Mask, distance: int) -> Mask:
    if not mask.any():
        return mask
    # Erosion by a square is a minimum along rows, then along columns.
    eroded = ndimage.minimum_filter(mask.view(np.uint8), size=2 * distance + 1, mode="constant", cval=0)
    return mask & (eroded == 0)


def boundary_f(predicted: Labels, truth: Labels, classes: int, tolerances: tuple[int, ...] = TOLERANCES) -> Floats:
    """Return the F measure of boundaries at each tolerance in pixels, the mean over the classes of one image.

    Precision: share of the predicted boundary within the tolerance (Euclidean) of the true one; recall: the reverse.
    A pixel is on the boundary of its class where one of its four neighbours is labelled otherwise. Classes that
    neither map holds a boundary of take no part.
    """
    valid = truth != IGNORE
    found = []
    for label in range(classes):
        a, b = (_edge(labels == label, valid) for labels in (predicted, truth))
        if not a.any() and not b.any():
            continue
        if not a.any() or not b.any():
            found.append([0.0] * len(tolerances))
            continue
        to_a, to_b = (ndimage.distance_transform_edt(~edge) for edge in (a, b))
        row = []
        for tolerance in tolerances:
            precision, recall = (to_b[a] <= tolerance).mean(), (to_a[b] <= tolerance).mean()
            row.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
        found.append(row)
    return np.array(found).mean(0) if found else np.full(len(tolerances), np.nan)


def _edge(mask: Mask, valid: Mask) -> Mask:
    """Pixels of the mask beside a labelled pixel that is not of it."""
    other = np.pad(~mask & valid, 1)
    beside = other[:-2, 1:-1] | other[2:, 1:-1] | other[1:-1, :-2] | other[1:-1, 2:]
    return mask & valid & beside


def _scores(confusion: Labels, boundary: Labels, f_scores: Floats) -> SegmentationScores:
    right = np.diag(confusion).astype(np.float64)
    truth, predicted = confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = right / (truth + predicted - right)
        recall = right / truth
        boundary_iou = boundary[0] / boundary[1]
        accuracy = right.sum() / confusion.sum()
    return SegmentationScores(
        mean(iou), tuple(iou.tolist()), float(accuracy), mean(recall), mean(boundary_iou), tuple(f_scores.tolist())
    )
