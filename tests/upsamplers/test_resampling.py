import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from karaffe.errors import ArgumentError, DtypeError, ShapeError, UnknownNameError
from karaffe.upsamplers.resampling import KERNELS, cubic, lanczos, resample, resample_weights

sizes = st.integers(1, 24)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.sampled_from(sorted(KERNELS)), st.sampled_from(["symmetric", "replicate", "renormalize"]))
def test_weights_sum_to_one_and_read_inside(in_size, out_size, kernel, border):
    index, weights = resample_weights(in_size, out_size, kernel, border=border)
    assert index.shape == weights.shape
    assert index.shape[0] == out_size
    assert weights.dtype == torch.float64
    assert ((index >= 0) & (index < in_size)).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(out_size, dtype=torch.float64))


@pytest.mark.parametrize("size", [(14, 22), (9, 40), (31, 5), (60, 63)])
@pytest.mark.parametrize(
    ("kernel", "theirs"), [("triangle", Image.BILINEAR), ("cubic", Image.BICUBIC), ("lanczos3", Image.LANCZOS)]
)
def test_against_pillow(size, kernel, theirs):
    image = np.random.default_rng(0).random((20, 21)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], theirs))
    result = resample(torch.from_numpy(image)[None, None], size, kernel=kernel, border="renormalize")
    np.testing.assert_allclose(result[0, 0].numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("size", [(14, 22), (40, 63), (7, 90)])
def test_against_torch(size):
    x = torch.randn(2, 3, 20, 21, dtype=torch.float64)
    torch.testing.assert_close(
        resample(x, size, border="renormalize"), F.interpolate(x, size, mode="bicubic", antialias=True)
    )
    torch.testing.assert_close(
        resample(x, size, kernel=cubic(-0.75), border="replicate", antialias=False),
        F.interpolate(x, size, mode="bicubic"),
    )
    torch.testing.assert_close(
        resample(x, size, kernel="triangle", border="replicate", antialias=False),
        F.interpolate(x, size, mode="bilinear"),
    )
    torch.testing.assert_close(
        resample(x[:, :, :, 0], size[:1], kernel="triangle", border="replicate", antialias=False),
        F.interpolate(x[:, :, :, 0], size[:1], mode="linear"),
    )


def test_symmetric_borders_are_those_of_the_mirrored_image():
    x = torch.randn(1, 1, 9, 9, dtype=torch.float64)
    wide = torch.cat([x.flip(2), x, x.flip(2)], 2)
    wide = torch.cat([wide.flip(3), wide, wide.flip(3)], 3)
    for size in (18, 27, 3):
        torch.testing.assert_close(
            resample(x, (size, size), kernel="lanczos3"),
            resample(wide, (3 * size, 3 * size), kernel="lanczos3")[:, :, size:-size, size:-size],
        )


def test_a_cubic_is_reproduced_to_second_order_and_lanczos_keeps_the_samples():
    ramp = torch.arange(12, dtype=torch.float64)
    x = (ramp**2)[None, None]
    expected = ((torch.arange(48, dtype=torch.float64) + 0.5) / 4 - 0.5) ** 2
    inner = slice(8, -8)
    torch.testing.assert_close(resample(x, (48,))[0, 0, inner], expected[inner])
    torch.testing.assert_close(resample(x, (36,), kernel=lanczos(4))[0, 0, 1::3], x[0, 0])


def test_gradients_and_dtypes():
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: resample(t, (3, 9)), x)
    half = x.detach().half()
    assert resample(half, (10, 8)).dtype == torch.float16
    torch.testing.assert_close(resample(half, (10, 8)), resample(half.float(), (10, 8)).half())


def test_tile_with_context_equals_the_whole():
    x = torch.rand(1, 1, 40, 12)
    whole = resample(x, (160, 48))
    part = resample(x[:, :, 10:30], (80, 48))
    torch.testing.assert_close(part[:, :, 8:-8], whole[:, :, 48:112])


def test_what_is_wrong_is_named():
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ShapeError, match=r"size=\(4,\)"):
        resample(x, (4,))
    with pytest.raises(ShapeError, match="scale"):
        resample(x, (4, 4), scale=(1.0,))
    with pytest.raises(DtypeError, match="int64"):
        resample(x.long(), (4, 4))
    with pytest.raises(UnknownNameError, match="cubic"):
        resample(x, (4, 4), kernel="cubik")
    with pytest.raises(UnknownNameError, match="symmetric"):
        resample(x, (4, 4), border="symetric")
    with pytest.raises(ArgumentError, match="out_size=0"):
        resample(x, (0, 4))
    with pytest.raises(ArgumentError, match="scale"):
        resample(x, (4, 4), scale=-1.0)
    with pytest.raises(ArgumentError, match="positive integer"):
        lanczos(0)
