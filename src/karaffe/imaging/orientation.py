"""The eight EXIF orientations as array operations, and as a change of window.

Orientation 1 is upright; 5 to 8 swap rows and columns. The table is that of JEITA CP-3451, section 4.6.4.
"""

from __future__ import annotations

from karaffe.imaging.info import Array, Window

# Upright from stored: transpose first, then flip rows, then flip columns.
_STEPS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def swaps(orientation: int) -> bool:
    """Return whether rows and columns change places."""
    return _STEPS[orientation][0]


def upright(array: Array, orientation: int) -> Array:
    """Return the view of a stored ``array (h, w, ...)`` as it is to be seen."""
    transpose, rows, columns = _STEPS[orientation]
    if transpose:
        array = array.swapaxes(0, 1)
    return array[:: -1 if rows else 1, :: -1 if columns else 1]


def stored_window(window: Window, orientation: int, height: int, width: int) -> Window:
    """Return where a window of the upright image (``height`` x ``width``) lies in the stored one."""
    transpose, rows, columns = _STEPS[orientation]
    top = height - window.bottom if rows else window.top
    left = width - window.right if columns else window.left
    if transpose:
        return Window(left, top, window.width, window.height)
    return Window(top, left, window.height, window.width)
