"""How large the result is: by a factor, in pixels, or by the size of a pixel.

Every size is rounded half up and is at least 1. What is asked in lengths is rounded to whole pixels, and the spacing
that is recorded is the one that results, so that the extent of the image never changes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from karaffe.errors import ArgumentError
from karaffe.imaging.info import ImageInfo

Size = tuple[int | None, int | None]
Spacing = float | tuple[float, ...]
_UNITS = {"um": 0.001, "µm": 0.001, "mm": 1.0, "cm": 10.0, "m": 1000.0, "km": 1e6}


def wanted_grid(
    info: ImageInfo, scale: float | None = None, size: Size | None = None, spacing: Spacing | None = None
) -> tuple[int, int, int]:
    """Return rows, columns and slices of the result.

    Args:
        scale: Factor of every axis, also through the plane of a volume.
        size: Rows and columns; one of them may be None and follows from the other. Slices stay.
        spacing: Millimetres a pixel of the result: one number for every axis, (vertical, horizontal), or (vertical,
            horizontal, slice). It goes before ``scale``.

    Raises:
        ArgumentError: None of the three, size and spacing together, a value that is not positive, or an image that
            does not say how large its pixels are.
    """
    if size is not None and spacing is not None:
        raise ArgumentError("give size or spacing, not both")
    if size is not None:
        return (*_fitted(info, size), info.slices)
    if spacing is not None:
        return _by_spacing(info, spacing)
    if scale is None:
        raise ArgumentError("one of scale, size and spacing must be given")
    check_scale(scale)
    slices = _rounded(info.slices * scale) if info.slices > 1 else 1
    return _rounded(info.height * scale), _rounded(info.width * scale), slices


def check_scale(scale: float) -> None:
    """Raise unless ``scale`` is a positive finite number."""
    if isinstance(scale, bool) or not (math.isfinite(scale) and scale > 0):
        raise ArgumentError(f"scale must be a positive number, got {scale!r}")


def parse_size(text: str) -> Size:
    """Read ``"1920x1080"`` (columns x rows), ``"1920x"`` or ``"x1080"`` as (rows, columns).

    Raises:
        ArgumentError: Another text.
    """
    match = re.fullmatch(r"(\d*)\s*[x×]\s*(\d*)", text.strip().lower())
    if not match or not (match[1] or match[2]):
        raise ArgumentError(f"size must be COLUMNSxROWS, for example 1920x1080, 1920x or x1080; got {text!r}")
    return (int(match[2]) if match[2] else None, int(match[1]) if match[1] else None)


def parse_length(text: str) -> Spacing:
    """Read ``"0.5mm"``, ``"10m"`` or ``"0.5x0.5x1mm"`` (vertical x horizontal x slice) as millimetres.

    Raises:
        ArgumentError: Another text, or no unit.
    """
    match = re.fullmatch(r"([\d.x×]+)\s*([a-zµ]+)", text.strip().lower())
    if match and match[2] in _UNITS:
        try:
            lengths = tuple(float(v) * _UNITS[match[2]] for v in re.split("[x×]", match[1]))
        except ValueError:
            lengths = ()
        if 1 <= len(lengths) <= 3:
            return lengths[0] if len(lengths) == 1 else lengths
    raise ArgumentError(f"a length must have a unit ({', '.join(_UNITS)}), for example 0.5mm or 10m; got {text!r}")


def _fitted(info: ImageInfo, size: Size) -> tuple[int, int]:
    bad = len(size) != 2 or size == (None, None)
    if bad or any(n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1) for n in size):
        raise ArgumentError(f"size must be (rows, columns), two positive integers (one may be None), got {size!r}")
    rows, columns = size
    if rows is None and columns is not None:
        rows = _rounded(info.height * columns / info.width)
    if columns is None and rows is not None:
        columns = _rounded(info.width * rows / info.height)
    return int(rows or 1), int(columns or 1)


def _by_spacing(info: ImageInfo, spacing: Spacing) -> tuple[int, int, int]:
    wanted = [float(v) for v in spacing] if isinstance(spacing, Sequence) else [float(spacing)]
    if len(wanted) not in (1, 2, 3) or any(not (math.isfinite(v) and v > 0) for v in wanted):
        raise ArgumentError(f"spacing must be one to three positive lengths in millimetres, got {spacing!r}")
    if info.spacing is None:
        raise ArgumentError(
            f"spacing {spacing!r}: the image ({info.format or 'an array'}) does not say how large its pixels are"
        )
    vertical, horizontal = wanted[0], wanted[min(1, len(wanted) - 1)]
    slices = info.slices
    if slices > 1 and info.slice_spacing and len(wanted) != 2:
        slices = _rounded(slices * info.slice_spacing / wanted[-1])
    return (
        _rounded(info.height * info.spacing[0] / vertical),
        _rounded(info.width * info.spacing[1] / horizontal),
        slices,
    )


def _rounded(value: float) -> int:
    # A product such as 90 * 10 / 2.5 must not round down for a last bit.
    return max(1, math.floor(value + 0.5 + 1e-9))
