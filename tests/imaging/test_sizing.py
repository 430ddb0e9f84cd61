"""Factor, pixels, lengths: the size that results, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karaffe.errors import ArgumentError
from karaffe.imaging import ImageInfo, Settings
from karaffe.imaging.sizing import parse_length, parse_size, wanted_grid
from karaffe.imaging.values import parse_range


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"scale": 2.5}, (93, 73, 1)),
        ({"scale": 0.001}, (1, 1, 1)),
        ({"size": (10, 20)}, (10, 20, 1)),
        ({"size": (74, None)}, (74, 58, 1)),
        ({"size": (None, 58)}, (74, 58, 1)),
        ({"spacing": 0.5}, (56, 44, 1)),
        ({"spacing": (0.25, 0.75)}, (111, 29, 1)),
    ],
)
def test_grids(make, options, expected):
    info = dataclasses.replace(make("grey", False, "uint8")[0], spacing=(0.75, 0.75))
    assert wanted_grid(info, **options) == expected


@given(n=st.integers(1, 10_000), factor=st.integers(1, 16), step=st.floats(0.01, 100))
def test_a_spacing_that_divides_gives_the_integer_factor(n, factor, step):
    info = ImageInfo(n, n, 1, np.dtype(np.uint8), 8, "grey", spacing=(step, step))
    grid = wanted_grid(info, spacing=step / factor)
    assert grid == (n * factor, n * factor, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1920x1080", (1080, 1920)), ("1920x", (None, 1920)), (" X1080", (1080, None)), ("5 × 6", (6, 5))],
)
def test_parse_size(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.5mm", 0.5), ("10 m", 10_000.0), ("250um", 0.25), ("0.5x0.4x1mm", (0.5, 0.4, 1.0)), ("1x2cm", (10.0, 20.0))],
)
def test_parse_length(text, expected):
    assert parse_length(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "x", "12", "axb", "1920*1080"])
def test_parse_size_refuses(text):
    with pytest.raises(ArgumentError, match="size must be COLUMNSxROWS"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "5", "mm", "5 parsec", "1x2x3x4mm", "1..2mm"])
def test_parse_length_refuses(text):
    with pytest.raises(ArgumentError, match="a length must have a unit"):
        parse_length(text)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "one of scale, size and spacing"),
        ({"size": (1, 1), "spacing": 1.0}, "give size or spacing, not both"),
        ({"size": (None, None)}, "two positive integers"),
        ({"spacing": 0.0}, "positive lengths in millimetres, got 0.0"),
        ({"spacing": 1.0}, "does not say how large its pixels are"),
    ],
)
def test_bad_grids(make, options, match):
    with pytest.raises(ArgumentError, match=match):
        wanted_grid(make("grey", False, "uint8")[0], **options)


def test_settings_refuse_size_and_spacing_together():
    with pytest.raises(ArgumentError, match="give size or spacing, not both"):
        Settings(size=(5, 5), spacing=1.0)


def test_parse_range():
    assert parse_range("-1024,3071") == (-1024, 3071)
    for text in ("5", "a,b", "1,2,3", ""):
        with pytest.raises(ArgumentError, match="a range must be LO,HI"):
            parse_range(text)
    with pytest.raises(ArgumentError, match="two different finite numbers"):
        parse_range("3,3")
