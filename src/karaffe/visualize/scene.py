"""What a comparison shows: one reference picture and what each method made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from karaffe.errors import ArgumentError, ShapeError
from karaffe.evaluation.images import Image, check_image, luma, peak, quantize, to_uint8

REFERENCE = "reference"


@dataclass(frozen=True)
class Panel:
    """One method's picture, ``(H, W)`` or ``(H, W, 3)``, with its scores where they are known.

    ``psnr`` in dB, ``ssim`` in [-1, 1], ``seconds`` of wall clock. ``importance``, ``(h, w, 2)`` in [0, 1] at the
    size of what was enlarged: entropy and off-centre mass of the kernels that a network predicted there
    (:func:`karaffe.visualize.importance_map`).
    """

    label: str
    pixels: Image
    psnr: float | None = None
    ssim: float | None = None
    seconds: float | None = None
    importance: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Scene:
    """One picture of a comparison: its name, the reference, at least one panel of the same size, and the scale.

    Where there is no original, one method's picture stands in the reference's place under its own name,
    ``reference_label``; there are no scores then, and "errors" are differences from that picture.

    Raises:
        ArgumentError: No panel, or two of one label.
        ShapeError: A panel whose height and width are not the reference's.
    """

    name: str
    reference: Image
    panels: tuple[Panel, ...]
    scale: int
    reference_label: str = REFERENCE
    _errors: dict[str, npt.NDArray[np.int16]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_image(self.reference, "reference")
        labels = [panel.label for panel in self.panels]
        if not labels or len(set(labels)) != len(labels) or self.reference_label in labels:
            raise ArgumentError(f"a scene needs panels with different labels, got {labels}")
        for panel in self.panels:
            check_image(panel.pixels, f"the picture of {panel.label!r}")
            if panel.pixels.shape[:2] != self.reference.shape[:2]:
                raise ShapeError(
                    f"{self.name}: every picture must have the reference's size; {panel.label!r} has "
                    f"{panel.pixels.shape}, {self.reference_label!r} {self.reference.shape}"
                )

    def error(self, panel: Panel) -> npt.NDArray[np.int16]:
        """Return the signed error ``(H, W)`` in counts of 8-bit luma: positive where the panel is too bright."""
        if panel.label not in self._errors:
            self._errors[panel.label] = _luma(panel.pixels) - _luma(self.reference)
        return self._errors[panel.label]

    @property
    def measured(self) -> bool:
        """Whether there is an original to measure against."""
        return self.reference_label == REFERENCE

    @property
    def deep(self) -> bool:
        """Whether any picture has more than 8 bit."""
        return any(image.dtype != np.uint8 for image in (self.reference, *(panel.pixels for panel in self.panels)))


def rgb(image: Image) -> npt.NDArray[np.uint8]:
    """Return ``image`` on 8 bit with three channels."""
    return _three(to_uint8(image))


def rgb16(image: Image) -> npt.NDArray[np.uint16]:
    """Return ``image`` on 16 bit with three channels."""
    values = image.astype(np.float64) * (65535 / peak(image))
    return _three(quantize(values, np.uint16))


def _three(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]


def _luma(image: Image) -> npt.NDArray[np.int16]:
    return luma(rgb(image), range="full").astype(np.int16)
