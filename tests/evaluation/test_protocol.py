import numpy as np
import pytest
from skimage.color import rgb2ycbcr

from karaffe.errors import ArgumentError, DtypeError, ShapeError, UnknownNameError
from karaffe.evaluation import PAPERS, PROTOCOLS, Protocol, get_protocol, luma, psnr, ssim
from karaffe.evaluation.protocol import FULL_RANGE_LUMA_GAP


def noise(*shape, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def test_luma_of_known_colours():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_array_equal(luma(colours), [[16, 235, 81, 145, 41]])
    np.testing.assert_array_equal(luma(colours, range="full"), [[0, 255, 76, 150, 29]])


def test_luma_is_that_of_ycbcr():
    rgb = noise(40, 50, 3)
    expected = np.floor(rgb2ycbcr(rgb)[..., 0] + 0.5)
    np.testing.assert_array_equal(luma(rgb), expected)
    np.testing.assert_allclose(luma(rgb / 255), rgb2ycbcr(rgb)[..., 0] / 255)


def test_luma_of_sixteen_bit_agrees_with_eight():
    rgb = noise(9, 8, 3)
    wide = luma(rgb.astype(np.uint16) * 257)
    assert wide.dtype == np.uint16
    np.testing.assert_allclose(wide / 257, luma(rgb), atol=0.51)


def test_a_grey_image_is_its_own_luma():
    grey = noise(9, 8)
    assert luma(grey) is grey
    np.testing.assert_array_equal(luma(grey[..., None]), grey)
    with pytest.raises(ShapeError, match=r"\(9, 8, 4\)"):
        luma(noise(9, 8, 4))
    with pytest.raises(UnknownNameError, match="full"):
        luma(noise(9, 8, 3), range="ful")


def test_the_papers_protocol_is_luma_on_eight_bit_with_a_border_of_the_scale():
    image, reference = noise(40, 37, 3), noise(40, 37, 3, seed=1)
    scores = PAPERS.measure(image, reference, 3)
    assert scores.psnr == psnr(luma(image)[3:-3, 3:-3], luma(reference)[3:-3, 3:-3])
    assert scores.ssim == ssim(luma(image)[3:-3, 3:-3], luma(reference)[3:-3, 3:-3])


def test_studio_range_gives_132_hundredths_of_a_decibel_more():
    # Full-range luma spreads the same error over 255 steps instead of 219.
    reference = np.random.default_rng(0).random((60, 60, 3))
    image = np.clip(reference + 0.03 * np.random.default_rng(1).standard_normal(reference.shape), 0, 1)
    studio = Protocol(eight_bit=False).measure(image, reference, 2)
    full = Protocol(channels="full-range-luma", eight_bit=False).measure(image, reference, 2)
    assert studio.psnr - full.psnr == pytest.approx(FULL_RANGE_LUMA_GAP, abs=1e-3)
    assert round(FULL_RANGE_LUMA_GAP, 2) == 1.32


def test_rgb_measures_all_channels_and_ntire_crops_six_more():
    image, reference = noise(50, 50, 3), noise(50, 50, 3, seed=1)
    assert PROTOCOLS["rgb"].measure(image, reference, 2).psnr == psnr(image, reference, border=2)
    assert PROTOCOLS["ntire"].measure(image, reference, 4).psnr == psnr(image, reference, border=10)
    assert PROTOCOLS["uncropped"].border(4) == 0


def test_sixteen_bit_is_brought_to_eight():
    image, reference = noise(20, 20, 3), noise(20, 20, 3, seed=1)
    wide = [x.astype(np.uint16) * 257 for x in (image, reference)]
    assert PAPERS.measure(*wide, 2) == PAPERS.measure(image, reference, 2)


def test_a_protocol_says_what_it_is():
    assert str(PAPERS) == (
        "PSNR and SSIM on Y of BT.601, studio range, rounded to 8 bit, scale pixels cropped on each side; "
        "SSIM with an 11×11 Gaussian window of σ = 1.5"
    )
    assert "10 pixels cropped" in PROTOCOLS["ntire"].describe(4)
    assert "scale + 6 pixels" in str(PROTOCOLS["ntire"])
    assert "0 pixels" in str(PROTOCOLS["uncropped"])
    assert "1.32 dB below" in str(PROTOCOLS["full-range-luma"])
    assert len({str(protocol) for protocol in PROTOCOLS.values()}) == len(PROTOCOLS)


def test_wrong_protocols_are_refused():
    with pytest.raises(UnknownNameError, match="rgb"):
        Protocol(channels="rgbb")
    with pytest.raises(ArgumentError, match="negative"):
        Protocol(border_extra=-1)
    with pytest.raises(UnknownNameError, match="papers"):
        get_protocol("paper")
    assert get_protocol(PAPERS) is PAPERS
    with pytest.raises(DtypeError, match="uint8 and uint16"):
        PAPERS.measure(noise(20, 20), noise(20, 20, dtype=np.uint16), 2)
