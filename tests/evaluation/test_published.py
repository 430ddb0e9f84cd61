"""Bicubic on the copies of Set5, Set14 and BSD100 gives the published figures, where the data is at hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from karaffe.evaluation import PAPERS, imresize, to_uint8
from karaffe.evaluation.published import BICUBIC

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the research images in ../shared/data")


def pairs(name, scale):
    for path in sorted((DATA / name / f"x{scale}" / "HR").glob("*.png")):
        low = path.parents[1] / "LR" / path.name
        yield np.asarray(Image.open(path)), np.asarray(Image.open(low))


@pytest.mark.parametrize(("name", "scale"), BICUBIC)
def test_bicubic_reproduces_the_published_figures(name, scale):
    scores = [PAPERS.measure(to_uint8(imresize(low / 255.0, scale)), high, scale) for high, low in pairs(name, scale)]
    psnr, ssim = np.mean(scores, axis=0)
    assert psnr == pytest.approx(BICUBIC[name, scale].psnr, abs=0.02)
    assert ssim == pytest.approx(BICUBIC[name, scale].ssim, abs=0.002)


@pytest.mark.parametrize(("name", "scale"), [case for case in BICUBIC if case[0] != "BSD100"])
def test_the_recorded_reductions_are_reproduced(name, scale):
    """To the bit with the border of the release that made them, within the border's reach with today's."""
    for high, low in pairs(name, scale):
        np.testing.assert_array_equal(imresize(high, 1 / scale, border="replicate"), low)
        inner = np.s_[2:-2, 2:-2]
        np.testing.assert_array_equal(imresize(high, 1 / scale)[inner], low[inner])
