import numpy as np
import pytest

from karaffe.visualize import Panel, Scene


def draw(height=90, width=120, seed=0, channels=3):
    rng = np.random.default_rng(seed)
    shape = (height, width, channels) if channels else (height, width)
    return rng.integers(0, 256, shape).astype(np.uint8)


@pytest.fixture
def picture():
    """Make noise of ``(height, width, channels)``."""
    return draw


@pytest.fixture
def scene():
    """Two methods equal to the reference, but for one square each, at known places."""
    reference = draw()
    first, second = reference.copy(), reference.copy()
    first[10:30, 20:40] ^= 0x80
    second[60:70, 80:100] ^= 0x40
    panels = (Panel("first", first, 21.5, 0.81, 0.5), Panel("second", second, 30.25, 0.93, 1.25))
    return Scene("a picture.png", reference, panels, 4)
