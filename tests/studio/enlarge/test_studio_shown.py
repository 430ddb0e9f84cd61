"""Any image as browsers can show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from karaffe.imaging.arrays import array_info
from karaffe.studio.enlarge.shown import is_deep, shown_pixels


def info_of(pixels: np.ndarray, **changes):
    return replace(array_info(pixels[None], alpha=changes.get("has_alpha", False)), **changes)


@pytest.mark.parametrize(("bands", "kept"), [(1, 1), (2, 1), (3, 3), (5, 3)])
def test_eight_bit_is_shown_as_it_is(bands: int, kept: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, bands)).astype(np.uint8)
    np.testing.assert_array_equal(shown_pixels(pixels, info_of(pixels)), pixels[..., :kept])


def test_black_and_white_are_those_of_the_declared_range() -> None:
    stored = np.array([[[-1024], [1024], [3072], [-3000]]], np.int16)
    shown = shown_pixels(stored, info_of(stored, value_range=(-1024.0, 3072.0)))
    assert shown.dtype == np.uint16
    assert shown.ravel().tolist() == [0, 32768, 65535, 0]


def test_floats_that_are_none_are_black() -> None:
    pixels = np.array([[[np.nan], [np.inf], [-np.inf], [0.5]]], np.float32)
    assert shown_pixels(pixels, info_of(pixels)).ravel().tolist() == [0, 65535, 0, 32768]


def test_what_is_transparent_does_not_show() -> None:
    pixels = np.zeros((1, 2, 4), np.uint8)
    pixels[0, :, 0], pixels[0, 1, 3] = 255, 255
    assert shown_pixels(pixels, info_of(pixels, has_alpha=True)).tolist() == [[[128, 128, 128], [255, 0, 0]]]


def test_inks_become_light() -> None:
    pixels = np.array([[[0, 255, 255, 0], [0, 0, 0, 255], [0, 0, 0, 0]]], np.uint8)
    shown = shown_pixels(pixels, info_of(pixels, colour="cmyk"))
    assert shown.tolist() == [[[255, 0, 0], [0, 0, 0], [255, 255, 255]]]


def test_masks_are_black_and_white_and_ten_bit_is_deep() -> None:
    mask = np.array([[[0], [1]]], np.uint8)
    assert shown_pixels(mask, info_of(mask, bits=1, value_range=(0.0, 1.0))).ravel().tolist() == [0, 255]
    ten = np.array([[[0], [1023]]], np.uint16)
    info = info_of(ten, bits=10, value_range=(0.0, 1023.0))
    assert is_deep(info)
    assert shown_pixels(ten, info).ravel().tolist() == [0, 65535]
